"""Retrieval quality on SciFact's train claims: each channel alone and every fusion, nDCG@10 by ir-measures.

    DOMAINQA_BENCH_DATA=FOLDER python tests/benchmarks/quality/scifact.py [--home HOME]

FOLDER holds ``scifact/`` (corpus.jsonl.gz, queries.jsonl, qrels.tsv of the BEIR release). The abstracts are ingested as
text files through the real flow; with ``--home`` the vectors are kept and a second run takes seconds. A document's
score is its best chunk's.
"""

import argparse
import csv
import gzip
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import ir_measures
from ir_measures import R, nDCG

from rag.analysis import query_terms
from rag.build import Library
from rag.config import load_settings
from rag.index.snapshot import IndexReader
from rag.retrieval import Ranking, fuse_convex, fuse_reciprocal_rank

COLLECTION = "scifact"
CANDIDATES = 100
MEASURES = [nDCG @ 10, R @ 20, R @ 100]


def write_corpus(data: Path, folder: Path) -> None:
    with gzip.open(data / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            (folder / f"{entry['_id']}.txt").write_text(f"{entry['title']}\n\n{entry['text']}\n", "utf-8")


def read_claims(data: Path) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Claims by id, and relevance by claim and document."""
    relevance: dict[str, dict[str, int]] = {}
    with (data / "qrels.tsv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows, delimiter="\t"):
            relevance.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    with (data / "queries.jsonl").open(encoding="utf-8") as lines:
        texts = {entry["_id"]: entry["text"] for entry in map(json.loads, lines)}
    return {key: texts[key] for key in relevance}, relevance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="keep the home here instead of a temporary folder")
    arguments = parser.parse_args()
    if "DOMAINQA_BENCH_DATA" not in os.environ:
        sys.exit("set DOMAINQA_BENCH_DATA to the folder that holds scifact/")
    data = Path(os.environ["DOMAINQA_BENCH_DATA"]) / "scifact"
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary) / "home"
        library = Library(home, load_settings(home, environment={}), progress=print)
        folder = Path(temporary) / "corpus"
        folder.mkdir()
        write_corpus(data, folder)
        report = library.ingest([folder], COLLECTION)
        print(f"{report.added} added, {report.unchanged} unchanged, {report.chunks} chunks, {report.seconds:.0f} s")
        measure(library, data)


def measure(library: Library, data: Path) -> None:
    claims, relevance = read_claims(data)
    collection = library.catalog.collection(COLLECTION)
    sources = {
        int(row): Path(source).stem
        for document in library.catalog.documents(collection)
        for chunk in library.catalog.document_chunks(collection.id, document.id, collection.published_seq)
        for row, source in [(chunk.row, document.source)]
    }
    snapshot = IndexReader(library.home, library.catalog, collection).current()
    embedder = library.embedder()
    rankings: dict[str, dict[str, Ranking]] = {
        key: {
            "dense": snapshot.dense.search(embedder.embed_query(claim), CANDIDATES),
            "lexical": snapshot.lexical.search(query_terms(claim, snapshot.languages), CANDIDATES),
        }
        for key, claim in claims.items()
    }
    weights = {"dense": 0.5, "lexical": 0.5}
    ways: dict[str, Callable[[Mapping[str, Ranking]], Mapping[int, float]]] = {
        "dense alone": lambda found: {item.row: item.score for item in found["dense"]},
        "lexical alone": lambda found: {item.row: item.score for item in found["lexical"]},
        "reciprocal rank, k=60": lambda found: fuse_reciprocal_rank(found, weights, 60),
    }
    for tenths in (3, 4, 5, 6):
        dense = tenths / 10
        ways[f"convex, dense {dense}"] = lambda found, dense=dense: fuse_convex(
            found, {"dense": dense, "lexical": 1 - dense}
        )
    print(f"\n{len(claims)} claims, {len(sources)} chunks\n")
    print("| fusion | nDCG@10 | R@20 | R@100 |\n| --- | --- | --- | --- |")
    for name, way in ways.items():
        run = {key: by_document(way(found), sources) for key, found in rankings.items()}
        values = ir_measures.calc_aggregate(MEASURES, relevance, run)
        print(f"| {name} | " + " | ".join(f"{values[measure]:.4f}" for measure in MEASURES) + " |")


def by_document(scores: Mapping[int, float], sources: Mapping[int, str]) -> dict[str, float]:
    best: dict[str, float] = {}
    for row, score in scores.items():
        source = sources[row]
        best[source] = max(best.get(source, float("-inf")), score)
    return best


if __name__ == "__main__":
    main()

"""Retrieval quality by channel and fused: nDCG@10, recall at 5, 20 and 100, reciprocal rank, with 95 % intervals.

    DOMAINQA_BENCH_DATA=FOLDER python -m tests.benchmarks.quality.retrieval [--data scifact,xquad,medquad,sample]
        [--home HOME] [--set retrieval.bm25_per_cosine=50]

FOLDER holds ``scifact/`` (BEIR's corpus.jsonl.gz, queries.jsonl, qrels.tsv), ``xquad/`` (en.json, ru.json, zh.json) and
``medquad/`` (6_NINDS_QA.jsonl.gz, 2_GARD_QA.jsonl.gz); the sample corpus is the repository's. Documents pass through
the real ingest; with ``--home`` all vectors are kept, those of queries too, and a second run takes a minute. A
document's score is its best chunk's; in the sample corpus a chunk is relevant that holds half of a quote or more.
Intervals draw whole articles, pages or question groups.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rag.build import Library
from rag.config import load_settings
from rag.index.snapshot import IndexReader
from rag.interfaces import Embedder, Vectors
from rag.retrieval import HybridRetriever, fuse, reciprocal_rank_parts, sum_parts
from rag.types import StoredChunk
from tests.benchmarks.quality import retrieval_data
from tests.benchmarks.quality.retrieval_data import SAMPLE, Query, Task
from tests.benchmarks.quality.retrieval_scores import MEASURES, Run, best_by_document, interval, measured

DATA = ("scifact", "xquad", "medquad", "sample")
WAYS = ("dense", "lexical", "reciprocal rank", "sum")


class CachedQueries:
    """An embedder whose query vectors are kept in a file."""

    def __init__(self, embedder: Embedder, path: Path) -> None:
        self._embedder = embedder
        self._path = path
        stored = np.load(path) if path.exists() else {"texts": [], "vectors": []}
        self._known: dict[str, Vectors] = dict(zip(map(str, stored["texts"]), stored["vectors"], strict=True))
        self._saved = len(self._known)
        self.model, self.fingerprint = embedder.model, embedder.fingerprint
        self.dimension, self.max_tokens = embedder.dimension, embedder.max_tokens

    def count_tokens(self, text: str) -> int:
        return self._embedder.count_tokens(text)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self._embedder.embed_documents(texts)

    def embed_query(self, text: str) -> Vectors:
        if text not in self._known:
            self._known[text] = self._embedder.embed_query(text)
        return self._known[text]

    def save(self) -> None:
        if len(self._known) > self._saved:
            np.savez(self._path, texts=np.array(list(self._known)), vectors=np.stack(list(self._known.values())))
            self._saved = len(self._known)


def ingest(library: Library, name: str, documents: Mapping[str, str]) -> None:
    stored = [collection for collection in library.collections() if collection.name == name]
    if stored and len(library.catalog.documents(stored[0])) == len(documents):
        return  # data sets don't change
    with tempfile.TemporaryDirectory() as temporary:
        for file, text in documents.items():
            (Path(temporary) / file).write_text(text, "utf-8")
        library.ingest([Path(temporary)], name)


def all_chunks(library: Library, name: str) -> list[StoredChunk]:
    collection = library.catalog.collection(name)
    return [
        chunk
        for document in library.catalog.documents(collection)
        for chunk in library.catalog.document_chunks(collection.id, document.id, collection.published_seq)
    ]


def sample_task(library: Library, split: str, language: str) -> tuple[Task, dict[int, str]]:
    """The sample corpus's questions in a language; what is ranked are chunks, not documents."""
    chunks = all_chunks(library, "sample")
    queries = []
    for question in retrieval_data.sample_questions(split):
        if question.language != language:
            continue
        relevant = set()
        for item in question.evidence:
            start = library.document("sample", item.document).text.index(item.quote)
            end = start + len(item.quote)
            for chunk in chunks:
                overlap = min(end, chunk.end) - max(start, chunk.start)
                if chunk.source == item.document and overlap * 2 >= end - start:
                    relevant.add(str(chunk.row))
        queries.append(Query(question.id, question.question, frozenset(relevant), question.group))
    name = f"Sample {split} {language}, passages"
    return Task(name, "sample", {}, tuple(queries)), {chunk.row: str(chunk.row) for chunk in chunks}


def runs(library: Library, embedder: CachedQueries, task: Task, names: Mapping[int, str]) -> dict[str, Run]:
    """By way of ranking. Channels are searched alone even where the retriever would not ask them."""
    settings = library.settings.retrieval
    collection = library.catalog.collection(task.collection)
    snapshot = IndexReader(library.home, library.catalog, collection).current()
    languages = library.settings.embedding.languages
    hybrid = HybridRetriever(library.catalog, collection.id, _Fixed(snapshot), embedder, settings, languages)
    found: dict[str, dict[str, Mapping[str, float]]] = {way: {} for way in WAYS}
    for query in task.queries:
        channels = hybrid.search(query.text, snapshot)
        vector = embedder.embed_query(query.text)
        scores: dict[str, Mapping[int, float]] = {
            "dense": {item.row: item.score for item in snapshot.dense.search(vector, settings.candidates)},
            "lexical": {item.row: item.score for item in channels["lexical"].ranking},
            "reciprocal rank": fuse(reciprocal_rank_parts(channels, settings.rrf_k)),
            "sum": fuse(sum_parts(channels, settings.bm25_per_cosine)),
        }
        for way in WAYS:
            found[way][query.id] = best_by_document(scores[way], names)
    embedder.save()
    return dict(found)


class _Fixed:
    def __init__(self, snapshot: object) -> None:
        self._snapshot = snapshot

    def current(self) -> object:
        return self._snapshot


def report(task: Task, found: Mapping[str, Run]) -> None:
    groups = [query.group for query in task.queries]
    relevant = {query.id: query.relevant for query in task.queries}
    values = {way: measured(relevant, run) for way, run in found.items()}
    first = MEASURES[0]
    for way, by_measure in values.items():
        cells = [f"{value.mean():.4f}" for value in by_measure.values()]
        low, high = interval(by_measure[first], groups)
        cells[0] += f" [{low:.3f}, {high:.3f}]"
        print(f"| {task.name} ({len(groups)}, {len(set(groups))} groups) | {way} | {' | '.join(cells)} |", flush=True)
    better = max(("dense", "lexical"), key=lambda way: values[way][first].mean())
    difference = values["sum"][first] - values[better][first]
    low, high = interval(difference, groups)
    print(f"| | sum − {better} | {difference.mean():+.4f} [{low:+.3f}, {high:+.3f}] | | | | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=",".join(DATA), help=f"some of {', '.join(DATA)}")
    parser.add_argument("--split", default="dev", help="of the sample corpus: train or dev")
    parser.add_argument("--home", type=Path, help="keep the home here instead of a temporary folder")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="another setting")
    arguments = parser.parse_args()
    chosen = arguments.data.split(",")
    settings = [entry.split("=", 1) for entry in arguments.set]
    environment = {f"DOMAINQA_{key.replace('.', '__').upper()}": value for key, value in settings}
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        loaded = load_settings(home, environment=environment)
        embedder = CachedQueries(Library(home, loaded).embedder(), home / "query-vectors.npz")
        library = Library(home, loaded, embedder=embedder)
        names = " | ".join(str(measure) for measure in MEASURES)
        print(f"| queries | way | {names} |\n| --- | --- |{' --- |' * len(MEASURES)}", flush=True)
        for task in third_party(chosen):
            ingest(library, task.collection, task.documents)
            sources = {chunk.row: chunk.source for chunk in all_chunks(library, task.collection)}
            report(task, runs(library, embedder, task, sources))
        if "sample" in chosen:
            if "sample" not in {collection.name for collection in library.collections()}:
                library.ingest([SAMPLE / "documents"], "sample")
            for language in ("en", "ru", "zh"):
                task, rows = sample_task(library, arguments.split, language)
                report(task, runs(library, embedder, task, rows))


def third_party(chosen: Sequence[str]) -> list[Task]:
    if not set(chosen) - {"sample"}:
        return []
    data = retrieval_data.bench_data()
    tasks = [retrieval_data.scifact(data)] if "scifact" in chosen else []
    tasks += retrieval_data.xquad(data) if "xquad" in chosen else []
    return tasks + ([retrieval_data.medquad(data)] if "medquad" in chosen else [])


if __name__ == "__main__":
    main()

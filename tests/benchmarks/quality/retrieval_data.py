"""The data sets that retrieval is measured on: documents to ingest, queries, and what is relevant to each.

Third-party sets lie below the folder in the environment variable ``DOMAINQA_BENCH_DATA``; the sample corpus is the
repository's own. A set's documents become files, so that they pass through the real ingest.
"""

import csv
import gzip
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.evaluation.questions import EvaluationQuestion, read_questions

SAMPLE = Path(__file__).parents[3] / "data" / "sample"
XQUAD_LANGUAGES = ("en", "ru", "zh")
_GARD_STEP = 10
"""Every tenth document of MedQuAD's larger part, so that both parts weigh alike and an hour of embedding is saved."""


@dataclass(frozen=True, slots=True)
class Query:
    """``relevant`` are names of documents; ``group`` is what is drawn as one when intervals are made."""

    id: str
    text: str
    relevant: frozenset[str]
    group: str


@dataclass(frozen=True, slots=True)
class Task:
    """Queries to one collection of documents, whose texts are given by file name."""

    name: str
    collection: str
    documents: Mapping[str, str]
    queries: tuple[Query, ...]


def bench_data() -> Path:
    if "DOMAINQA_BENCH_DATA" not in os.environ:
        sys.exit("set DOMAINQA_BENCH_DATA to the folder that holds scifact/, xquad/ and medquad/")
    return Path(os.environ["DOMAINQA_BENCH_DATA"])


def scifact(data: Path) -> Task:
    """Train claims to abstracts (Wadden et al. 2020) in BEIR's release; claims on one abstract are a group."""
    folder = data / "scifact"
    documents = {
        f"{entry['_id']}.txt": f"{entry['title']}\n\n{entry['text']}\n"
        for entry in _json_lines(folder / "corpus.jsonl.gz")
    }
    relevant: dict[str, set[str]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows, delimiter="\t"):
            if int(row["score"]) > 0:
                relevant.setdefault(row["query-id"], set()).add(f"{row['corpus-id']}.txt")
    with (folder / "queries.jsonl").open(encoding="utf-8") as lines:
        texts = {entry["_id"]: entry["text"] for entry in map(json.loads, lines)}
    queries = (Query(key, texts[key], frozenset(names), min(names)) for key, names in relevant.items())
    return Task("SciFact", "scifact", documents, tuple(queries))


def medquad(data: Path) -> Task:
    """Questions of health portals to the page that answers them (Ben Abacha and Demner-Fushman 2019)."""
    entries = [
        *list(_json_lines(data / "medquad" / "6_NINDS_QA.jsonl.gz")),
        *list(_json_lines(data / "medquad" / "2_GARD_QA.jsonl.gz")),
    ]
    pages: dict[str, list[dict[str, str]]] = {}
    for entry in entries:
        pages.setdefault(f"{entry['source']}-{entry['doc_id']}.md", []).append(entry)
    gard = [name for name in pages if name.startswith("GARD")]
    left_out = set(gard) - set(gard[::_GARD_STEP])
    pages = {name: page for name, page in pages.items() if name not in left_out}
    documents = {
        name: f"# {page[0]['focus']}\n\n" + "\n\n".join(entry["answer"] for entry in page) + "\n"
        for name, page in pages.items()
    }
    queries = [
        Query(f"{name}/{number}", entry["question"], frozenset({name}), name)
        for name, page in pages.items()
        for number, entry in enumerate(page)
    ]
    return Task("MedQuAD", "medquad", documents, tuple(queries))


def xquad(data: Path) -> list[Task]:
    """Every paragraph a document (Artetxe et al. 2020): from each language to each, and to all in one collection."""
    documents: dict[str, dict[str, str]] = {}
    questions: dict[str, list[tuple[str, str, int, str]]] = {}
    for language in XQUAD_LANGUAGES:
        articles = json.loads((data / "xquad" / f"{language}.json").read_text("utf-8"))["data"]
        paragraphs = [(article["title"], paragraph) for article in articles for paragraph in article["paragraphs"]]
        documents[language] = {
            f"{language}-{number}.txt": paragraph["context"].lstrip("\ufeff") + "\n"
            for number, (_, paragraph) in enumerate(paragraphs)
        }
        questions[language] = [
            (item["id"], item["question"], number, title)
            for number, (title, paragraph) in enumerate(paragraphs)
            for item in paragraph["qas"]
        ]

    def task(name: str, asked: str, collection: str, held: Sequence[str]) -> Task:
        return Task(
            name,
            collection,
            {name: text for language in held for name, text in documents[language].items()},
            tuple(
                Query(key, text, frozenset(f"{language}-{number}.txt" for language in held), title)
                for key, text, number, title in questions[asked]
            ),
        )

    return [
        *(
            task(f"XQuAD {asked} → {held}", asked, f"xquad-{held}", [held])
            for held in XQUAD_LANGUAGES
            for asked in XQUAD_LANGUAGES
        ),
        *(task(f"XQuAD {asked} → all", asked, "xquad-all", XQUAD_LANGUAGES) for asked in XQUAD_LANGUAGES),
    ]


def sample_questions(split: str) -> list[EvaluationQuestion]:
    """The answerable questions of a split of the sample corpus that need no conversation."""
    questions = read_questions(SAMPLE / "questions.jsonl")
    return [item for item in questions if item.split == split and item.answerable and not item.history]


def _json_lines(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)

"""XQuAD's paragraphs and questions, and a collection of each language made of the paragraphs through the real flow."""

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rag.build import Library

LANGUAGES = {"en": "English", "ru": "Russian", "zh": "Chinese"}


@dataclass(frozen=True, slots=True)
class Gold:
    """A question whose answer stands in one paragraph. ``start`` is the answer's offset there, in code points."""

    id: str
    article: str
    source: str
    text: str
    answers: tuple[str, ...]
    start: int


def folder() -> Path:
    if "DOMAINQA_BENCH_DATA" not in os.environ:
        sys.exit("set DOMAINQA_BENCH_DATA to the folder that holds xquad/")
    return Path(os.environ["DOMAINQA_BENCH_DATA"]) / "xquad"


def read(data: Path, language: str) -> tuple[dict[str, str], list[Gold]]:
    """Paragraphs by source name, and the questions. The names tell nothing of what a paragraph is about."""
    paragraphs: dict[str, str] = {}
    questions = []
    articles = json.loads((data / f"{language}.json").read_text("utf-8"))["data"]
    for number, article in enumerate(articles):
        for place, paragraph in enumerate(article["paragraphs"]):
            source = f"{number:02}-{place}.txt"
            text = paragraph["context"].lstrip("\ufeff")
            shift = len(paragraph["context"]) - len(text)
            paragraphs[source] = text
            for entry in paragraph["qas"]:
                answers = tuple(dict.fromkeys(answer["text"] for answer in entry["answers"]))
                start = entry["answers"][0]["answer_start"] - shift
                questions.append(Gold(entry["id"], f"{number:02}", source, entry["question"], answers, start))
    return paragraphs, questions


def ingest(library: Library, paragraphs: dict[str, str], language: str) -> str:
    """The name of the collection, each paragraph a document of it."""
    collection = f"xquad-{language}"
    with tempfile.TemporaryDirectory() as temporary:
        for source, text in paragraphs.items():
            (Path(temporary) / source).write_text(text + "\n", "utf-8")
        report = library.ingest([Path(temporary)], collection)
    if report.failed:
        sys.exit(f"{len(report.failed)} paragraphs could not be read: {report.failed[0]}")
    return collection


def evenly(items: list[Gold], limit: int | None) -> list[Gold]:
    count = min(limit or len(items), len(items))
    return [items[at * len(items) // count] for at in range(count)]

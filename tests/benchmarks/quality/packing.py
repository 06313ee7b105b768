"""What packing makes of retrieved chunks: is the gold quote in the evidence, where, and at what cost in tokens?

    python tests/benchmarks/quality/packing.py [--corpus sample] [--split dev] [--limit N] [--home FOLDER]
    DOMAINQA_BENCH_DATA=FOLDER python tests/benchmarks/quality/packing.py --corpus xquad-en
    python tests/benchmarks/quality/packing.py --ask --limit 10

Model-free, counted in the starter model's tokens: by number of chunks, how many answerable questions have every gold
quote in the evidence, the tokens, and how far into the evidence the quote begins under each order (0 first, 1 last);
by budget and share of neighbours, how many have every quote, with a bootstrap interval of the difference to none,
clustered by document; and the verbatim fallback from the packed evidence and from all hits. With --ask the local model
answers under each order, slowly.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from rag.build import Library
from rag.config import load_settings
from rag.evaluation.metrics import contains
from rag.evaluation.questions import read_questions
from rag.extracting import extract
from rag.generation.tokens import LocalTokenCounter, load_tokenizer
from rag.interfaces import TokenCounter
from rag.models import default_cache, resolve
from rag.packing import Order, Packed, pack
from rag.question import Question
from rag.reading import Reader
from rag.types import Hit

SAMPLE = Path(__file__).parents[3] / "data" / "sample"
CHUNKS = (4, 8, 16, 32)
ORDERS: tuple[Order, ...] = ("score", "document", "edges", "best-document")
SHARES = (0.0, 0.1, 0.2, 0.3)
BUDGETS = (600, 1500, 4000)
RESAMPLES = 2000
SEED = 7

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Case:
    """``spans`` are the gold quotes: source and offsets."""

    question: str
    answers: tuple[str, ...]
    spans: tuple[tuple[str, int, int], ...]
    group: str
    hits: tuple[Hit, ...]


class CachingCounter:
    """The same passages are counted under every order and budget."""

    def __init__(self, counter: TokenCounter) -> None:
        self.count_text = lru_cache(maxsize=None)(counter.count_text)
        self.count_messages = counter.count_messages


class Bench:
    def __init__(self, library: Library) -> None:
        self.library = library
        self.collection = library.catalog.collection("default")
        settings = library.settings.generation
        tokenizer = load_tokenizer(resolve(settings.model, default_cache()), settings.model)
        self.counter = CachingCounter(LocalTokenCounter(tokenizer, ""))
        self.reader = Reader(library.catalog)

    def pack(self, hits: Sequence[Hit], budget: int, order: Order = "document", share: float = 0.0) -> Packed:
        beside = partial(self.reader.beside, self.collection.id) if share else None
        return pack(
            hits, budget_tokens=budget, counter=self.counter, read_span=self.reader.span, order=order,
            beside=beside, beside_share=share,
        )  # fmt: skip

    def place(self, packed: Packed, source: str, start: int, end: int) -> float | None:
        """How far into the evidence the quote begins, by tokens of passages; ``None`` where it isn't in it."""
        before, costs = 0.0, dict(packed.costs)
        for item in packed.evidence:
            if item.source == source and item.start <= start and end <= item.end:
                inside = costs[item.number] * (start - item.start) / max(1, item.end - item.start)
                return (before + inside) / max(1, packed.tokens)
            before += costs[item.number]
        return None

    def places(self, case: Case, packed: Packed) -> list[float] | None:
        """Of each quote; ``None`` unless all are there."""
        found = [self.place(packed, *span) for span in case.spans]
        return None if any(place is None for place in found) else [place for place in found if place is not None]


def by_chunks(bench: Bench, cases: Sequence[Case]) -> None:
    print(f"\n| chunks | every quote in it | tokens | near duplicates | {' | '.join(ORDERS)} |")
    print(f"| --- | --- | --- | --- |{' --- |' * len(ORDERS)}")
    for count in CHUNKS:
        packed = {order: [bench.pack(case.hits[:count], 1 << 30, order) for case in cases] for order in ORDERS}
        found = [bench.places(case, each) for case, each in zip(cases, packed["document"], strict=True)]
        tokens = mean([each.tokens for each in packed["document"]])
        alike = sum(item.reason == "near-duplicate" for each in packed["document"] for item in each.dropped)
        cells = []
        for order in ORDERS:
            places = [bench.places(case, each) for case, each in zip(cases, packed[order], strict=True)]
            cells.append(f"{mean([place for each in places if each is not None for place in each]):.2f}")
        share = mean([float(each is not None) for each in found])
        print(f"| {count} | {share:.3f} | {tokens:.0f} | {alike} | {' | '.join(cells)} |", flush=True)


def by_neighbours(bench: Bench, cases: Sequence[Case]) -> None:
    """All 32 hits compete for the budget."""
    print(
        "\n| budget | neighbours | every quote in it | difference to none | tokens |\n| --- | --- | --- | --- | --- |"
    )
    for budget in BUDGETS:
        none: list[float] = []
        for share in SHARES:
            packed = [bench.pack(case.hits, budget, share=share) for case in cases]
            got = [float(bench.places(case, each) is not None) for case, each in zip(cases, packed, strict=True)]
            none = none or got
            low, high = interval([a - b for a, b in zip(got, none, strict=True)], [case.group for case in cases])
            told = "" if share == 0 else f"{mean(got) - mean(none):+.3f} [{low:+.3f}, {high:+.3f}]"
            tokens = mean([each.tokens for each in packed])
            print(f"| {budget} | {share:.1f} | {mean(got):.3f} | {told} | {tokens:.0f} |", flush=True)


def fallback(bench: Bench, cases: Sequence[Case]) -> None:
    """The verbatim sentences that stand in for an unsupported answer, of the first hits as the profile has it."""
    settings = bench.library.settings
    similarity = bench.library.similarity()
    retriever = bench.library.retriever(bench.collection)
    budgets = {"packed evidence": settings.packing.max_evidence_tokens, "all hits": 1 << 30}
    print("\n| sentences from | contains |\n| --- | --- |")
    for name, budget in budgets.items():
        got = []
        for case in cases:
            evidence = bench.pack(case.hits[: settings.retrieval.top_k], budget).evidence
            excerpts = extract(
                case.question, evidence, similarity,
                max_sentences=settings.answering.max_sentences, term_weights=retriever.term_weights(case.question),
            )  # fmt: skip
            got.append(contains("\n".join(each.piece.readable for each in excerpts), case.answers))
        print(f"| {name} | {mean(got):.3f} |", flush=True)


def asked(home: Path, cases: Sequence[Case], counts: Sequence[int]) -> None:
    print("\n| chunks | order | contains | fell back |\n| --- | --- | --- | --- |")
    for count in counts:
        for order in ORDERS:
            settings = {
                "DOMAINQA_PACKING__ORDER": order,
                "DOMAINQA_PACKING__MAX_EVIDENCE_TOKENS": "6000",
                "DOMAINQA_RETRIEVAL__TOP_K": str(count),
                "DOMAINQA_ANSWERING__UNSUPPORTED": "mark",
            }
            library = Library(home, load_settings(home, environment=settings))
            answers = [asyncio.run(library.answerer.answer(Question(case.question, strategy="rag"))) for case in cases]
            got = [
                0.0 if answer.abstained else contains(answer.text, case.answers)
                for answer, case in zip(answers, cases, strict=True)
            ]
            fell = mean([float(answer.supported is False) for answer in answers])
            print(f"| {count} | {order} | {mean(got):.3f} | {fell:.3f} |", flush=True)


def interval(differences: Sequence[float], groups: Sequence[str]) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean over whole groups."""
    by_group: dict[str, list[float]] = {}
    for group, value in zip(groups, differences, strict=True):
        by_group.setdefault(group, []).append(value)
    names, draw = sorted(by_group), random.Random(SEED)
    means = []
    for _ in range(RESAMPLES):
        values = [value for name in draw.choices(names, k=len(names)) for value in by_group[name]]
        means.append(mean(values))
    means.sort()
    return means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def sample_cases(library: Library, split: str, limit: int | None) -> list[Case]:
    library.ingest([SAMPLE / "documents"])
    questions = [
        item
        for item in read_questions(SAMPLE / "questions.jsonl")
        if item.split == split and item.answerable and not item.history
    ]
    cases = []
    for item in evenly(questions, limit):
        spans = []
        for gold in item.evidence:
            start = library.document("default", gold.document).text.index(gold.quote)
            spans.append((gold.document, start, start + len(gold.quote)))
        hits = tuple(library.search(item.question, "default", max(CHUNKS)))
        cases.append(Case(item.question, item.answers, tuple(spans), item.group, hits))
    return cases


def xquad_cases(library: Library, language: str, limit: int | None, folder: Path) -> list[Case]:
    """A document for each article, a paragraph for each context; a quote is the answer in its own paragraph."""
    data = os.environ.get("DOMAINQA_BENCH_DATA")
    if data is None:
        sys.exit("DOMAINQA_BENCH_DATA is not set to the folder that holds xquad; nothing measured")
    articles: Mapping[str, object] = json.loads((Path(data) / "xquad" / f"{language}.json").read_text("utf-8"))
    asked_about: list[tuple[str, tuple[str, ...], str, int, int]] = []
    folder.mkdir(exist_ok=True)
    for number, article in enumerate(articles["data"]):  # type: ignore[var-annotated, arg-type]
        source, text = f"{number:02}.txt", ""
        for paragraph in article["paragraphs"]:
            context = " ".join(paragraph["context"].split("\n"))
            for item in paragraph["qas"]:
                start = len(text) + item["answers"][0]["answer_start"]
                golds = tuple(answer["text"] for answer in item["answers"])
                asked_about.append((item["question"], golds, source, start, start + len(golds[0])))
            text += f"{context}\n\n"
        (folder / source).write_text(text, "utf-8")
    library.ingest([folder])
    cases = []
    for question, golds, source, start, end in evenly(asked_about, limit):
        hits = tuple(library.search(question, "default", max(CHUNKS)))
        cases.append(Case(question, golds, ((source, start, end),), source, hits))
    return cases


def evenly(items: Sequence[Item], limit: int | None) -> list[Item]:
    count = min(limit or len(items), len(items))
    return [items[at * len(items) // count] for at in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", choices=("sample", "xquad-en", "xquad-ru", "xquad-zh"), default="sample")
    parser.add_argument("--split", default="dev", help="of the sample corpus")
    parser.add_argument("--limit", type=int, help="at most this many questions, evenly spaced")
    parser.add_argument("--home", type=Path, help="keep the home here instead of a temporary folder")
    parser.add_argument("--ask", action="store_true", help="ask the local model under each order")
    parser.add_argument("--chunks", default="4,8", help="how many chunks --ask gives")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary) / "home"
        library = Library(home, load_settings(home, environment={}))
        if arguments.corpus == "sample":
            cases = sample_cases(library, arguments.split, arguments.limit)
        else:
            language = arguments.corpus.removeprefix("xquad-")
            cases = xquad_cases(library, language, arguments.limit, Path(temporary) / "articles")
        print(f"\n{len(cases)} answerable questions without history, {arguments.corpus}")
        if arguments.ask:
            asked(home, cases, [int(count) for count in arguments.chunks.split(",")])
            return
        bench = Bench(library)
        by_chunks(bench, cases)
        by_neighbours(bench, cases)
        fallback(bench, cases)


if __name__ == "__main__":
    main()

"""Retrieval hit rate, and for each strategy answer F1, contains and abstention, on a split of the sample corpus.

    python tests/benchmarks/quality/strategies.py --split dev [--strategies extractive,rag] [--limit N]

Ingests the sample corpus into a home of its own, asks the questions of the split once per strategy, and prints a
Markdown table per language with what it was measured on. Greedy decoding, so a rerun gives the same figures. The
starter model writes English only, so in other languages only the strategies that generate nothing are asked.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.answering import STRATEGIES
from rag.build import Library
from rag.config import load_settings
from rag.evaluation.metrics import contains, evidence_rank, token_f1
from rag.evaluation.questions import EvaluationQuestion, read_questions
from rag.question import Question
from rag.types import Answer

SAMPLE = Path(__file__).parents[3] / "data" / "sample"
LANGUAGES = {"en": "English", "ru": "Russian", "zh": "Chinese"}
WRITTEN = ("en",)
RANKS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Row:
    question: EvaluationQuestion
    answer: Answer
    seconds: float


def hit_rates(library: Library, questions: Sequence[EvaluationQuestion]) -> dict[int, float]:
    """Share of answerable questions whose every quote lies in a chunk among the first k."""
    found = dict.fromkeys(RANKS, 0)
    asked = [question for question in questions if question.answerable]
    for question in asked:
        hits = library.search(question.question, "default", max(RANKS))
        ranks = []
        for item in question.evidence:
            start = library.document("default", item.document).text.index(item.quote)
            ranks.append(evidence_rank(hits, item.document, start, start + len(item.quote)))
        for k in RANKS:
            found[k] += all(rank is not None and rank <= k for rank in ranks)
    return {k: count / len(asked) for k, count in found.items()}


async def ask_all(library: Library, questions: Sequence[EvaluationQuestion], strategy: str) -> list[Row]:
    rows = []
    for number, question in enumerate(questions, start=1):
        start = time.perf_counter()
        answer = await library.answerer.answer(
            Question(question.question, strategy=strategy, history=question.messages)
        )
        rows.append(Row(question, answer, time.perf_counter() - start))
        print(f"\r{strategy}: {number}/{len(questions)}", end="", flush=True, file=sys.stderr)
    print(file=sys.stderr)
    return rows


def summary(rows: Sequence[Row]) -> str:
    """One table row: F1, contains, wrongly refused, rightly refused, share that fell back, median seconds."""
    answerable = [row for row in rows if row.question.answerable]
    unanswerable = [row for row in rows if not row.question.answerable]
    cells = [
        mean([token_f1(shown(row), row.question.answers) for row in answerable]),
        mean([contains(shown(row), row.question.answers) for row in answerable]),
        mean([float(row.answer.abstained) for row in answerable]),
        mean([float(row.answer.abstained) for row in unanswerable]),
        mean([float(row.answer.fallback is not None) for row in rows]),
        sorted(row.seconds for row in rows)[len(rows) // 2],
    ]
    return " | ".join(f"{cell:.3f}" for cell in cells)


def evenly(questions: list[EvaluationQuestion], limit: int | None) -> list[EvaluationQuestion]:
    count = min(limit or len(questions), len(questions))
    return [questions[at * len(questions) // count] for at in range(count)]


def shown(row: Row) -> str:
    """An abstention is no answer: its text names documents, not facts."""
    return "" if row.answer.abstained else row.answer.text


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--languages", default="en,ru,zh")
    parser.add_argument("--limit", type=int, help="at most this many questions per language, evenly spaced by id")
    parser.add_argument("--home", type=Path, help="keep the home here instead of a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        library = Library(home, load_settings(home, environment={}))
        library.ingest([SAMPLE / "documents"])
        questions = [item for item in read_questions(SAMPLE / "questions.jsonl") if item.split == arguments.split]
        for language in arguments.languages.split(","):
            own = evenly([item for item in questions if item.language == language], arguments.limit)
            answerable = sum(item.answerable for item in own)
            rates = ", ".join(f"@{k} {rate:.3f}" for k, rate in hit_rates(library, own).items())
            print(
                f"\n### {LANGUAGES[language]}: {answerable} answerable, {len(own) - answerable} unanswerable questions"
            )
            print(f"\nRetrieval hit rate (every quote found): {rates}\n")
            print("| strategy | F1 | contains | refused, answerable | refused, unanswerable | fell back | median s |")
            print("| --- | --- | --- | --- | --- | --- | --- |")
            for strategy in arguments.strategies.split(","):
                if language not in WRITTEN and strategy != "extractive":
                    continue
                rows = asyncio.run(ask_all(library, own, strategy))
                print(f"| {strategy} | {summary(rows)} |", flush=True)


if __name__ == "__main__":
    main()

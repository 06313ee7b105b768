"""Answers to XQuAD's questions: exact match, F1 and whether the gold string is held, by strategy and language.

    DOMAINQA_BENCH_DATA=FOLDER python tests/benchmarks/quality/xquad_answers.py [--strategies NAMES] [--limit N]

FOLDER holds ``xquad/`` (en.json, ru.json, zh.json in SQuAD's format). Every paragraph is a document of its language's
collection; all questions can be answered. Intervals are a bootstrap over whole articles. The starter model writes
English only, so in other languages only the strategies that generate nothing are asked. With ``--sentences 1,2,3`` the
extractive answers are given once for each of these lengths.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xquad
from clustered import cell, interval

from rag.build import Library
from rag.config import load_settings
from rag.evaluation.metrics import contains, exact_match, token_f1
from rag.question import Question
from rag.types import Answer

HEADING = "| strategy | sentences | questions | EM | F1 | contains | contains where answered | refused | characters |"


@dataclass(frozen=True, slots=True)
class Row:
    gold: xquad.Gold
    answer: Answer

    @property
    def text(self) -> str:
        """An abstention is no answer: its text names documents, not facts."""
        return "" if self.answer.abstained else self.answer.text


async def ask_all(library: Library, collection: str, golds: Sequence[xquad.Gold], strategy: str) -> list[Row]:
    rows = []
    for gold in golds:
        question = Question(gold.text, collection=collection, strategy=strategy)
        rows.append(Row(gold, await library.answerer.answer(question)))
    return rows


def line(rows: Sequence[Row]) -> str:
    articles = [row.gold.article for row in rows]
    answered = [row for row in rows if not row.answer.abstained]
    lengths = sorted(len(row.text) for row in answered)
    held = [contains(row.text, row.gold.answers) for row in rows]
    held_where_answered = [contains(row.text, row.gold.answers) for row in answered]
    cells = [
        str(len(rows)),
        cell(interval([exact_match(row.text, row.gold.answers) for row in rows], articles)),
        cell(interval([token_f1(row.text, row.gold.answers) for row in rows], articles)),
        cell(interval(held, articles)),
        cell(interval(held_where_answered, [row.gold.article for row in answered])),
        cell(interval([float(row.answer.abstained) for row in rows], articles)),
        str(lengths[len(lengths) // 2] if lengths else 0),
    ]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", default="extractive")
    parser.add_argument("--languages", default="en,ru,zh")
    parser.add_argument("--sentences", help="lengths of extractive answers; the configured one when left out")
    parser.add_argument("--limit", type=int, help="at most this many questions per language, evenly spaced")
    parser.add_argument("--home", type=Path, help="keep the home here instead of a temporary folder")
    arguments = parser.parse_args()
    data = xquad.folder()
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        base = load_settings(home, environment={})
        embedder = Library(home, base).embedder()
        lengths = [int(n) for n in (arguments.sentences or str(base.answering.max_sentences)).split(",")]
        for language in arguments.languages.split(","):
            print(f"\n### {xquad.LANGUAGES[language]}\n\n{HEADING}\n|{' --- |' * HEADING.count(' |')}", flush=True)
            for strategy in arguments.strategies.split(","):
                if language != "en" and strategy != "extractive":
                    continue
                for length in lengths if strategy == "extractive" else lengths[:1]:
                    answering = base.answering.model_copy(update={"max_sentences": length})
                    library = Library(home, base.model_copy(update={"answering": answering}), embedder=embedder)
                    paragraphs, golds = xquad.read(data, language)
                    collection = xquad.ingest(library, paragraphs, language)
                    rows = asyncio.run(ask_all(library, collection, xquad.evenly(golds, arguments.limit), strategy))
                    print(f"| {strategy} | {length} | {line(rows)} |", flush=True)


if __name__ == "__main__":
    main()

"""How often an answer prefers the newer of two conflicting sources and says so, and how often it cries wolf.

    python tests/benchmarks/quality/packing_conflicts.py [--splits train,dev] [--home FOLDER] [--show]

The extractive strategy on the sample corpus, so that no model is asked. Of the questions tagged `superseded`: whether
the first sentence holds the newer fact, whether the older one is given first, whether the conflict is said, and with
both sources. Of all other answerable questions: how many answers claim a conflict, each printed with --show to be read.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from rag.build import Library
from rag.config import load_settings
from rag.evaluation.metrics import contains
from rag.evaluation.questions import read_questions
from rag.question import Question

SAMPLE = Path(__file__).parents[3] / "data" / "sample"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", default="train,dev")
    parser.add_argument("--home", type=Path, help="keep the home here instead of a temporary folder")
    parser.add_argument("--show", action="store_true", help="print every conflict that is claimed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        library = Library(home, load_settings(home, environment={}))
        library.ingest([SAMPLE / "documents"])
        print("| split | questions | superseded | newer first | conflict said | others | others with a conflict |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for split in arguments.splits.split(","):
            print(f"| {split} | {asyncio.run(measured(library, split, arguments.show))} |", flush=True)


async def measured(library: Library, split: str, show: bool) -> str:
    questions = [item for item in read_questions(SAMPLE / "questions.jsonl") if item.split == split]
    superseded = newer_first = said = others = alarms = 0
    for item in questions:
        answer = await library.answerer.answer(Question(item.question, strategy="extractive", history=item.messages))
        if "superseded" in item.tags:
            superseded += 1
            newer_first += bool(contains(answer.text.splitlines()[0], item.answers)) and not answer.abstained
            said += bool(answer.conflicts)
        else:
            others += 1
            alarms += bool(answer.conflicts)
        if show and (answer.conflicts or "superseded" in item.tags):
            print(f"\n{item.id} {item.question}\n{answer.text}\n")
    return f"{len(questions)} | {superseded} | {newer_first} | {said} | {others} | {alarms}"


if __name__ == "__main__":
    main()

"""How well a conversation's last question finds its passages: by itself, by the rules, and with more of the talk.

    DOMAINQA_BENCH_DATA=FOLDER python tests/benchmarks/quality/mtrag_rewriting.py [--home FOLDER]

Asks the passages of all MTRAG-UN conversations together, and only with the questions that have passages of their own
and a talk before them. No model is asked. The intervals are of 2,000 resamples of conversations, seed 0.
"""

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import mtrag
import numpy as np

from rag.build import Library
from rag.config import load_settings
from rag.rewriting import standalone

DEPTH = 60
"""Chunks looked through for ten passages: a passage may be several chunks."""


def asked(talk: mtrag.Conversation) -> list[str]:
    return [message.content for message in talk.history if message.role == "user"]


def back(count: int) -> Callable[[mtrag.Conversation], str]:
    return lambda talk: " ".join([*asked(talk)[-count:], talk.question])


WAYS: dict[str, Callable[[mtrag.Conversation], str]] = {
    "the last question alone": lambda talk: talk.question,
    "the rules": lambda talk: standalone(talk.question, talk.history),
    "with the one before": back(1),
    "with the two before": back(2),
    "with the three before": back(3),
    "with every question before": back(1000),
    "with the first one": lambda talk: " ".join([*asked(talk)[:1], talk.question]),
}


def passages(library: Library, query: str) -> list[str]:
    """The sources of the first ten passages, each once, best first."""
    hits = library.search(query, "default", DEPTH)
    return list(dict.fromkeys(hit.chunk.source for hit in hits))[:10]


def scores(found: Sequence[str], gold: frozenset[str]) -> tuple[float, float, float]:
    """Recall at 5 and 10, nDCG at 10 with every passage of the same worth."""
    gain = sum(1 / math.log2(rank + 1) for rank, source in enumerate(found, start=1) if source in gold)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(gold), 10) + 1))
    return len(gold & set(found[:5])) / len(gold), len(gold & set(found)) / len(gold), gain / ideal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="keep the home here instead of a temporary folder")
    arguments = parser.parse_args()
    talks = [talk for talk in mtrag.conversations() if talk.gold and talk.history]
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        mtrag.write_passages(home / "mtrag-passages")
        library = Library(home / "mtrag", load_settings(home, environment={}))
        library.ingest([home / "mtrag-passages"])
        draws = np.random.default_rng(0).integers(len(talks), size=(2000, len(talks)))
        print(f"\n{len(talks)} conversations\n")
        print("| searched for | recall@5 | recall@10 | nDCG@10 |\n| --- | --- | --- | --- |")
        for name, query in WAYS.items():
            values = np.array([scores(passages(library, query(talk)), talk.gold) for talk in talks])
            low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5), axis=0)
            cells = (f"{m:.3f} ({a:.2f} to {b:.2f})" for m, a, b in zip(values.mean(axis=0), low, high, strict=True))
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
            print(name, file=sys.stderr)


if __name__ == "__main__":
    main()

"""How well the documents' silence is recognised: on the sample corpus, and on MTRAG-UN's conversations where they are.

    [DOMAINQA_BENCH_DATA=FOLDER] python tests/benchmarks/quality/abstention.py [--home FOLDER] [--write]

Each set is cross-validated by itself, then both together (what is shipped), then one is judged by what was fitted to
the other, and what is shipped judges each set's questions asked of the other's documents, which nobody learned from.
Only the sample corpus's train and dev splits are read. ``--write`` makes the shipped calibration anew from both sets;
without MTRAG-UN it refuses to.
"""

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mtrag
import numpy as np

from rag.build import Library
from rag.calibration import DEFAULT_FILE
from rag.config import load_settings
from rag.evaluation.calibrating import Example, Fitted, Models, Rule, fit
from rag.evaluation.observing import observe
from rag.evaluation.questions import EvaluationQuestion, read_questions
from rag.evaluation.refusals import Estimate, Flags, Refusals, measure

SAMPLE = Path(__file__).parents[3] / "data" / "sample"
QUESTIONS = SAMPLE / "questions.jsonl"
SPLITS = ("train", "dev")
STRANGERS = 60
"""About so many questions of each set are asked of the other's documents."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions with their signals; ``kinds`` are languages or MTRAG-UN's classes. ``embedder``: its fingerprint."""

    examples: list[Example]
    kinds: list[str]
    embedder: str

    def of(self, kinds: Sequence[str]) -> "Asked":
        chosen = [(example, kind) for example, kind in zip(self.examples, self.kinds, strict=True) if kind in kinds]
        return Asked([example for example, _ in chosen], [kind for _, kind in chosen], self.embedder)


def ask(home: Path, documents: Path, questions: Sequence[EvaluationQuestion], kinds: list[str]) -> Asked:
    library = Library(home, load_settings(home, environment={}))
    library.ingest([documents])
    collection = library.catalog.collection("default")

    def tell(done: int, total: int) -> None:
        print(f"\r{home.name}: {done}/{total}", end="\n" if done == total else "", flush=True, file=sys.stderr)

    return Asked(observe(library, collection, questions, tell), kinds, collection.embedder)


def ask_sample(home: Path) -> Asked:
    questions = [question for question in read_questions(QUESTIONS) if question.split in SPLITS]
    return ask(home / "sample", SAMPLE / "documents", questions, [question.language for question in questions])


def ask_mtrag(home: Path) -> Asked:
    mtrag.write_passages(home / "mtrag-passages")
    talks = mtrag.conversations()
    questions = [talk.as_question() for talk in talks]
    return ask(home / "mtrag", home / "mtrag-passages", questions, [talk.answerability for talk in talks])


def line(name: str, refusals: Refusals) -> str:
    cells = (
        refusals.f1,
        refusals.precision,
        refusals.recall,
        refusals.answerable_refused,
        refusals.unanswerable_answered,
        refusals.coverage,
        refusals.risk,
    )
    answerable = refusals.questions - refusals.unanswerable
    return f"| {name} | {answerable} + {refusals.unanswerable} | {' | '.join(map(shown, cells))} |"


def shown(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.2f} to {estimate.high:.2f})"


COLUMNS = ("questions", "answerable + not", "F1", "precision", "recall", "answerable refused", "not, answered")


def header() -> None:
    print(f"| {' | '.join((*COLUMNS, 'answered', 'risk'))} |")
    print("|" + " --- |" * (len(COLUMNS) + 2))


def part(refused: Flags, asked: Asked, kinds: Sequence[str]) -> Refusals:
    chosen = np.array([kind in kinds for kind in asked.kinds])
    own = asked.of(kinds)
    return measure(refused[chosen], answerable_of(own), [example.group for example in own.examples])


def answerable_of(asked: Asked) -> Flags:
    return np.array([example.answerable for example in asked.examples], bool)


def fitted_to(asked: Asked, name: str, rule: Rule) -> Fitted:
    digest = hashlib.sha256(QUESTIONS.read_bytes()).hexdigest()
    return fit(asked.examples, rule, embedder=asked.embedder, fitted_on=name, questions_sha256=(digest,))


def ask_strangers(home: Path, embedder: str) -> Asked:
    """Questions of each set asked of the other's documents, which know nothing of them: every one is unanswerable."""
    sample = [question for question in read_questions(QUESTIONS) if question.split in SPLITS]
    talks = [talk.as_question() for talk in mtrag.conversations()]
    found: list[Example] = []
    for name, questions in (("mtrag", sample), ("sample", talks)):
        chosen = questions[:: len(questions) // STRANGERS]
        library = Library(home / name, load_settings(home, environment={}))
        found += observe(library, library.catalog.collection("default"), chosen)
    return Asked([replace(example, answerable=False) for example in found], ["STRANGER"] * len(found), embedder)


def judged_by(fitted: Fitted, asked: Asked) -> Flags:
    calibration = fitted.calibration
    models = Models(calibration.with_embedder, calibration.by_words)
    return np.array(models.probabilities(asked.examples) < calibration.threshold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="keep the homes here instead of a temporary folder")
    parser.add_argument("--max-refused", type=float, default=Rule().max_refused)
    parser.add_argument("--write", action="store_true", help=f"write {DEFAULT_FILE.name}, which is shipped")
    arguments = parser.parse_args()
    has_mtrag = bool(os.environ.get(mtrag.DATA))
    if arguments.write and not has_mtrag:
        parser.error(f"the shipped calibration is fitted to MTRAG-UN too; set {mtrag.DATA}")
    with tempfile.TemporaryDirectory() as temporary:
        report(arguments.home or Path(temporary), Rule(arguments.max_refused), has_mtrag, arguments.write)


def report(home: Path, rule: Rule, has_mtrag: bool, write: bool) -> None:
    sample = ask_sample(home)
    own = fitted_to(sample, "sample", rule)
    print("\n### Each set by itself, cross-validated\n")
    header()
    print(line("sample", own.refusals))
    for language in ("en", "ru", "zh"):
        print(line(f"sample, {language}", part(own.refused, sample, [language])))
    if not has_mtrag:
        return
    everything = ask_mtrag(home)
    talks = everything.of(["ANSWERABLE", "UNANSWERABLE"])
    others = fitted_to(talks, "MTRAG-UN", rule)
    print(line("MTRAG-UN", others.refusals))
    for name, fitted in (("sample", own), ("MTRAG-UN", others)):
        curve = ", ".join(f"{coverage:g}: {risk:.3f}" for coverage, risk in fitted.risk_by_coverage.items())
        print(f"\nRisk by coverage, {name}: {curve}")
    both = Asked(
        [*sample.examples, *talks.examples],
        ["sample"] * len(sample.kinds) + ["talks"] * len(talks.kinds),
        sample.embedder,
    )
    name = f"the sample corpus's {' and '.join(SPLITS)} splits ({len(sample.kinds)}) and MTRAG-UN ({len(talks.kinds)})"
    shipped = fitted_to(both, name, rule)
    print("\n### Both together, cross-validated: what is shipped\n")
    header()
    print(line("sample", part(shipped.refused, both, ["sample"])))
    print(line("MTRAG-UN", part(shipped.refused, both, ["talks"])))
    print("\n### Fitted to the one, asked the other\n")
    header()
    print(line("MTRAG-UN, by the sample's", measure(judged_by(own, talks), answerable_of(talks), groups(talks))))
    print(line("sample, by MTRAG-UN's", measure(judged_by(others, sample), answerable_of(sample), groups(sample))))
    print("\n### Questions between, by the shipped calibration\n")
    strangers = ask_strangers(home, sample.embedder)
    for kind in ("PARTIAL", "UNDERSPECIFIED", "STRANGER"):
        refused = judged_by(shipped, strangers if kind == "STRANGER" else everything.of([kind]))
        print(f"{kind}: {int(refused.sum())} of {len(refused)} refused ({refused.mean():.3f})")
    print(f"\nthreshold {shipped.calibration.threshold:.3f}")
    if write:
        DEFAULT_FILE.write_text(shipped.calibration.model_dump_json(indent=1) + "\n", "utf-8")
        print(f"wrote {DEFAULT_FILE.name}")


def groups(asked: Asked) -> list[str]:
    return [example.group for example in asked.examples]


if __name__ == "__main__":
    main()

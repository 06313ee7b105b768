"""``domainqa eval``: what the answers are worth, measured on questions with known answers."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import auditing, experiment, output, question_sets, run_comparison, session
from service.cli.options import Collection, JsonOutput
from service.cli.progress import CountDisplay

if TYPE_CHECKING:
    from rag.evaluation.calibrating import Fitted
    from rag.evaluation.refusals import Estimate

app = typer.Typer(no_args_is_help=True, help="Measure and set up on questions with known answers.")
app.command("audit")(auditing.audit)
app.command("compare")(run_comparison.compare)
app.command("list")(run_comparison.list_)
app.command("import")(question_sets.import_)
app.command("make")(question_sets.make)
app.command("check-quotes")(question_sets.check_quotes)
app.command("run")(experiment.run)
app.command("report")(experiment.report)


@app.command()
def calibrate(
    ctx: typer.Context,
    questions: Annotated[
        list[Path] | None,
        typer.Option(
            "--questions",
            metavar="FILE",
            help="JSONL, a question a line, answerable ones and others; may be given several times.",
        ),
    ] = None,
    collection: Collection = "default",
    max_refused: Annotated[
        float,
        typer.Option(
            "--max-refused",
            metavar="SHARE",
            min=0,
            max=1,
            help="At most this share of the answerable questions refused.",
        ),
    ] = 0.1,
    target_risk: Annotated[
        float | None,
        typer.Option(
            "--target-risk",
            metavar="SHARE",
            min=0,
            max=1,
            help="At most this share of the answered questions unanswerable, whatever is refused for it.",
        ),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="NAME", help="Only the questions of this split; may be given several times."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only measure; the collection stays as it is.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Go back to the shipped calibration.")] = False,
    as_json: JsonOutput = False,
) -> None:
    """Learn from questions when to say that the documents don't say.

    Fits how probable an answer is to what retrieval finds for the questions, chooses the probability below which a
    question is refused, and keeps both with the collection. The figures are cross-validated: of questions that were not
    learned from, whole groups held out together.
    """
    own = session.of(ctx)
    if reset:
        if questions:
            raise typer.BadParameter("--reset goes back to the shipped calibration and takes no --questions")
        with own.library() as library:
            library.catalog.set_calibration(library.catalog.collection(collection), None)
        if as_json:
            output.print_json({"collection": collection, "calibration": "shipped"})
        else:
            output.note(f"collection {collection!r} uses the shipped calibration")
        return
    if not questions:
        raise typer.BadParameter("give a file with --questions")
    fitted = _fit(own, questions, set(split or ()), collection, max_refused, target_risk, keep=not dry_run)
    if as_json:
        output.print_json(_as_json(fitted, collection, kept=not dry_run))
    else:
        _print(fitted, collection, kept=not dry_run)


def _fit(
    own: session.Session,
    paths: list[Path],
    splits: set[str],
    collection: str,
    max_refused: float,
    target_risk: float | None,
    *,
    keep: bool,
) -> "Fitted":
    import hashlib

    from rag.calibration import default_calibration
    from rag.errors import UsageError
    from rag.evaluation.calibrating import Rule, fit
    from rag.evaluation.observing import observe
    from rag.evaluation.questions import read_questions

    read = [question for path in paths for question in read_questions(path)]
    chosen = [question for question in read if not splits or question.split in splits]
    if not chosen:
        told = f" of split {', '.join(sorted(splits))}" if splits else ""
        raise UsageError(f"{', '.join(map(str, paths))}: there are no questions{told}")
    own.provide()
    with CountDisplay("questions") as display, own.library(display.note) as library:
        found = library.catalog.collection(collection)
        examples = observe(library, found, chosen, display.update)
        fitted = fit(
            examples,
            Rule(max_refused, target_risk),
            embedder=found.embedder,
            fitted_on=f"{len(chosen)} questions of {', '.join(path.name for path in paths)}",
            questions_sha256=tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths),
            prior=default_calibration(),
        )
        if keep:
            library.catalog.set_calibration(found, fitted.calibration.model_dump_json())
    return fitted


_ROWS = (
    ("f1", "F1 of refusals"),
    ("precision", "refused questions that can't be answered"),
    ("recall", "unanswerable questions refused"),
    ("answerable_refused", "answerable questions refused"),
    ("unanswerable_answered", "unanswerable questions answered"),
    ("risk", "answered questions that can't be answered"),
    ("coverage", "questions answered"),
)


def _print(fitted: "Fitted", collection: str, *, kept: bool) -> None:
    rows = [(label, *_cells(getattr(fitted.refusals, name))) for name, label in _ROWS]
    output.print_table(("cross-validated", "share", "95 % interval"), rows, numbers=["share"])
    curve = ", ".join(f"{coverage:g}: {risk:.3f}" for coverage, risk in fitted.risk_by_coverage.items())
    output.note(f"risk by coverage: {curve}")
    calibration = fitted.calibration
    counted = f"{fitted.refusals.questions} questions, {fitted.refusals.unanswerable} of them unanswerable"
    output.note(f"{counted}; refused below a probability of {calibration.threshold:.3f}: {calibration.target}")
    if kept:
        output.note(f"kept with collection {collection!r}; `domainqa eval calibrate --reset` goes back")


def _cells(estimate: "Estimate") -> tuple[str, str]:
    if math.isnan(estimate.value):
        return "-", "-"
    return f"{estimate.value:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"


def _as_json(fitted: "Fitted", collection: str, *, kept: bool) -> output.Json:
    measured: dict[str, output.Json] = {}
    for name, _ in _ROWS:
        estimate = getattr(fitted.refusals, name)
        measured[name] = {
            "value": output.number(estimate.value),
            "low": output.number(estimate.low),
            "high": output.number(estimate.high),
        }
    return {
        "collection": collection,
        "kept": kept,
        "questions": fitted.refusals.questions,
        "unanswerable": fitted.refusals.unanswerable,
        "threshold": fitted.calibration.threshold,
        "target": fitted.calibration.target,
        "cross_validated": measured,
        "risk_by_coverage": {f"{coverage:g}": risk for coverage, risk in fitted.risk_by_coverage.items()},
        "calibration": fitted.calibration.model_dump(mode="json"),
    }

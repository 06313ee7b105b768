"""``domainqa eval compare`` and ``list``: runs beside each other; a gate for a team's CI."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import output
from service.cli.options import JsonOutput

if TYPE_CHECKING:
    from rag.evaluation.comparing import ArmChange, Comparison

LOST = 3
"""The exit code of a significant loss."""


def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="The folder of the run that sets the bar.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The folder of the run to judge.")],
    margin: Annotated[
        float, typer.Option("--margin", metavar="SCORE", min=0, help="What an arm may lose of the metric.")
    ] = 0.0,
    metric: Annotated[
        str | None,
        typer.Option("--metric", metavar="NAME", help="Another than the primary metric of the run before."),
    ] = None,
    as_json: JsonOutput = False,
) -> None:
    """Judge a run by an earlier one, arm by arm, on the questions of both.

    Exits with 3 where an arm lost significantly more than the margin, and with 1 where no arm can be judged.
    """
    from rag.errors import UsageError
    from rag.evaluation import comparing

    found = comparing.compare(comparing.read(before), comparing.read(after), margin=margin, metric=metric)
    if as_json:
        output.print_json(_as_json(found))
    else:
        output.print_table(("arm", f"{found.metric}, after less before"), [(arm.arm, arm.words) for arm in found.arms])
        for difference in found.differences:
            output.note(difference)
        counted = f"{found.questions} questions of both; {found.only_before} only before, {found.only_after} only after"
        output.note(counted)
    if found.losses:
        raise typer.Exit(LOST)
    if not found.has_verdict:
        raise UsageError(f"no arm of {before} and {after} can be judged: {found.arms[0].words}")


def list_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds the runs.")] = Path("runs"),
    as_json: JsonOutput = False,
) -> None:
    """List runs. Two with the same key asked the same questions of the same documents, models and settings."""
    from rag.evaluation.comparing import runs_in

    runs = runs_in(folder)
    if as_json:
        output.print_json(
            [
                {
                    "name": run.name,
                    "key": run.key,
                    "created_at": run.created_at,
                    "questions": len(run.question_ids),
                    "questions_sha256": run.questions_sha256,
                    "collection": run.collection,
                    "collection_sha256": run.collection_sha256,
                    "model": run.model,
                    "arms": [arm.name for arm in run.arms],
                    "primary": run.primary,
                    "seed": run.seed,
                }
                for run in runs
            ]
        )
        return
    columns = ("name", "key", "created", "questions", "collection", "model", "arms", "primary")
    rows = [
        (
            run.name,
            run.key[:12],
            run.created_at,
            len(run.question_ids),
            run.collection,
            run.model,
            ", ".join(arm.name for arm in run.arms),
            run.primary,
        )
        for run in runs
    ]
    output.print_table(columns, rows, numbers=["questions"])


def _as_json(found: "Comparison") -> output.Json:
    return {
        "metric": found.metric,
        "questions": found.questions,
        "only_before": found.only_before,
        "only_after": found.only_after,
        "differences": list(found.differences),
        "lost": [arm.arm for arm in found.losses],
        "arms": {arm.arm: _arm(arm) for arm in found.arms},
    }


def _arm(arm: "ArmChange") -> dict[str, output.Json]:
    each = arm.judged.estimate
    return {
        "difference": output.number(each.value),
        "low": output.number(arm.judged.interval.low),
        "high": output.number(arm.judged.interval.high),
        "p": arm.judged.p,
        "clusters": each.clusters,
        "unmeasured": each.unmeasured,
        "words": arm.words,
    }

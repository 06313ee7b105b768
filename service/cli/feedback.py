"""``domainqa feedback``: what readers thought of answers, as data to evaluate with and to tune on."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli import output, session
from service.cli.options import JsonOutput

app = typer.Typer(no_args_is_help=True, help="What readers thought of answers.")


@app.callback()
def feedback() -> None:
    """What readers thought of answers."""


class Format(StrEnum):
    questions = "questions"
    preferences = "preferences"


@app.command("export")
def export(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write; JSONL.")],
    format_: Annotated[
        Format,
        typer.Option(
            "--format",
            help="questions: evaluation questions from answers rated up. preferences: pairs of an answer rated up "
            "and one rated down to the same question.",
        ),
    ] = Format.questions,
    as_json: JsonOutput = False,
) -> None:
    """Write rated answers as evaluation questions or as preference pairs."""
    from service import exporting

    with session.of(ctx).library() as library:
        rated = library.catalog.feedback.rated()
    make = exporting.questions if format_ is Format.questions else exporting.preferences
    records = make(rated)
    exporting.write(records, out)
    if as_json:
        output.print_json({"written": len(records), "rated": len(rated), "file": str(out)})
    else:
        output.print_text(f"{len(records)} {format_.value} from {len(rated)} rated answers in {output.name(str(out))}")

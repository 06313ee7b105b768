"""``domainqa ingest``: files and folders into a collection, with what could not be read and why."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from rag.errors import UsageError
from rag.types import IngestReport
from service.cli import output, session
from service.cli.options import Collection, JsonOutput, Tenant
from service.cli.progress import IngestDisplay


def ingest(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.")],
    collection: Collection = "default",
    tenant: Tenant = "default",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when a file could not be read.")] = False,
    as_json: JsonOutput = False,
) -> None:
    """Read files into a collection, again only if they changed."""
    for path in paths:
        if not path.exists():  # before models are fetched and loaded
            raise UsageError(f"there is no file or folder {path}")
    own = session.of(ctx)
    own.provide()
    with IngestDisplay() as display, own.library(display.note) as library:
        report = library.ingest(paths, collection, display.update, tenant=tenant)
    if as_json:
        output.print_json(_as_json(report))
    else:
        _print(report)
    if strict and report.failed:
        raise typer.Exit(1)


def _print(report: IngestReport) -> None:
    counts = (
        f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, {report.removed} removed, "
        f"{len(report.failed)} failed; {report.chunks} chunks in {report.seconds:.1f} s"
    )
    output.print_text(counts)
    console = output.stdout()
    if report.failed:
        console.print(Text("Could not be read:", style="bold"))
    for failure in report.failed:
        console.print(Text(f"  {output.name(failure.source)}: {output.one_line(failure.reason)}"), soft_wrap=True)
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in report.seconds_by_step.items())
    if steps:
        output.note(steps)


def _as_json(report: IngestReport) -> output.Json:
    return {
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "failed": [{"source": failure.source, "reason": failure.reason} for failure in report.failed],
        "chunks": report.chunks,
        "seconds": round(report.seconds, 3),
    }

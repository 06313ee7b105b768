"""``domainqa ingest``: files and folders into a collection, with what could not be read and why."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from rag.errors import ConfigError, UsageError
from rag.types import IngestReport, WithheldRemoval
from service.cli import output, session
from service.cli.options import Collection, JsonOutput, Tenant
from service.cli.progress import IngestDisplay

if TYPE_CHECKING:
    from rag.build import Library
    from rag.syncing import Sync


def ingest(
    ctx: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="Files and folders; with --sync alone, the folders synced before."),
    ] = None,
    collection: Collection = "default",
    tenant: Tenant = "default",
    sync: Annotated[
        bool,
        typer.Option("--sync", help="Remove documents whose file is gone from the folders; remember them as synced."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on whenever a file changes, until Ctrl-C. Implies --sync.")
    ] = False,
    allow_mass_removal: Annotated[
        bool,
        typer.Option(
            "--allow-mass-removal", help="Remove more than half of a folder's documents, or all, if they are gone."
        ),
    ] = False,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", metavar="FILE", help="Passwords to try on encrypted PDFs, one a line."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when a file could not be read.")] = False,
    as_json: JsonOutput = False,
) -> None:
    """Read files into a collection, again only if they changed."""
    sync = sync or watch
    paths = paths or []
    if not paths and not sync:
        raise typer.BadParameter("name files or folders, or pass --sync for the folders synced before")
    for path in paths:
        if not path.exists():  # before models are fetched and loaded
            raise UsageError(f"there is no file or folder {path}")
    passwords = _passwords(password_file)
    own = session.of(ctx)
    own.provide()
    with IngestDisplay() as display, own.library(display.note) as library:
        paths = paths or _synced(library, collection, tenant)

        def run() -> IngestReport:
            return library.ingest(
                paths,
                collection,
                display.update,
                tenant=tenant,
                sync=_sync(sync, allow_mass_removal),
                passwords=passwords,
            )

        if watch:
            from service.cli.watching import watch_folders

            watch_folders(paths, run, display, lambda report: _report(report, as_json))
            return
        report = run()
    _report(report, as_json)
    if report.withheld:
        raise typer.Exit(1)
    if strict and report.failed:
        raise typer.Exit(1)


def _sync(wanted: bool, allow_mass_removal: bool) -> "Sync | None":
    from rag.syncing import Sync

    return Sync(allow_mass_removal) if wanted else None


def _synced(library: "Library", collection: str, tenant: str) -> list[Path]:
    folders = library.catalog.synced_folders(library.catalog.collection(collection, tenant))
    if not folders:
        raise UsageError(f"collection {collection!r} has no synced folders; name one: `domainqa ingest FOLDER --sync`")
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(
                f"the synced folder {folder} is not there; mount it, or let its documents stay with "
                "`domainqa documents folders --forget FOLDER`"
            )
    return folders


def _passwords(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the password file {path} cannot be read: {error}") from error
    return tuple(line for line in lines if line)


def _withheld(withheld: WithheldRemoval) -> str:
    return (
        f"{withheld.missing} of {withheld.documents} documents of {output.name(withheld.folder)} have lost their file; "
        "none of them was removed, for so many at once look like a folder that is not mounted; if they are to go, "
        "pass --allow-mass-removal"
    )


def _report(report: IngestReport, as_json: bool) -> None:
    if as_json:
        output.print_json(_as_json(report))
    else:
        _print(report)
    for each in report.withheld:
        output.print_error(_withheld(each))


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
    shown: dict[str, output.Json] = {
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "failed": [{"source": failure.source, "reason": failure.reason} for failure in report.failed],
        "chunks": report.chunks,
        "seconds": round(report.seconds, 3),
    }
    if report.withheld:
        shown["withheld"] = [
            {"folder": each.folder, "missing": each.missing, "documents": each.documents} for each in report.withheld
        ]
    return shown

"""The program: commands, global options, and how errors end it.

Exit codes: 0 success, 1 an error told in one line, 2 wrong usage of the command line, 130 interrupted. An error that
nobody expected keeps its traceback.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rag.errors import DomainQAError
from service.cli import (
    adapters,
    ask,
    backup,
    collections,
    config,
    doctor,
    documents,
    engine,
    evaluation,
    feedback,
    finetune,
    ingest,
    keys,
    mcp,
    models,
    noise,
    output,
    plan,
    reindex,
    search,
    serve,
    session,
)

_INTERRUPTED = 130


class Root(TyperGroup):
    """Puts the global options on every command, and tells our errors in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        _share(self, [param for param in self.params if param.name in session.GLOBAL_OPTIONS])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DomainQAError as error:
            output.print_error(str(error))
            raise typer.Exit(1) from error


def _share(group: TyperGroup, options: Iterable[Any]) -> None:
    for command in group.commands.values():
        command.params = [*command.params, *options]
        if isinstance(command, TyperGroup):
            _share(command, options)


def _print_version(value: bool) -> None:
    if value:
        print(f"domainqa {version('domainqa')}")  # noqa: T201 - nothing to escape, and rich need not be loaded
        raise typer.Exit


app = typer.Typer(
    cls=Root,
    name="domainqa",
    no_args_is_help=True,
    # Plain help: the same text on a terminal, in a pipe and in docs/cli.md.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command("ingest")(ingest.ingest)
app.command("search")(search.search)
app.command("ask")(ask.ask)
app.command("serve")(serve.serve)
app.command("mcp")(mcp.mcp)
app.add_typer(collections.app, name="collections")
app.add_typer(documents.app, name="documents")
app.add_typer(keys.app, name="keys")
app.add_typer(models.app, name="models")
app.add_typer(adapters.app, name="adapters")
app.add_typer(finetune.app, name="finetune")
app.add_typer(engine.app, name="engine")
app.add_typer(evaluation.app, name="eval")
app.command("plan")(plan.plan)
app.add_typer(feedback.app, name="feedback")
app.add_typer(config.app, name="config")
app.command("reindex")(reindex.reindex)
app.command("doctor")(doctor.doctor)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)


@app.callback()
def domainqa(
    home: session.Home = None,
    config: session.Config = None,
    profile: session.Profile = None,
    offline: session.Offline = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Questions to your own documents, answered with citations that are checked against the text."""


def main(own: session.Session | None = None) -> None:
    """The entry point of the installed command. Ends the process."""
    noise.silence()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A character that the terminal's encoding lacks is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="domainqa", obj=own)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            # Python would wait for threads that load a model, seconds long, and print a traceback at the next Ctrl-C.
            # All that had to be closed is closed by now.
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(_INTERRUPTED)
        raise


if __name__ == "__main__":
    main()

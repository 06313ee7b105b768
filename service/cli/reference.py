"""Writes ``docs/cli.md`` from the commands' own help texts: ``python -m service.cli.reference``.

With ``--check`` it writes nothing and fails when the page is stale.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from service.cli.main import app

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

_WIDTH = 80
_INTRODUCTION = """\
# The command line

This page is made from the commands' help texts by `python -m service.cli.reference`; change those, not this.

Results go to stdout, progress and messages to stderr. With `--json` the result is one JSON document. The exit code
is 0 on success, 1 on an error (told in one line that begins with `error:`), 2 on wrong usage, 130 after Ctrl-C.
"""


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for path, text in help_texts():
        parts.append(f"{'#' * (2 if ' ' not in path else 3)} {path}\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


def help_texts() -> Iterator[tuple[str, str]]:
    """Path and help text of every command, groups before their members."""
    return _helps(get_command(app), None, "domainqa")


def _helps(command: Any, parent: Any, name: str) -> Iterator[tuple[str, str]]:
    with Context(command, info_name=name, parent=parent, terminal_width=_WIDTH, **command.context_settings) as context:
        yield context.command_path, command.get_help(context)
        if isinstance(command, TyperGroup):
            for name, each in command.commands.items():
                yield from _helps(each, context, name)


def main() -> None:
    text = reference()
    if "--check" in sys.argv[1:]:
        if not PAGE.is_file() or PAGE.read_text("utf-8") != text:
            sys.exit(f"{PAGE} is stale; run `python -m service.cli.reference`")
        return
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()

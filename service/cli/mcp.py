"""``domainqa mcp``: search and answers as tools of an assistant, over standard input and output."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rag.errors import ConfigError
from service.cli import output, session
from service.cli.options import Collection

if TYPE_CHECKING:
    from service.tools.sources import Source


def mcp(
    ctx: typer.Context,
    collection: Collection = "default",
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="Ask a running service at this address, with the key in DOMAINQA_API_KEY; this home when left out.",
        ),
    ] = None,
) -> None:
    """Be an MCP server on stdin and stdout, with the tools search and ask.

    For an assistant that starts it as its own process; see docs/clients.md.
    """
    try:
        from service.tools import server
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise ConfigError("the package mcp is not installed; run `pip install 'domainqa[mcp]'`") from error
    source = _source(session.of(ctx), collection, url)
    if sys.stdin.isatty():
        output.note("an MCP server speaks to a program, not to a person; Ctrl-C ends it")
    server.serve(source, collection)


def _source(own: session.Session, collection: str, url: str | None) -> "Source":
    from service.tools.sources import InProcess, Remote

    if url is not None:
        from service.client import AsyncClient

        return Remote(AsyncClient(url))
    own.provide(chat=own.settings().generation.engine == "local")
    library = own.open()
    library.catalog.collection(collection)  # a wrong name is told now, not to the assistant at each call
    return InProcess(library)

"""The two tools over standard input and output. The only file that imports ``mcp``.

While it serves, ``mcp`` points the process's own standard output at standard error, so that nothing but the protocol
can get onto the wire.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from rag.errors import DomainQAError
from service.tools.outputs import CheckedAnswer, Passages
from service.tools.sources import Source

_READS_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)

Words = Annotated[str, Field(min_length=1, max_length=20_000, description="A question, words or a part number.")]
TopK = Annotated[int | None, Field(ge=1, le=200, description="How many passages; the configured number if left out.")]


def make_server(source: Source, collection: str) -> MCPServer[None]:
    """The server over one collection. Ending it closes the source."""

    @asynccontextmanager
    async def lifespan(_: MCPServer[None]) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await source.aclose()

    server: MCPServer[None] = MCPServer(
        "domainqa",
        version=version("domainqa"),
        instructions=(
            f"Search and answers over the documents of the collection {collection!r}. Answers carry citations that "
            "were checked against the text. Where the documents do not say, `abstained` is true: tell the user so."
        ),
        # Its lines below a warning repeat what was asked.
        log_level="WARNING",
        lifespan=lifespan,
    )

    @server.tool(title="Search the documents", annotations=_READS_ONLY)
    async def search(query: Words, top_k: TopK = None) -> Passages:
        """Find passages in the documents, verbatim, best first, with document, page and character offsets."""
        try:
            return await source.search(query, collection, top_k)
        except DomainQAError as error:
            raise ToolError(str(error)) from error

    @server.tool(title="Ask the documents", annotations=_READS_ONLY)
    async def ask(question: Words) -> CheckedAnswer:
        """Answer a question from the documents alone, with citations checked against the text; says so where the
        documents do not answer it."""
        try:
            return await source.ask(question, collection)
        except DomainQAError as error:
            raise ToolError(str(error)) from error

    return server


def serve(source: Source, collection: str) -> None:
    """Serve until the client closes our standard input."""
    anyio.run(make_server(source, collection).run_stdio_async)

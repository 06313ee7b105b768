"""``domainqa search``: passages, best first, without a model's words."""

from typing import Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from rag.types import Hit
from service.cli import explaining, output, session
from service.cli.options import Collection, JsonOutput

_SNIPPET_CHARACTERS = 320
_INDENT = (0, 0, 0, 4)


def search(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for: words, a question, a part number.")],
    collection: Collection = "default",
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k", metavar="N", min=1, max=200, help="How many passages; the profile's number when left out."
        ),
    ] = None,
    explained: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say how each hit came about and what the model would be shown of them; counts with the chat model.",
        ),
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """Find passages in the documents."""
    own = session.of(ctx)
    if explained:
        explaining.explain(own, query, collection, top_k, as_json=as_json)
        return
    own.provide()
    with own.library() as library:
        hits = library.search(query, collection, top_k or library.settings.retrieval.top_k)
    if as_json:
        found: list[output.Json] = [explaining.hit_as_json(hit) for hit in hits]
        output.print_json({"query": query, "collection": collection, "hits": found})
    elif not hits:
        output.note(f"nothing found in collection {collection!r}")
    else:
        for rank, hit in enumerate(hits, 1):
            _print_hit(rank, hit, query)


def _print_hit(rank: int, hit: Hit, query: str) -> None:
    from service.cli.snippets import query_words, snippet  # the analyzer's stemmers take a while to load

    chunk = hit.chunk
    head = Text(f"{rank:2}. ")
    head.append(output.one_line(chunk.title), style="bold")
    if chunk.page is not None:
        head.append(f", page {chunk.page}")
    head.append(f"  {hit.score:.3f}", style="cyan")
    head.append(f"  {output.name(chunk.source)}", style="dim")
    console = output.stdout()
    console.print(head, soft_wrap=True)
    if chunk.heading_path:
        path = " > ".join(output.one_line(each) for each in chunk.heading_path)
        console.print(Padding(Text(path, style="italic"), _INDENT, expand=False))
    text = output.one_line(chunk.text)
    words = query_words(text, query, chunk.language)
    begin, end = snippet(text, words, _SNIPPET_CHARACTERS)
    shown = Text(text)
    for span in words:
        shown.stylize("bold yellow", *span)
    cut = Text("… " if begin else "").append_text(shown[begin:end]).append(" …" if end < len(text) else "")
    console.print(Padding(cut, _INDENT, expand=False))
    console.print()

"""``domainqa models``: the models there are, and fetching them before they are needed."""

from typing import Annotated

import typer

from rag import models
from service.cli import fetching, output, session
from service.cli.options import JsonOutput

app = typer.Typer(no_args_is_help=True, help="The models that a profile needs.")


@app.command("list")
def list_(ctx: typer.Context, as_json: JsonOutput = False) -> None:
    """List the models known by name and those in the model cache."""
    cache = models.default_cache()
    needed = session.of(ctx).models()
    infos = models.list_models(cache)
    if as_json:
        output.print_json(
            {
                "cache": str(cache),
                "models": [
                    {
                        "name": info.reference,
                        "kind": info.kind,
                        "source": info.source,
                        "licence": info.licence,
                        "size_bytes": info.size,
                        "folder": None if info.folder is None else str(info.folder),
                        "needed": info.reference in needed,
                    }
                    for info in infos
                ],
            }
        )
        return
    rows = [
        (
            info.reference,
            info.kind,
            output.size(info.size),
            info.licence,
            "in the cache" if info.folder is not None else "not fetched",
            "yes" if info.reference in needed else "",
        )
        for info in infos
    ]
    known = {info.reference for info in infos}
    rows += [
        (name, None, "-", None, "not fetched" if fetching.missing([name], cache) else "a local folder", "yes")
        for name in needed
        if name not in known
    ]
    output.print_table(("model", "kind", "size", "licence", "state", "used by the profile"), rows, numbers=["size"])
    output.note(f"model cache: {cache}")


@app.command("fetch")
def fetch(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Names from the list, or hub ids; all that the profile needs when left out."
        ),
    ] = None,
) -> None:
    """Fetch models, checking those that are there byte by byte."""
    own = session.of(ctx)
    wanted = names or own.models()
    cache = models.default_cache()
    if own.is_offline():
        fetching.provide(wanted, offline=True)
    with fetching.progress_shown() as show:
        folders = [models.fetch(reference, cache, show) for reference in wanted]
    for reference, folder in zip(wanted, folders, strict=True):
        output.print_text(f"{output.name(reference)}: {output.name(str(folder))}")

"""``domainqa collections``: sets of documents that are searched together."""

from typing import Annotated

import typer

from service.cli import output, session
from service.cli.options import JsonOutput, Yes
from service.cli.waiting import Waiting

app = typer.Typer(no_args_is_help=True, help="Sets of documents that are searched together.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The collection's name.")]


@app.command("list")
def list_(ctx: typer.Context, as_json: JsonOutput = False) -> None:
    """List the collections."""
    with session.of(ctx).library() as library:
        catalog = library.catalog
        found = [(each, catalog.documents(each), catalog.failures(each)) for each in catalog.collections()]
    if as_json:
        output.print_json(
            {
                "collections": [
                    {
                        "name": each.name,
                        "documents": len(documents),
                        "chunks": sum(document.chunks for document in documents),
                        "failed": len(failures),
                        "embedding_model": each.embedding_model,
                        "dimension": each.dimension,
                    }
                    for each, documents, failures in found
                ]
            }
        )
    elif found:
        rows = [
            (
                each.name,
                len(documents),
                sum(document.chunks for document in documents),
                len(failures),
                each.embedding_model,
            )
            for each, documents, failures in found
        ]
        columns = ("collection", "documents", "chunks", "failed", "embedding model")
        output.print_table(columns, rows, numbers=columns[1:4])
    else:
        output.note("there are no collections yet; `domainqa ingest PATH` makes the first one")


@app.command("create")
def create(ctx: typer.Context, name: Name) -> None:
    """Make an empty collection for the profile's embedding model."""
    own = session.of(ctx)
    own.provide()
    with Waiting() as waiting, own.library(waiting.say) as library:
        made = library.create_collection(name)
    output.print_text(f"created {output.name(made.name)}, with vectors of {output.name(made.embedding_model)}")


@app.command("delete")
def delete(ctx: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete a collection with all its documents; the files themselves stay."""
    with session.of(ctx).library() as library:
        count = len(library.catalog.documents(library.catalog.collection(name)))
        if not yes:
            typer.confirm(f"Delete {output.name(name)} with its {count} documents?", abort=True, err=True)
        library.delete_collection(name)
    output.print_text(f"deleted {output.name(name)} ({count} documents)")

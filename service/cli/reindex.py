"""``domainqa reindex``: make indexes, and where needed vectors, again from the stored texts."""

from typing import Annotated

import typer

from service.cli import output, session
from service.cli.options import JsonOutput
from service.cli.progress import IngestDisplay


def reindex(
    ctx: typer.Context,
    collection: Annotated[
        str | None, typer.Argument(metavar="COLLECTION", help="The collection; every one when left out.")
    ] = None,
    option: Annotated[
        # As every other command takes it.
        str | None, typer.Option("--collection", "-c", metavar="NAME", help="The same, as an option.")
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", metavar="TENANT", help="Whose collections they are.")] = "default",
    as_json: JsonOutput = False,
) -> None:
    """Rebuild the indexes from the stored texts.

    No file is read again. Texts are embedded again where the profile's embedding model is another one.
    """
    if None not in (collection, option) and collection != option:
        raise typer.BadParameter(f"two collections are named, {collection!r} and {option!r}")
    own = session.of(ctx)
    own.provide()
    with IngestDisplay() as display, own.library(display.note) as library:
        rows = library.reindex(collection or option, display.update, tenant=tenant)
    if as_json:
        output.print_json({"collections": [{"name": name, "chunks": count} for name, count in rows.items()]})
    elif rows:
        output.print_table(("collection", "chunks"), list(rows.items()), numbers=["chunks"])
    else:
        output.note("there are no collections")

"""``domainqa documents``: what a collection holds, what could not be read, and taking something out."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from rag.types import Document, DocumentInfo
from service.cli import output, session
from service.cli.options import Collection, JsonOutput, Yes

if TYPE_CHECKING:
    from rag.erasing import Erasure

app = typer.Typer(no_args_is_help=True, help="The documents of a collection.")

IdOrSource = Annotated[
    str, typer.Argument(metavar="ID_OR_SOURCE", help="The document's id, or its path as `documents list` shows it.")
]


@app.command("list")
def list_(
    ctx: typer.Context,
    collection: Collection = "default",
    failed: Annotated[bool, typer.Option("--failed", help="List what could not be read instead, and why.")] = False,
    as_json: JsonOutput = False,
) -> None:
    """List the documents."""
    with session.of(ctx).library() as library:
        found = library.catalog.collection(collection)
        documents = [] if failed else library.catalog.documents(found)
        failures = library.catalog.failures(found)
    if failed:
        if as_json:
            output.print_json({"failed": [{"source": each.source, "reason": each.reason} for each in failures]})
        elif failures:
            output.print_table(("document", "reason"), [(each.source, each.reason) for each in failures])
        else:
            output.note(f"everything in collection {collection!r} could be read")
        return
    if as_json:
        output.print_json({"documents": [_as_json(each) for each in documents]})
        return
    rows = [
        (
            each.source,
            output.one_line(each.title),
            each.language,
            each.pages,
            each.chunks,
            output.size(each.size_bytes),
            each.updated_at,
        )
        for each in documents
    ]
    columns = ("document", "title", "language", "pages", "chunks", "size", "updated")
    output.print_table(columns, rows, numbers=("pages", "chunks", "size"))
    unread = f"; {len(failures)} could not be read, see --failed" if failures else ""
    output.note(f"{len(documents)} documents{unread}")


@app.command("show")
def show(
    ctx: typer.Context,
    document: IdOrSource,
    collection: Collection = "default",
    text: Annotated[bool, typer.Option("--text", help="Print the text that was read from the file.")] = False,
    as_json: JsonOutput = False,
) -> None:
    """Show a document: where it is from, its headings, its text."""
    with session.of(ctx).library() as library:
        found = library.catalog.collection(collection)
        info = library.catalog.document_info(found, document)
        content = library.catalog.document(found, info.id)
    if as_json:
        shown = _as_json(info) | _content_as_json(content)
        output.print_json(shown | {"text": content.text} if text else shown)
    elif text:
        # A pipe gets the text as it is; a terminal must not obey it.
        sys.stdout.write(output.printable(content.text) if sys.stdout.isatty() else content.text)
        sys.stdout.write("" if content.text.endswith("\n") else "\n")
    else:
        _print(info, content)


@app.command("folders")
def folders(
    ctx: typer.Context,
    collection: Collection = "default",
    forget: Annotated[
        Path | None,
        typer.Option("--forget", metavar="FOLDER", help="Sync this folder no longer; its documents stay."),
    ] = None,
    as_json: JsonOutput = False,
) -> None:
    """List the folders that `ingest --sync` keeps the collection in step with."""
    with session.of(ctx).library() as library:
        found = library.catalog.collection(collection)
        if forget is not None:
            library.catalog.forget_synced(found, forget.resolve())
        synced = [str(folder) for folder in library.catalog.synced_folders(found)]
    if as_json:
        output.print_json({"folders": synced})
    elif synced:
        output.print_table(["folder"], [[folder] for folder in synced])
    else:
        output.note(f"collection {collection!r} has no synced folders")


@app.command("duplicates")
def duplicates(
    ctx: typer.Context,
    collection: Collection = "default",
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.3, max=1.0, help="Shared runs of five words, as a share of all.")
    ] = 0.8,
    as_json: JsonOutput = False,
) -> None:
    """Find documents that say nearly the same."""
    with session.of(ctx).library() as library:
        found = library.near_duplicates(collection, threshold)
    if as_json:
        pairs: list[output.Json] = [
            {"documents": [each.first, each.second], "similarity": round(each.similarity, 4)} for each in found
        ]
        output.print_json({"duplicates": pairs})
    elif found:
        columns = ("similarity", "document", "is much like")
        output.print_table(columns, [(each.similarity, each.first, each.second) for each in found])
    else:
        output.note(f"no two documents of collection {collection!r} are that much alike")


@app.command("remove")
def remove(
    ctx: typer.Context,
    document: IdOrSource,
    collection: Collection = "default",
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Erase every trace of it in the home, and say what can't be reached."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove a document from the collection; the file itself stays."""
    own = session.of(ctx)
    with own.library() as library:
        found = library.catalog.collection(collection)
        info = library.catalog.document_info(found, document)
        if not yes:
            doing = "Erase" if purge else "Remove"
            typer.confirm(f"{doing} {output.name(info.source)} from {output.name(collection)}?", abort=True, err=True)
        if purge:
            erasure = library.erase_document(collection, info.id)
        else:
            library.remove_document(collection, info.id)
    if not purge:
        output.print_text(f"removed {output.name(info.source)} ({info.chunks} chunks)")
        return
    output.print_text(f"erased {output.name(info.source)} ({info.chunks} chunks)")
    if erasure.turns:
        output.print_text(f"erased {erasure.turns} answers in conversations, made from it")
    output.print_text("Not reached:")
    for line in _not_reached(own.home_folder(), erasure):
        output.stdout().print(Text(f"  {line}"), soft_wrap=True)


def _not_reached(home: Path, erasure: "Erasure") -> Iterator[str]:
    """What may still hold the document's text, or what was learned from it."""
    from finetune.adapters import AdapterRegistry

    if erasure.location is not None:
        yield f"the file itself: {output.name(str(erasure.location))}"
    yield "backups and copies of the home, and snapshots of its disk"
    if not erasure.complete:
        yield "the catalog's log, which another process still reads: it is emptied when that process ends"
    for adapter in AdapterRegistry(home).list():
        if erasure.document.id in adapter.exposure.documents:
            yield f"the adapter {output.name(adapter.name)}, which was trained on it: `domainqa adapters remove` it"


def _as_json(info: DocumentInfo) -> dict[str, output.Json]:
    return {
        "document": info.source,
        "document_id": info.id,
        "title": info.title,
        "media_type": info.media_type,
        "language": info.language,
        "version": info.version,
        "pages": info.pages,
        "chunks": info.chunks,
        "size_bytes": info.size_bytes,
        "updated_at": info.updated_at,
    }


def _content_as_json(document: Document) -> dict[str, output.Json]:
    return {
        "date": document.date,
        "length": len(document.text),
        "sections": [
            {"heading_path": list(each.heading_path), "start": each.start, "end": each.end}
            for each in document.sections
        ],
    }


def _print(info: DocumentInfo, document: Document) -> None:
    facts = {
        "document": output.name(info.source),
        "id": info.id,
        "type": info.media_type,
        "language": info.language,
        "date": document.date,
        "pages": info.pages,
        "chunks": info.chunks,
        "characters": len(document.text),
        "file size": output.size(info.size_bytes),
        "SHA-256": info.version,
        "updated": info.updated_at,
    }
    console = output.stdout()
    console.print(Text(output.one_line(info.title), style="bold"))
    for label, value in facts.items():
        if value is not None:
            console.print(Text(f"  {label + ':':<12} {output.one_line(str(value))}"), soft_wrap=True)
    headings = dict.fromkeys(each.heading_path for each in document.sections if each.heading_path)
    if headings:
        console.print(Text("  headings:"))
        for path in headings:
            console.print(Text("  " * (len(path) + 1) + output.one_line(path[-1])))

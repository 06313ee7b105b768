"""Statements about synced folders and about the failures of files that are gone."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from rag.catalog.schema import failures, synced_folders
from rag.catalog.writing import forget_failure, now
from rag.types import Collection


def synced(connection: Connection, collection: Collection) -> list[Path]:
    statement = select(synced_folders.c.folder).where(synced_folders.c.collection_id == collection.id)
    return [Path(folder) for folder in connection.execute(statement.order_by(synced_folders.c.folder)).scalars()]


def remember(connection: Connection, collection: Collection, folders: Sequence[Path]) -> None:
    common = {"collection_id": collection.id, "tenant_id": collection.tenant_id, "created_at": now()}
    for folder in folders:
        connection.execute(insert(synced_folders).values(folder=str(folder), **common).on_conflict_do_nothing())


def forget(connection: Connection, collection: Collection, folder: Path) -> bool:
    found = (synced_folders.c.collection_id == collection.id) & (synced_folders.c.folder == str(folder))
    return connection.execute(delete(synced_folders).where(found)).rowcount > 0


def forget_failures_gone(
    connection: Connection, collection: Collection, folder: Path, is_gone: Callable[[Path], bool]
) -> None:
    statement = select(failures.c.source, failures.c.location).where(
        failures.c.collection_id == collection.id, failures.c.location.is_not(None)
    )
    for source, location in connection.execute(statement).all():
        if Path(location).is_relative_to(folder) and is_gone(Path(location)):
            forget_failure(connection, collection.id, source)

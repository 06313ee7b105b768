"""The catalog as the rest of the program sees it: every method is one transaction.

Safe to use from several threads, and from several processes on the same file. Collections of other
tenants do not exist for a caller. The statements are in ``reading`` and ``writing``.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Collection as AnyOf
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Engine, FromClause, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from rag.analysis import ANALYZER_FINGERPRINT
from rag.catalog import listing, reading, syncing, writing
from rag.catalog.conversations import Conversations
from rag.catalog.feedback import FeedbackStore
from rag.catalog.job_queue import JobQueue
from rag.catalog.jobs import Jobs
from rag.catalog.keys import AccessKeys
from rag.catalog.listing import KnownSource
from rag.catalog.opening import compact, open_engine
from rag.catalog.opening import reading as read_transaction
from rag.catalog.opening import writing as write_transaction
from rag.catalog.reading import COLLECTION_COLUMNS, IndexRows
from rag.catalog.schema import collections, failures, tenants
from rag.catalog.writing import NewVersion
from rag.errors import CatalogError, ConflictError, LockedError, NotFoundError, UsageError
from rag.interfaces import Embedder, Vectors
from rag.types import DEFAULT_TENANT, Collection, Document, DocumentInfo, Failure, StoredChunk

CATALOG_FILE = "catalog.sqlite"

_NAME = re.compile(r"\w[\w.-]{0,63}")
_NAME_RULE = "use up to 64 letters, digits, '.', '_' and '-', the first one a letter or digit"


class Catalog:
    """Documents, chunks and vectors of every collection, in one SQLite file."""

    def __init__(self, home: Path, engine: Engine) -> None:
        self.home = home
        self.keys = AccessKeys(engine)
        self.jobs = Jobs(engine)
        self.job_queue = JobQueue(engine)
        self.conversations = Conversations(engine)
        self.feedback = FeedbackStore(engine)
        self._engine = engine

    @classmethod
    def open(cls, home: Path) -> "Catalog":
        """Open or make the catalog of a home, migrating it where needed; ``CatalogError`` if it can't be used."""
        return cls(home, open_engine(home / CATALOG_FILE))

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the file; empty for a sound one. Reads all of it."""
        with read_transaction(self._engine) as connection:
            lines = connection.execute(text("PRAGMA integrity_check")).scalars().all()
        return [str(line) for line in lines if line != "ok"]

    def orphans(self) -> dict[tuple[str, str], int]:
        """Rows that refer to nothing, by their table and that which is missing; empty in a sound catalog."""
        with read_transaction(self._engine) as connection:
            return writing.orphans(connection)

    def drop_orphans(self) -> int:
        """Delete what is left of documents and collections that are gone; the number of rows."""
        with write_transaction(self._engine) as connection:
            return writing.drop_orphans(connection)

    # --- tenants and collections ----------------------------------------------------------------

    def create_tenant(self, name: str) -> None:
        """Make a tenant; nothing happens if it is there. ``UsageError`` if that can be no name."""
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a tenant: {_NAME_RULE}")
        with write_transaction(self._engine) as connection:
            if connection.execute(select(tenants.c.id).where(tenants.c.name == name)).scalar() is None:
                connection.execute(insert(tenants).values(name=name))

    def create_collection(self, name: str, embedder: Embedder, tenant: str = DEFAULT_TENANT) -> Collection:
        """Make an empty collection whose vectors are ``embedder``'s; ``ConflictError`` if the name is taken."""
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot name a collection: {_NAME_RULE}")
        try:
            with write_transaction(self._engine) as connection:
                tenant_id = connection.execute(select(tenants.c.id).where(tenants.c.name == tenant)).scalar()
                if tenant_id is None:
                    raise NotFoundError(f"there is no tenant {tenant!r}")
                connection.execute(
                    insert(collections).values(
                        tenant_id=tenant_id,
                        name=name,
                        embedder=embedder.fingerprint,
                        embedding_model=embedder.model,
                        dimension=embedder.dimension,
                        analyzer=ANALYZER_FINGERPRINT,
                        last_seq=0,
                        published_seq=0,
                        created_at=writing.now(),
                    )
                )
        except IntegrityError as error:
            raise ConflictError(f"there is a collection {name!r} already") from error
        return self.collection(name, tenant)

    def collections(self, tenant: str = DEFAULT_TENANT, only: AnyOf[str] | None = None) -> list[Collection]:
        """The tenant's collections by name; of these, those named in ``only`` where it is given."""
        statement = select(*COLLECTION_COLUMNS).join(tenants).where(tenants.c.name == tenant)
        if only is not None:
            statement = statement.where(collections.c.name.in_(only))
        with read_transaction(self._engine) as connection:
            return [Collection(**row) for row in connection.execute(statement.order_by(collections.c.name)).mappings()]

    def all_collections(self) -> list[Collection]:
        """Every tenant's collections, for the upkeep of a home as a whole; never for what a tenant asks."""
        statement = select(*COLLECTION_COLUMNS).order_by(collections.c.id)
        with read_transaction(self._engine) as connection:
            return [Collection(**row) for row in connection.execute(statement).mappings()]

    def collection(self, name: str, tenant: str = DEFAULT_TENANT, only: AnyOf[str] | None = None) -> Collection:
        """The tenant's collection of that name, else ``NotFoundError`` naming those there are.

        Those that ``only`` leaves out aren't there.
        """
        existing = self.collections(tenant, only)
        for collection in existing:
            if collection.name == name:
                return collection
        names = ", ".join(collection.name for collection in existing)
        raise NotFoundError(
            f"there is no collection {name!r}; there are: {names}"
            if names
            else f"there is no collection {name!r}, nor any other; make one with `domainqa ingest`"
        )

    def refresh(self, collection: Collection) -> Collection:
        """The collection as it is now; ``NotFoundError`` once it is deleted."""
        with read_transaction(self._engine) as connection:
            return reading.collection_by_id(connection, collection.id)

    def set_calibration(self, collection: Collection, calibration: str | None) -> None:
        """Keep with the collection when its questions are refused; ``None`` goes back to the shipped calibration."""
        statement = update(collections).where(collections.c.id == collection.id).values(calibration=calibration)
        with write_transaction(self._engine) as connection:
            if connection.execute(statement).rowcount == 0:
                raise NotFoundError(f"the collection {collection.name!r} is gone")

    def delete_collection(self, name: str, tenant: str = DEFAULT_TENANT) -> Collection:
        """Delete the collection with all it holds. Its index files are not the catalog's."""
        collection = self.collection(name, tenant)

        def of_collection(table: FromClause) -> ColumnElement[bool]:
            return table.c.collection_id == collection.id

        with write_transaction(self._engine) as connection:
            writing.delete_chunks(connection, of_collection)
            connection.execute(delete(collections).where(collections.c.id == collection.id))
        return collection

    def adopt(self, collection: Collection, embedder: Embedder | None = None) -> Collection:
        """Bind the collection to this version's analyzer and, where given, to another embedder.

        Its index must be rebuilt before it can be read again.
        """
        values: dict[str, str | int] = {"analyzer": ANALYZER_FINGERPRINT}
        if embedder is not None:
            values |= {
                "embedder": embedder.fingerprint,
                "embedding_model": embedder.model,
                "dimension": embedder.dimension,
            }
        statement = update(collections).where(collections.c.id == collection.id)
        with write_transaction(self._engine) as connection:
            row = connection.execute(statement.values(**values).returning(*COLLECTION_COLUMNS)).mappings().first()
        if row is None:
            raise NotFoundError(f"collection {collection.name!r} was deleted")
        return Collection(**row)

    @contextmanager
    def writer_lock(self, collection: Collection) -> Iterator[None]:
        """Hold the collection's only place for a writer, else ``LockedError``. A dead process frees it."""
        folder = self.home / "locks"
        # The operating system's own lock: a lock file that merely exists would outlive a killed process.
        lock = FileLock(folder / f"collection-{collection.id}.lock", timeout=0, fallback_to_soft=False)
        try:
            folder.mkdir(exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise LockedError(
                f"another ingest is running on collection {collection.name!r}; try again when it is done"
            ) from error
        except OSError as error:
            raise CatalogError(
                f"nothing can be written to {folder}: {error.strerror}; check the disk and its permissions"
            ) from error
        try:
            yield
        finally:
            lock.release()

    # --- documents ------------------------------------------------------------------------------

    def documents(
        self, collection: Collection, limit: int | None = None, after: str | None = None
    ) -> list[DocumentInfo]:
        """The current documents by source: all, or ``limit`` of those after the source ``after``."""
        with read_transaction(self._engine) as connection:
            return listing.document_infos(connection, collection, limit, after)

    def document_info(self, collection: Collection, id_or_source: str) -> DocumentInfo:
        """One entry of ``documents``, else ``NotFoundError``."""
        with read_transaction(self._engine) as connection:
            return listing.document_info(connection, collection, id_or_source)

    def document(self, collection: Collection, id_or_source: str, seq: int | None = None) -> Document:
        """The document as stored, in its current version or the one visible at ``seq``; else ``NotFoundError``."""
        with read_transaction(self._engine) as connection:
            return listing.document(connection, collection, id_or_source, seq)

    def document_version(self, document_id: str, version: str) -> Document:
        """The document whose bytes had that hash; ``NotFoundError`` once that version was swept away."""
        with read_transaction(self._engine) as connection:
            return listing.document_version(connection, document_id, version)

    def remove_document(self, collection: Collection, id_or_source: str) -> DocumentInfo:
        """Delete a document and what is attached to it, and return what it was.

        Every version, chunk and unshared vector goes. Readers miss it from now on, whatever number they hold. Its
        index rows point at nothing until the next publication drops them.
        """
        with write_transaction(self._engine) as connection:
            info = listing.document_info(connection, collection, id_or_source)
            writing.remove_document(connection, collection.id, info.id)
        return info

    def purge_conversation_evidence(self, document_id: str) -> int:
        """Erase what conversations of any tenant hold of the document; the number of turns that lost their content."""
        return self.conversations.purge_document(document_id)

    def compact(self) -> bool:
        """Rewrite the file without free pages, so that nothing deleted can be read from it.

        False where another process still reads from the log: its old pages go when that is done.
        """
        return compact(self._engine)

    def failures(self, collection: Collection) -> list[Failure]:
        """Sources that could not be read at their last ingest, by source."""
        statement = (
            select(failures.c.source, failures.c.reason)
            .where(failures.c.collection_id == collection.id)
            .order_by(failures.c.source)
        )
        with read_transaction(self._engine) as connection:
            return [Failure(row.source, row.reason) for row in connection.execute(statement)]

    # --- readers --------------------------------------------------------------------------------

    def published_seq(self, collection_id: int) -> int:
        """The number at which new readers read; ``NotFoundError`` once the collection is deleted."""
        with read_transaction(self._engine) as connection:
            return reading.collection_by_id(connection, collection_id).published_seq

    def visible_rows(self, collection_id: int, rows: AnyOf[int], seq: int) -> set[int]:
        """Those of the rows that are the collection's and visible at ``seq``."""
        with read_transaction(self._engine) as connection:
            return reading.visible_rows(connection, collection_id, rows, seq)

    def chunks(self, collection_id: int, rows: AnyOf[int], seq: int) -> dict[int, StoredChunk]:
        """The chunks of those rows that are the collection's and visible at ``seq``."""
        with read_transaction(self._engine) as connection:
            return reading.chunks_by_row(connection, collection_id, rows, seq)

    def document_chunks(self, collection_id: int, document_id: str, seq: int) -> list[StoredChunk]:
        """The document's chunks visible at ``seq``, in the order of its text."""
        with read_transaction(self._engine) as connection:
            return reading.document_chunks(connection, collection_id, document_id, seq)

    def chunk_languages(self, collection_id: int, rows: AnyOf[int]) -> dict[int, str | None]:
        """The languages of those of the rows that are the collection's, visible or not."""
        with read_transaction(self._engine) as connection:
            return reading.chunk_languages(connection, collection_id, rows)

    def languages(self, collection_id: int) -> set[str | None]:
        """The languages of the collection's documents."""
        with read_transaction(self._engine) as connection:
            return reading.languages(connection, collection_id)

    # --- building indexes -----------------------------------------------------------------------

    def rows_for_index(self, collection_id: int, seqs: AnyOf[int]) -> NDArray[np.int64]:
        """The rows visible at any of the numbers, ascending."""
        with read_transaction(self._engine) as connection:
            return reading.rows_for_index(connection, collection_id, seqs)

    def index_rows(
        self, collection: Collection, rows: Sequence[int] | NDArray[np.int64], batch: int = 1000
    ) -> Iterator[IndexRows]:
        """Text, language and vector of the rows, in batches by ascending row.

        Rows that are gone are left out; one without its vector is a ``CatalogError``.
        """
        for start in range(0, len(rows), batch):
            some = [int(row) for row in rows[start : start + batch]]
            with read_transaction(self._engine) as connection:
                yield reading.index_rows(connection, collection.id, collection.embedder, collection.dimension, some)

    def texts_without_vector(self, collection: Collection) -> dict[bytes, str]:
        """Embedded texts, by hash, of the current chunks that have no vector by the collection's embedder."""
        with read_transaction(self._engine) as connection:
            return reading.texts_without_vector(connection, collection.id, collection.embedder)

    def publish(self, collection: Collection, seq: int) -> None:
        """Let readers see everything up to ``seq``; both indexes must hold it already."""
        with write_transaction(self._engine) as connection:
            connection.execute(update(collections).where(collections.c.id == collection.id).values(published_seq=seq))

    def last_seq(self, collection_id: int) -> int:
        """The number of the last change; ``NotFoundError`` once the collection is deleted."""
        with read_transaction(self._engine) as connection:
            return reading.last_seq(connection, collection_id)

    def sweep(self, collection: Collection, seq: int) -> None:
        """Delete for good what was retired at or before ``seq``, which no reader may hold any longer."""
        with write_transaction(self._engine) as connection:
            writing.sweep(connection, collection.id, seq)

    def drop_unused_vectors(self) -> None:
        """Delete vectors that no chunk uses, or that are of an embedder no collection has."""
        with write_transaction(self._engine) as connection:
            writing.drop_unused_vectors(connection)

    # --- ingest ---------------------------------------------------------------------------------

    def known_sources(self, collection: Collection) -> dict[str, KnownSource]:
        """What the current version of every document was made of, by source."""
        with read_transaction(self._engine) as connection:
            return listing.known_sources(connection, collection)

    def known_vectors(self, hashes: AnyOf[bytes], embedder: str) -> set[bytes]:
        """Those of the hashes whose text has a vector by the embedder of that fingerprint."""
        with read_transaction(self._engine) as connection:
            return writing.known_vectors(connection, hashes, embedder)

    def add_vectors(self, embedder: str, hashes: Sequence[bytes], matrix: Vectors) -> None:
        """Keep the vectors of the hashed texts; those that are known stay as they are."""
        with write_transaction(self._engine) as connection:
            writing.add_vectors(connection, embedder, hashes, matrix)

    def store(self, collection: Collection, new: NewVersion) -> set[bytes]:
        """Store a document's new version and retire the old one, in one transaction.

        Returns the hashes of those chunks whose vector is missing; nothing was stored unless there are none.
        """
        with write_transaction(self._engine) as connection:
            return writing.store(connection, collection.id, collection.embedder, new)

    def move(self, known: KnownSource, source: str, location: str) -> None:
        """Give a document another source name; its text stays."""
        with write_transaction(self._engine) as connection:
            writing.move(connection, known.document_id, source, location)

    def record_failure(
        self, collection: Collection, failure: Failure, version: str | None, location: str | None = None
    ) -> None:
        """Remember that a source could not be read. A version stored earlier stays."""
        with write_transaction(self._engine) as connection:
            writing.record_failure(connection, collection.id, failure, version, location)

    def forget_failure(self, collection: Collection, source: str) -> None:
        """The source can be read again, or is gone."""
        with write_transaction(self._engine) as connection:
            writing.forget_failure(connection, collection.id, source)

    def forget_failures_gone(self, collection: Collection, folder: Path, is_gone: Callable[[Path], bool]) -> None:
        """Forget the failures of files below the folder that are gone."""
        with write_transaction(self._engine) as connection:
            syncing.forget_failures_gone(connection, collection, folder, is_gone)

    # --- synced folders -------------------------------------------------------------------------

    def synced_folders(self, collection: Collection) -> list[Path]:
        """The folders that the collection is kept in step with, sorted."""
        with read_transaction(self._engine) as connection:
            return syncing.synced(connection, collection)

    def remember_synced(self, collection: Collection, folders: Sequence[Path]) -> None:
        """Add synced folders, absolute and without links; nothing happens with those that are known."""
        with write_transaction(self._engine) as connection:
            syncing.remember(connection, collection, folders)

    def forget_synced(self, collection: Collection, folder: Path) -> None:
        """Let a folder's documents stay from now on; ``NotFoundError`` if it is not synced."""
        with write_transaction(self._engine) as connection:
            if not syncing.forget(connection, collection, folder):
                raise NotFoundError(f"{folder} is no synced folder of collection {collection.name!r}")

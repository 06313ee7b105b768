"""Open the catalog's database: settings of SQLite, migrations, and the two kinds of transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError, OperationalError

from rag.catalog.schema import HEAD_REVISION
from rag.errors import CatalogError

_BUSY_TIMEOUT_S = 30
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_engine(path: Path) -> Engine:
    """An engine on the database at ``path``, made and brought to the newest schema where needed.

    Raises ``CatalogError`` where the file cannot be used or is from a newer version.
    """
    try:
        # It holds all documents: for its owner's eyes, unless its owner opens it to others.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(f"the folder {path.parent} cannot be made: {error}; choose another home") from error
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": _BUSY_TIMEOUT_S},
        # Documents' text stays out of errors' messages and of logs.
        hide_parameters=True,
    )
    event.listen(engine, "connect", _set_up_connection)
    event.listen(engine, "begin", _begin)
    try:
        with reading(engine) as connection:
            revision = _revision(connection)
        if revision != HEAD_REVISION:
            _migrate(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read transaction: every statement in it sees the same state, whatever is written meanwhile."""
    with _errors_named(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A write transaction. It takes SQLite's write lock at its start: a lock taken later could fail."""
    with _errors_named(engine), engine.connect() as connection:
        connection = connection.execution_options(begin="IMMEDIATE")
        with connection.begin():
            yield connection


def compact(engine: Engine) -> bool:
    """Rewrite the database and empty its log; whether the log could be emptied."""
    with _errors_named(engine):
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("VACUUM")
            busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise CatalogError(f"the catalog {engine.url.database} cannot be compacted: {error}") from error
        finally:
            connection.close()
    return not busy


@contextmanager
def _errors_named(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        if type(error) is not DatabaseError and not isinstance(error, OperationalError):
            raise  # a broken constraint or a wrong value is a bug of ours
        raise CatalogError(
            f"the catalog {engine.url.database} cannot be used: {error.orig}; "
            "check the disk and who else uses the file, or restore a backup"
        ) from error


def _set_up_connection(connection: Any, _record: object) -> None:
    # The driver would begin transactions by its own rules, and never for reads or DDL; ``_begin`` does it.
    connection.isolation_level = None
    for setting in (
        # A commit is on the disk when it returns. It costs milliseconds per document, embedding costs seconds.
        "synchronous = FULL",
        "foreign_keys = ON",
        # Deleted text is overwritten, not only unlinked.
        "secure_delete = FAST",
    ):
        connection.execute(f"PRAGMA {setting}")


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


@contextmanager
def _write_ahead_log(engine: Engine) -> Iterator[None]:
    """Let readers and the writer work side by side. The file remembers it; it can't be set in a transaction."""
    with _errors_named(engine):
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
    yield


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(engine: Engine, path: Path) -> None:
    # Imported here, for it is needed once per schema and costs as much as all other imports together.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    lock = FileLock(f"{path}.migration-lock", timeout=_BUSY_TIMEOUT_S, fallback_to_soft=False)
    try:
        with lock, _write_ahead_log(engine), writing(engine) as connection:
            revision = _revision(connection)
            if revision is not None and revision not in {
                script.revision for script in ScriptDirectory.from_config(config).walk_revisions()
            }:
                raise CatalogError(
                    f"the catalog {path} is from a newer version of domainqa (schema {revision}, this version "
                    f"knows {HEAD_REVISION}); update domainqa or use another home"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except Timeout as error:
        raise CatalogError(f"another process is migrating the catalog {path}; try again when it is done") from error

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

import rag.catalog.migrations
from rag.catalog import CATALOG_FILE, Catalog
from rag.catalog.opening import open_engine, reading
from rag.catalog.schema import HEAD_REVISION, metadata
from rag.errors import CatalogError
from rag.fakes import FakeEmbedder
from rag.types import Failure


def test_the_migrations_make_the_schema(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "c.sqlite")
    with reading(engine) as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        made = {row.name: row.sql for row in connection.execute(text("SELECT name, sql FROM sqlite_master"))}
    engine.dispose()
    for table in metadata.sorted_tables:
        wants_counter = table.dialect_options["sqlite"]["autoincrement"]
        assert ("AUTOINCREMENT" in made[table.name]) == bool(wants_counter), table.name


def test_the_newest_migration_is_the_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(rag.catalog.migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD_REVISION]


def test_a_catalog_of_the_first_schema_keeps_what_it_holds(tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(rag.catalog.migrations.__file__).parent))
    engine = create_engine(f"sqlite:///{tmp_path / CATALOG_FILE}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO collections (tenant_id, name, embedder, embedding_model, dimension, analyzer, last_seq,"
                " published_seq, created_at) VALUES (1, 'default', 'e', 'm', 8, 'a', 0, 0, 'now')"
            )
        )
        connection.execute(text("INSERT INTO failures VALUES (1, 'a.pdf', 'the file is damaged', NULL)"))
    engine.dispose()
    with Catalog.open(tmp_path) as catalog:
        collection = catalog.collection("default")
        assert catalog.failures(collection) == [Failure("a.pdf", "the file is damaged")]
        assert catalog.synced_folders(collection) == []
        catalog.remember_synced(collection, [Path("/b"), Path("/a"), Path("/b")])
        assert catalog.synced_folders(collection) == [Path("/a"), Path("/b")]
        catalog.delete_collection("default")
        assert catalog.damage() == []


def test_opening_again_keeps_everything(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "deep" / "home") as catalog:
        catalog.create_tenant("other")
    with Catalog.open(tmp_path / "deep" / "home") as catalog:
        catalog.create_tenant("other")
        assert catalog.damage() == []


def test_a_catalog_from_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    Catalog.open(tmp_path).close()
    with sqlite3.connect(tmp_path / CATALOG_FILE) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(CatalogError, match=r"newer version of domainqa \(schema 9999"):
        Catalog.open(tmp_path)
    connection = sqlite3.connect(tmp_path / CATALOG_FILE)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
    connection.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / CATALOG_FILE).write_bytes(b"no database at all " * 500)
    with pytest.raises(CatalogError, match=r"catalog\.sqlite cannot be used"):
        Catalog.open(tmp_path)


def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match="cannot be made"):
        Catalog.open(tmp_path / "file" / "home")


def test_a_home_is_made_for_its_owner_alone_and_left_as_it_is(tmp_path: Path) -> None:
    Catalog.open(tmp_path / "home").close()
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    (tmp_path / "home").chmod(0o750)
    Catalog.open(tmp_path / "home").close()
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o750


def test_commits_are_durable_and_references_are_kept(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "c.sqlite")
    with reading(engine) as connection:
        settings = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    engine.dispose()
    assert settings == ["wal", 2, 1]


def test_importing_the_catalog_is_light() -> None:
    code = "import sys, rag.types, rag.config, rag.catalog, rag.analysis\n"
    code += (
        "print([m for m in ('torch', 'transformers', 'faiss', 'tantivy', 'kreuzberg', 'alembic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_catalog_of_the_first_schema_keeps_its_collections(tmp_path: Path, downgrade) -> None:
    with Catalog.open(tmp_path) as catalog:
        made = catalog.create_collection("old", FakeEmbedder())
    downgrade(tmp_path, "0001")
    with Catalog.open(tmp_path) as catalog:
        assert catalog.collection("old") == made
        catalog.set_calibration(made, "{}")
        assert catalog.collection("old").calibration == "{}"
        catalog.set_calibration(made, None)
        assert catalog.collection("old") == made

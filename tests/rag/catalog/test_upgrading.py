"""A catalog that the first version made, opened by this one.

``first_schema.sql`` is a dump of one with two documents, one unreadable file, and vectors of ``FakeEmbedder``; it is
never to be made again.
"""

import sqlite3
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import rag.catalog.migrations
from rag.build import Library
from rag.catalog import CATALOG_FILE
from rag.catalog.schema import HEAD_REVISION
from rag.config import Settings
from rag.fakes import FakeEmbedder

pytestmark = pytest.mark.integration


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    connection = sqlite3.connect(tmp_path / "home" / CATALOG_FILE)
    connection.executescript(Path(__file__).with_name("first_schema.sql").read_text("utf-8"))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return tmp_path / "home"


def revision_of(home: Path) -> str:
    connection = sqlite3.connect(home / CATALOG_FILE)
    [(revision,)] = connection.execute("SELECT version_num FROM alembic_version")
    connection.close()
    return str(revision)


def test_the_dump_is_of_the_first_schema(home: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(rag.catalog.migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_bases() == [revision_of(home)]


def test_it_is_migrated_and_answers_a_search(home: Path) -> None:
    embedder = FakeEmbedder()
    library = Library(home, Settings(), embedder=embedder)
    assert revision_of(home) == HEAD_REVISION
    assert library.catalog.damage() == []
    assert library.catalog.orphans() == {}
    library.reindex()
    hit = library.search("casing bolts of the gear pump", "default", 5)[0]
    assert (hit.chunk.source, hit.chunk.heading_path) == ("pump.md", ("Gear pump",))
    assert "42 Nm" in hit.chunk.text
    assert library.document("default", "pump.md").text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
    assert [each.source for each in library.catalog.failures(library.catalog.collection("default"))] == ["empty.txt"]
    assert library.check() == []
    library.catalog.close()


def test_it_can_be_written_afterwards(home: Path, tmp_path: Path) -> None:
    library = Library(home, Settings(), embedder=FakeEmbedder())
    library.reindex()
    (tmp_path / "motor.md").write_text("# Motor\n\nThe motor is painted blue.\n")
    assert library.ingest([tmp_path / "motor.md"]).added == 1
    assert library.search("painted motor", "default", 1)[0].chunk.source == "motor.md"
    library.remove_document("default", "valve.md")
    assert {each.source for each in library.catalog.documents(library.catalog.collection("default"))} == {
        "pump.md",
        "motor.md",
    }
    library.catalog.close()

"""A disk that is full, or cannot be written at all: one clear error, and the next run goes on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.catalog import Catalog
from rag.checking import check
from rag.errors import CatalogError, IndexStateError, StateError
from rag.index import generations
from rag.index.dense import DenseIndex
from tests.rag.workshop import Workshop

pytestmark = pytest.mark.integration


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB; skips where this process may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("a tmpfs cannot be mounted here: " + done.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(small_disk: Path) -> None:
    workshop = Workshop(small_disk)
    workshop.write(
        **{f"d{number:03}": "\n".join(f"line {number} {line}" for line in range(12)) for number in range(60)}
    )
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    with pytest.raises(StateError, match=r"(disk is full|No space left|cannot be written|I/O error)") as error:
        workshop.ingest()
    assert "\n" not in str(error.value)
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    report = workshop.ingest()
    assert report.added + report.unchanged == 60
    assert workshop.catalog.damage() == []
    assert check(workshop.home, workshop.catalog) == []
    assert len(workshop.embedder.embedded) - len(set(workshop.embedder.embedded)) <= 16
    workshop.catalog.close()


def test_a_home_that_cannot_be_written_is_told(small_disk: Path) -> None:
    workshop = Workshop(small_disk)
    workshop.write(a="red")
    workshop.ingest()
    workshop.catalog.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        with pytest.raises(StateError) as error:
            Workshop(small_disk).ingest()
        assert "\n" not in str(error.value)
        assert "check the disk" in str(error.value)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)


@pytest.mark.parametrize("place", ["save", "finish", "switch"])
def test_an_index_that_cannot_be_written_leaves_nothing_behind(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    workshop.write(a="red")
    workshop.ingest()
    workshop.write(a="blue")

    def full(*args: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(DenseIndex if place == "save" else generations, place, full)
        with pytest.raises(IndexStateError, match="No space left on device; see to the disk"):
            workshop.ingest()
    collection = workshop.catalog.collection("default")
    folder = generations.collection_folder(workshop.home, collection.id)
    assert [path.name for path in folder.glob("snapshot-*")] == [generations.current_name(folder)]
    workshop.ingest()
    assert check(workshop.home, workshop.catalog) == []


def test_a_home_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CatalogError, match="choose another home"):
        Catalog.open(tmp_path / "file" / "home")

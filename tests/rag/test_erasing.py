from pathlib import Path

import pytest

from rag.erasing import erase
from rag.errors import CatalogError, NotFoundError
from rag.types import Answer, NearestDocument, Turn, Usage
from tests.rag.workshop import Workshop

pytestmark = pytest.mark.integration


def holds(folder: Path, word: str) -> list[str]:
    """Files below the folder in whose bytes the word stands, in any case."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.name for path in files if word.lower().encode() in path.read_bytes().lower()]


def test_no_file_of_the_home_holds_its_words_any_longer(workshop: Workshop) -> None:
    secret = "zanzibarquux"
    filler = {f"d{number:02}": "\n".join(f"word {number} {line}" for line in range(40)) for number in range(20)}
    workshop.write(a=f"red {secret}\nshared line", b="shared line\nblue", **filler)
    workshop.ingest()
    workshop.write(a=f"red {secret} again\nshared line")
    workshop.ingest()
    collection = workshop.catalog.collection("default")
    [shown] = [each for each in workshop.catalog.documents(collection) if each.source == "a.txt"]
    nearest = (NearestDocument(shown.id, "a.txt", "a", 0.5),)
    turn = Turn("What is red?", "What is red?", secret)
    answer = Answer(secret, False, "rag", "m", (), (), nearest, None, None, "stop", Usage(), {}, turn=turn)
    workshop.catalog.conversations.add_turn("conv_1", "turn_1", "default", answer, new=True)
    assert holds(workshop.home, secret)
    before = {info.source: info.id for info in workshop.catalog.documents(collection)}

    erasure = erase(workshop.home, workshop.catalog, collection, "a.txt")
    assert (erasure.document.source, erasure.location) == ("a.txt", (workshop.files / "a.txt").resolve())
    assert (erasure.turns, erasure.complete) == (1, True)
    assert holds(workshop.home, secret) == []
    after = {info.source: info.id for info in workshop.catalog.documents(collection)}
    assert after == {source: key for source, key in before.items() if source != "a.txt"}
    embedded = len(workshop.embedder.embedded)
    (workshop.files / "a.txt").unlink()
    assert workshop.ingest().unchanged == 21
    assert len(workshop.embedder.embedded) == embedded
    with pytest.raises(NotFoundError):
        erase(workshop.home, workshop.catalog, collection, "a.txt")


def test_it_waits_for_no_ingest_and_does_nothing_beside_one(workshop: Workshop) -> None:
    workshop.write(a="red")
    workshop.ingest()
    collection = workshop.catalog.collection("default")
    with workshop.catalog.writer_lock(collection), pytest.raises(CatalogError, match="another ingest is running"):
        erase(workshop.home, workshop.catalog, collection, "a.txt")
    assert len(workshop.catalog.documents(collection)) == 1

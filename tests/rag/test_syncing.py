import shutil
from pathlib import Path

import pytest

from rag.errors import NotFoundError, SourceError, UsageError
from rag.fakes import FakeEmbedder
from rag.ingestion import remove
from rag.syncing import Sync
from rag.types import Attachment, Failure, IngestReport, ParsedFile, WithheldRemoval
from tests.rag.workshop import LineChunker, Workshop, make_document

pytestmark = pytest.mark.integration


def sources(workshop: Workshop) -> list[str]:
    return [info.source for info in workshop.catalog.documents(workshop.catalog.collection("default"))]


def fill(workshop: Workshop, count: int) -> None:
    workshop.write(**{f"d{number:02}": f"line {number}" for number in range(count)})


def sync(workshop: Workshop, *, allow: bool = False) -> IngestReport:
    return workshop.ingest(sync=Sync(allow_mass_removal=allow))


def test_what_lost_its_file_goes_and_only_that(workshop: Workshop) -> None:
    fill(workshop, 3)
    workshop.write(bad="BROKEN")
    workshop.ingest()
    (workshop.files / "d01.txt").unlink()
    (workshop.files / "bad.txt").unlink()
    (workshop.files / "d02.txt").rename(workshop.files / "moved.txt")
    assert workshop.ingest().removed == 0
    assert "d01.txt" in sources(workshop)
    report = sync(workshop)
    assert (report.removed, report.withheld) == (1, ())
    assert sources(workshop) == ["d00.txt", "moved.txt"]
    collection = workshop.catalog.collection("default")
    assert workshop.catalog.failures(collection) == []
    assert workshop.catalog.synced_folders(collection) == [workshop.files.resolve()]
    assert sync(workshop).removed == 0


def test_documents_of_other_folders_stay(workshop: Workshop, tmp_path: Path) -> None:
    fill(workshop, 2)
    workshop.ingest()
    collection = workshop.catalog.collection("default")
    workshop.put(collection, "elsewhere.txt", "elsewhere")
    (workshop.files / "d01.txt").unlink()
    assert sync(workshop).removed == 1
    assert sources(workshop) == ["d00.txt", "elsewhere.txt"]


@pytest.mark.parametrize("count", [1, 5, 30])
def test_an_empty_folder_removes_nothing_unless_that_is_allowed(workshop: Workshop, count: int) -> None:
    fill(workshop, count)
    sync(workshop)
    shutil.rmtree(workshop.files)
    workshop.files.mkdir()
    report = sync(workshop)
    assert (report.removed, report.withheld) == (0, (WithheldRemoval(str(workshop.files.resolve()), count, count),))
    assert len(sources(workshop)) == count
    assert sync(workshop, allow=True).removed == count
    assert sources(workshop) == []


@pytest.mark.parametrize(("documents", "lost", "removed"), [(20, 10, 10), (20, 11, 0), (12, 9, 9), (19, 10, 0)])
def test_more_than_half_and_ten_at_least_are_too_many(
    workshop: Workshop, documents: int, lost: int, removed: int
) -> None:
    fill(workshop, documents)
    sync(workshop)
    for number in range(lost):
        (workshop.files / f"d{number:02}.txt").unlink()
    workshop.write(new="still read")
    report = sync(workshop)
    assert (report.added, report.removed) == (1, removed)
    assert [each.missing for each in report.withheld] == ([] if removed else [lost])


def test_what_could_not_be_looked_at_is_not_lost(workshop: Workshop) -> None:
    (workshop.files / "sub").mkdir()
    (workshop.files / "sub" / "a.txt").write_text("red")
    workshop.write(b="blue")
    sync(workshop)
    discover = workshop.discover
    (workshop.files / "sub" / "a.txt").unlink()

    def cannot_list(paths, skipped):  # type: ignore[no-untyped-def]
        skipped.append(Failure("sub", "the folder cannot be listed: Input/output error"))
        return discover(paths, skipped)

    workshop.discover = cannot_list  # type: ignore[method-assign]
    assert sync(workshop).removed == 0
    assert sources(workshop) == ["b.txt", "sub/a.txt"]


def test_a_file_and_folders_in_each_other_cannot_be_synced(workshop: Workshop) -> None:
    fill(workshop, 2)
    (workshop.files / "sub").mkdir()
    sync(workshop)
    for path, reason in (("d00.txt", "is no folder"), ("sub", "lie in each other")):
        with pytest.raises(UsageError, match=reason):
            workshop.ingest(workshop.files / path, sync=Sync())
    collection = workshop.catalog.collection("default")
    workshop.catalog.forget_synced(collection, workshop.files.resolve())
    assert workshop.catalog.synced_folders(collection) == []
    with pytest.raises(NotFoundError, match="no synced folder"):
        workshop.catalog.forget_synced(collection, workshop.files.resolve())


def mail(workshop: Workshop) -> None:
    """Lets ``*.mail.txt`` files be mails: a line ``+name text`` is an attachment; one that says BAD can't be read."""
    parse = workshop.parse

    def parse_mail(path: Path, source: str) -> ParsedFile:
        document = parse(path, source)
        attachments, failures = [], []
        for line in document.text.splitlines():
            if line.startswith("+"):
                name, text = line[1:].split(" ", 1)
                if text == "BAD":
                    failures.append(Failure(f"{source}/{name}", "the file is damaged"))
                else:
                    attachments.append(Attachment(make_document(f"{source}/{name}", text), len(text)))
        return ParsedFile(document, tuple(attachments), tuple(failures))

    workshop.parse = parse_mail  # type: ignore[assignment, method-assign]


def test_attachments_are_documents_that_follow_their_mail(workshop: Workshop) -> None:
    mail(workshop)
    workshop.write(m="hello\n+a.txt red\n+b.txt blue\n+c.txt BAD")
    report = workshop.ingest()
    assert (report.added, report.failed) == (3, (Failure("m.txt/c.txt", "the file is damaged"),))
    assert sources(workshop) == ["m.txt", "m.txt/a.txt", "m.txt/b.txt"]
    embedded = len(workshop.embedder.embedded)
    again = workshop.ingest()
    assert (again.unchanged, again.updated, len(again.failed)) == (3, 0, 1), "tried again, and the rest left alone"

    workshop.write(m="hello\n+a.txt red\n+c.txt green")
    report = workshop.ingest()
    assert (report.added, report.updated, report.unchanged, report.removed) == (1, 1, 1, 1)
    assert sources(workshop) == ["m.txt", "m.txt/a.txt", "m.txt/c.txt"]
    assert workshop.catalog.failures(workshop.catalog.collection("default")) == []
    assert len(workshop.embedder.embedded) == embedded + 2
    parsed = len(workshop.parsed)
    assert workshop.ingest().unchanged == 3
    assert len(workshop.parsed) == parsed


def test_attachments_move_with_their_mail_and_go_with_it(workshop: Workshop) -> None:
    mail(workshop)
    workshop.write(m="hello\n+a.txt red", other="blue")
    workshop.ingest()
    collection = workshop.catalog.collection("default")
    ids = {info.source: info.id for info in workshop.catalog.documents(collection)}
    (workshop.files / "m.txt").rename(workshop.files / "n.txt")
    report = sync(workshop)
    assert (report.updated, report.unchanged, report.removed, report.chunks) == (2, 1, 0, 0)
    moved = {info.source: info.id for info in workshop.catalog.documents(collection)}
    assert (moved["n.txt"], moved["n.txt/a.txt"]) == (ids["m.txt"], ids["m.txt/a.txt"])
    (workshop.files / "n.txt").unlink()
    assert sync(workshop).removed == 2
    assert sources(workshop) == ["other.txt"]
    workshop.write(m="hello\n+a.txt red")
    workshop.ingest()
    remove(workshop.home, workshop.catalog, collection, "m.txt")
    assert sources(workshop) == ["other.txt"]


def test_only_what_the_fingerprints_name_is_done_again(workshop: Workshop) -> None:
    mail(workshop)
    workshop.write(m="hello\n+a.txt red", b="blue")
    workshop.ingest()
    parsed, embedded = len(workshop.parsed), len(workshop.embedder.embedded)
    workshop.chunker = LineChunker("lines-2")
    assert workshop.ingest().updated == 3
    assert len(workshop.parsed) == parsed, "another chunker needs no parsing"
    assert len(workshop.embedder.embedded) == embedded, "the same texts need no embedding"
    workshop.parser_fingerprint = "plain-2"
    assert workshop.ingest().updated == 3
    assert len(workshop.parsed) == parsed + 2
    assert len(workshop.embedder.embedded) == embedded
    assert isinstance(workshop.embedder, FakeEmbedder)


def test_a_file_that_failed_is_tried_again(workshop: Workshop) -> None:
    workshop.write(a="red")
    tries: list[str] = []

    def fails_once(path: Path, source: str) -> ParsedFile:
        tries.append(source)
        if len(tries) == 1:
            raise SourceError("reading the file took more than the 120 seconds of parsing.timeout_s")
        return ParsedFile(make_document(source, path.read_text()))

    workshop.parse = fails_once  # type: ignore[assignment, method-assign]
    assert len(workshop.ingest().failed) == 1
    assert workshop.ingest().added == 1
    assert workshop.ingest().unchanged == 1
    assert len(tries) == 2

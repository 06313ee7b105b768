"""Files made to do harm are read within the bounds or refused in a line, each by name, and the next file is read."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rag.config import ParsingSettings
from rag.documents.discovery import discover
from rag.documents.parsing import parse
from rag.documents.workers import ParsingWorkers
from rag.errors import SourceError
from rag.preparing import Pipeline
from rag.types import Failure
from tests.rag.documents.hostile import FILES
from tests.rag.workshop import Workshop

MEMORY_MB = 512
REASONS = {
    "bomb.docx": "would unpack to 1,0.. times its size",
    "bomb.epub": "would unpack to 1,0.. times its size",
    "bomb.odt": "would unpack to 1,0.. times its size",
    "many-parts.pptx": "holds 20,002 parts",
    "laughs.docx": "declares a document type|entit",
    "deep.docx": "nested too deeply",
    "deep.eml": "nested too deeply",
    "packed.txt": "an archive",
}


@pytest.fixture(scope="module")
def parser() -> Iterator[ParsingWorkers]:
    parser = ParsingWorkers(ParsingSettings(workers=1, timeout_s=60, memory_mb=MEMORY_MB))
    yield parser
    parser.close()


@pytest.mark.integration
@pytest.mark.parametrize("name", FILES)
def test_it_is_bounded_and_told(tmp_path: Path, parser: ParsingWorkers, name: str) -> None:
    (tmp_path / name).write_bytes(FILES[name]())
    (tmp_path / "good.txt").write_text("The oil must be changed every year.")
    expected = REASONS.get(name)
    if expected is not None:
        with pytest.raises(SourceError, match=expected):
            parser.parse(tmp_path / name, name)
    else:
        with suppress(SourceError):
            document = parser.parse(tmp_path / name, name).document
            assert len(document.text) < 100 * (tmp_path / name).stat().st_size
    assert "changed" in parser.parse(tmp_path / "good.txt", "good.txt").document.text


@pytest.mark.integration
def test_a_run_over_them_reads_the_good_ones_and_names_the_others(workshop: Workshop) -> None:
    names = ["bomb.docx", "deep.docx", "deep.xml", "lying.xlsx", "endless.pdf", "packed.txt"]
    for name in names:
        (workshop.files / name).write_bytes(FILES[name]())
    (workshop.files / "two\nlines.txt").write_text("The oil must be changed every year.")
    (workshop.files / "z.md").write_text("# Oil\n\nIt must be changed every year.")

    def pipeline() -> Pipeline:
        parser = ParsingWorkers(ParsingSettings(workers=2, timeout_s=60, memory_mb=MEMORY_MB))
        return Pipeline(discover, parser, workshop.chunker, workshop.embedder, batch_size=4)

    workshop.pipeline = pipeline  # type: ignore[method-assign]
    report = workshop.ingest()
    assert [failure.source for failure in report.failed] == sorted(names)
    sources = [info.source for info in workshop.catalog.documents(workshop.catalog.collection("default"))]
    assert sources == ["two\nlines.txt", "z.md"]
    again = workshop.ingest()
    assert (again.unchanged, len(again.failed)) == (2, len(names))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1251", "gb18030", "utf-8-sig"])
def test_encodings_are_told_from_the_bytes(tmp_path: Path, encoding: str) -> None:
    russian = "Масло редуктора насоса необходимо менять каждые 4000 часов работы. " * 5
    chinese = "每运行四千小时必须更换泵的齿轮油，并检查密封件是否磨损。" * 5
    text = chinese if encoding == "gb18030" else russian
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert parse(path, "a.txt").text.strip() == text.strip()


def test_what_a_file_is_is_told_by_its_content(tmp_path: Path) -> None:
    from tests.rag.documents.hostile import word

    path = tmp_path / "x"
    kinds = {
        "report.xls": (b"<html><body><table><tr><td>a<td>b</table>", "text/html"),
        "letter.doc": (rb"{\rtf1\ansi The oil is to be changed.\par}", "application/rtf"),
        "letter.pdf": (word("<w:p><w:r><w:t>The oil</w:t></w:r></w:p>"), "wordprocessingml"),
        "noending": (word("<w:p><w:r><w:t>The oil</w:t></w:r></w:p>"), "wordprocessingml"),
        "page.docx": (b"<!DOCTYPE html>\n<html><p>The oil</p>", "text/html"),
        "plain.docx": (b"The oil is to be changed.", "text/plain"),
    }
    for name, (data, media_type) in kinds.items():
        path.write_bytes(data)
        assert media_type in parse(path, name).media_type, name


def test_failures_name_the_source_exactly(workshop: Workshop) -> None:
    pipeline = workshop.pipeline()
    (workshop.files / "a\nb.txt").write_text("BROKEN")
    workshop.discover = lambda paths, skipped: discover(paths, skipped)  # type: ignore[method-assign]
    assert workshop.ingest().failed == (Failure("a\nb.txt", "the file is damaged"),)
    pipeline.parser.close()

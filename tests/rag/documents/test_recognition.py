"""OCR by the real Tesseract, on pictures made here; skipped where it isn't installed."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from rag.documents import recognition
from rag.documents.options import ReadingOptions
from rag.documents.parsing import parse
from rag.documents.recognition import installed_languages
from rag.errors import SourceError
from rag.types import Page

ENGLISH = "The shaft seal is replaced\nevery eighteen months."
RUSSIAN = "Уплотнение вала меняют\nкаждые восемнадцать месяцев."
FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")

with_tesseract = pytest.mark.skipif("eng" not in installed_languages(), reason="Tesseract isn't installed")


@pytest.fixture
def without_tesseract(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("TESSDATA_PREFIX", str(tmp_path / "nothing"))
    installed_languages.cache_clear()
    yield
    installed_languages.cache_clear()


def picture(text: str) -> Image.Image:
    image = Image.new("RGB", (1200, 300), "white")
    font = ImageFont.truetype(FONT, 40) if FONT.exists() else ImageFont.load_default(40)
    ImageDraw.Draw(image).multiline_text((60, 60), text, font=font, fill="black", spacing=16)
    return image


def saved(path: Path, *pages: str | Image.Image) -> Path:
    """A PDF with pages of text and scanned ones."""
    pdf = canvas.Canvas(str(path), pagesize=(600, 400))
    for page in pages:
        if isinstance(page, str):
            pdf.drawString(50, 300, page)
        else:
            pdf.drawImage(ImageReader(page), 0, 100, 600, 150)
        pdf.showPage()
    pdf.save()
    return path


@with_tesseract
def test_a_scanned_page_is_read_and_marked_as_such(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pdf", "A typed page about the shaft seal.", picture(ENGLISH), "Another typed page.")
    document = parse(path, "a.pdf")
    marked = [(page.number, page.recognised, document.text[page.start : page.end].strip()) for page in document.pages]
    assert marked == [
        (1, False, "A typed page about the shaft seal."),
        (2, True, ENGLISH),
        (3, False, "Another typed page."),
    ]


@with_tesseract
def test_a_blank_page_stays_without_text(tmp_path: Path) -> None:
    document = parse(saved(tmp_path / "a.pdf", "A typed page.", ""), "a.pdf")
    assert document.pages == (Page(1, 0, len("A typed page.")),)


@with_tesseract
@pytest.mark.skipif("rus" not in installed_languages(), reason="Tesseract has no Russian here")
def test_the_language_of_a_scan_is_found(tmp_path: Path) -> None:
    document = parse(saved(tmp_path / "a.pdf", picture(RUSSIAN), picture(RUSSIAN)), "a.pdf")
    assert document.language == "ru"
    assert [document.text[page.start : page.end].strip().lower() for page in document.pages] == [RUSSIAN.lower()] * 2


@with_tesseract
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF"])
def test_an_image_is_a_page(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    picture(ENGLISH).save(path, kind)
    document = parse(path, path.name)
    assert document.text == ENGLISH
    assert document.pages == (Page(1, 0, len(ENGLISH), recognised=True),)


@with_tesseract
def test_ocr_can_be_switched_off(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pdf", picture(ENGLISH))
    with pytest.raises(SourceError, match=r"if it is a scan, set parsing.ocr = true"):
        parse(path, "a.pdf", ReadingOptions(ocr=False))


@with_tesseract
def test_a_damaged_image_is_refused(tmp_path: Path) -> None:
    whole = io.BytesIO()
    picture(ENGLISH).save(whole, "PNG")
    (tmp_path / "a.png").write_bytes(whole.getvalue()[:400])
    with pytest.raises(SourceError, match="damaged"):
        parse(tmp_path / "a.png", "a.png")


@pytest.mark.usefixtures("without_tesseract")
def test_without_tesseract_the_reason_says_what_to_install(tmp_path: Path) -> None:
    picture(ENGLISH).save(tmp_path / "a.png")
    with pytest.raises(SourceError, match="image, and there is no OCR here; install Tesseract"):
        parse(tmp_path / "a.png", "a.png")
    with pytest.raises(SourceError, match="holds no text; if it is a scan, install Tesseract"):
        parse(saved(tmp_path / "a.pdf", picture(ENGLISH)), "a.pdf")


@pytest.mark.usefixtures("without_tesseract")
def test_without_tesseract_typed_pages_are_read_all_the_same(tmp_path: Path) -> None:
    document = parse(saved(tmp_path / "a.pdf", "A typed page.", picture(ENGLISH)), "a.pdf")
    assert document.text == "A typed page."


def test_the_pages_are_read_in_the_documents_language_where_its_data_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition, "installed_languages", lambda: ("eng", "chi_sim", "rus"))
    assert list(recognition._likely("ru")) == ["eng", "rus"]
    assert list(recognition._likely("fr")) == ["eng", "chi_sim", "rus"]

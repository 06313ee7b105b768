"""OCR: which languages Tesseract has here, and the text of images and scanned pages by it.

kreuzberg brings Tesseract's code; the language data comes with the system's own Tesseract packages. Without these
nothing is recognised, and the reason says so.
"""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rag.documents.extraction import PAGE_MARK, extract
from rag.documents.formats import PDF
from rag.documents.languages import detect_language
from rag.documents.layout import Layout, LayoutBuilder, clean
from rag.documents.options import ReadingOptions
from rag.errors import SourceError

MISSING = "install Tesseract with the data of its languages (Debian: tesseract-ocr, tesseract-ocr-rus, ...)"

_DATA_FOLDERS = (
    "/usr/share/tesseract-ocr/*/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
)
# ISO 639-1 to Tesseract's names, for the languages that the detector tells apart and Debian packages.
_NAMES = {
    "ar": "ara",
    "cs": "ces",
    "da": "dan",
    "de": "deu",
    "el": "ell",
    "en": "eng",
    "es": "spa",
    "fi": "fin",
    "fr": "fra",
    "he": "heb",
    "hi": "hin",
    "hu": "hun",
    "it": "ita",
    "ja": "jpn",
    "ko": "kor",
    "nl": "nld",
    "no": "nor",
    "pl": "pol",
    "pt": "por",
    "ro": "ron",
    "ru": "rus",
    "sv": "swe",
    "tr": "tur",
    "uk": "ukr",
    "zh": "chi_sim",
}
_ENGLISH = "eng"


@cache
def installed_languages() -> tuple[str, ...]:
    """Tesseract's names of the languages whose data is here, English first; empty where Tesseract isn't installed."""
    own = os.environ.get("TESSDATA_PREFIX")
    patterns = [f"{own}/*.traineddata"] if own else [f"{folder}/*.traineddata" for folder in _DATA_FOLDERS]
    found = {path.stem for pattern in patterns for path in Path("/").glob(pattern.lstrip("/"))} - {"osd", "equ"}
    return tuple(sorted(found, key=lambda name: (name != _ENGLISH, name)))


def read_image(data: bytes, media_type: str, options: ReadingOptions) -> Layout:
    """The text in an image as its only page. ``SourceError`` for a damaged one, and where there is no OCR."""
    if not options.ocr:
        raise SourceError("the file is an image, and OCR is off (parsing.ocr)")
    if not installed_languages():
        raise SourceError(f"the file is an image, and there is no OCR here; {MISSING}")
    builder = LayoutBuilder()
    builder.page(1, recognised=True)
    builder.paragraph(extract(data, media_type, ocr_languages=installed_languages()).content)
    return builder.build()


def recognise_pages(
    data: bytes, pages: Sequence[int], language: str | None, passwords: Sequence[str] = ()
) -> dict[int, str]:
    """The text on a PDF's scanned pages by their number, from 1; those without any are left out.

    ``language`` (ISO 639-1) is that of the other pages, where it is known. Else the first of these pages is read in all
    installed languages, which takes longer with each, and the others in what that shows.
    """
    found: dict[int, str] = {}
    remaining = list(pages)
    while remaining and language is None:
        found |= _on_pages(data, [first := remaining.pop(0)], installed_languages(), passwords)
        language = detect_language(found.get(first, ""))
    if remaining:
        found |= _on_pages(data, remaining, _likely(language), passwords)
    return found


def _on_pages(data: bytes, pages: Sequence[int], languages: Sequence[str], passwords: Sequence[str]) -> dict[int, str]:
    """kreuzberg tells only by its marks where a recognised page begins."""
    result = extract(data, PDF, mark_pages=True, passwords=passwords, ocr_languages=languages, ocr_pages=pages)
    parts = PAGE_MARK.split(clean(result.content))
    texts = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
    return {number: text for number in pages if (text := texts.get(number, "")).strip()}


def _likely(language: str | None) -> Sequence[str]:
    """The language's own data and that of English, whose words stand everywhere; all there is where it has none."""
    installed = installed_languages()
    name = _NAMES.get(language or "")
    return [each for each in installed if each in (name, _ENGLISH)] if name in installed else installed

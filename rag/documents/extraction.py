"""kreuzberg: binary formats to its tree of nodes. The only file that knows it.

Whatever goes wrong in there leaves as ``SourceError``.
"""

import re
from collections.abc import Sequence
from typing import Any

import kreuzberg
from kreuzberg import ExtractionConfig, OcrConfig, PageConfig, PdfConfig, TesseractConfig

from rag.errors import SourceError

TIMEOUT_S = 120
# Where a slide begins, as a paragraph of its own: kreuzberg's byte offsets of slides drift with every paragraph.
_PAGE_MARK = "[[domainqa-page-{page_num}]]"
PAGE_MARK = re.compile(r"\[\[domainqa-page-(\d+)\]\]")


def extract(
    data: bytes,
    media_type: str,
    *,
    mark_pages: bool = False,
    passwords: Sequence[str] = (),
    ocr_languages: Sequence[str] = (),
    ocr_pages: Sequence[int] = (),
) -> kreuzberg.ExtractionResult:
    """The file's nodes, pages and metadata; ``mark_pages`` puts a ``PAGE_MARK`` paragraph before each page.

    With ``ocr_languages`` (Tesseract's names) images are read, and of a PDF its ``ocr_pages``; the content is then
    plain text, its lines as they are on the page. Raises ``SourceError``, also for a panic in the native code. Nothing
    is cached on disk.
    """
    config = ExtractionConfig(
        use_cache=False,
        output_format="plain" if ocr_languages else "markdown",
        include_document_structure=True,
        extraction_timeout_secs=TIMEOUT_S,
        ocr=_tesseract(ocr_languages) if ocr_languages else None,
        force_ocr_pages=list(ocr_pages) or None,
        # Without passwords the option must be absent: an empty list is taken for one that failed.
        pdf_options=PdfConfig(passwords=list(passwords)) if passwords else None,
        pages=PageConfig(extract_pages=True, insert_page_markers=mark_pages, marker_format=f"\n\n{_PAGE_MARK}\n\n"),
    )
    try:
        return kreuzberg.extract_bytes_sync(data, media_type, config=config)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a Rust panic arrives as an exception outside the Exception tree
        raise SourceError(_reason(error, tried=len(passwords))) from error


def _tesseract(languages: Sequence[str]) -> OcrConfig:
    # Its tables are guesses by the gaps between words, and make tables of prose.
    own = TesseractConfig(language="+".join(languages), enable_table_detection=False)
    return OcrConfig(backend="tesseract", language="+".join(languages), tesseract_config=own)


def metadata_of(result: kreuzberg.ExtractionResult, *keys: str) -> str | None:
    """The first of the metadata fields that holds text."""
    metadata: dict[str, Any] = dict(result.metadata)
    return next((value for key in keys if isinstance(value := metadata.get(key), str) and value.strip()), None)


def _reason(error: BaseException, tried: int) -> str:
    details = re.sub(r"^\w*Error: ", "", " ".join(str(error).split()))
    lowered = details.lower()
    if "password" in lowered or "encrypt" in lowered:
        if tried:
            return f"the file is encrypted, and none of the {tried} passwords opens it"
        return "the file is encrypted; save it without a password, or give its password"
    if isinstance(error, kreuzberg.ExtractionTimeoutError) or "timed out" in lowered or "timeout" in lowered:
        return f"reading the file took more than {TIMEOUT_S} seconds; split it"
    if not isinstance(error, Exception):
        return f"the file is damaged and broke the reader: {details[:200]}"
    return f"the file is damaged or not what its name says: {details[:200] or type(error).__name__}"

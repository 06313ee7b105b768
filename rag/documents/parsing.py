"""A file to a ``Document``: looks at its name and first bytes, picks the reader, adds title, date and language.

Whatever is wrong with a file leaves as ``SourceError`` with a reason in one line that does not repeat the source.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from rag.dating import stated_date
from rag.documents.decoding import looks_binary
from rag.documents.extraction import VERSION
from rag.documents.hypertext import read_html
from rag.documents.languages import detect_language
from rag.documents.layout import Layout, clean
from rag.documents.mail import read_mail
from rag.documents.markdown import read_markdown
from rag.documents.office import read_office
from rag.documents.pdf import read_pdf
from rag.documents.plain import read_delimited, read_plain
from rag.documents.word import read_word
from rag.errors import SourceError
from rag.types import Document

MAX_BYTES = 200 * 1024 * 1024
_REVISION = 2
"""Raised whenever the same bytes could give another document: what was parsed before is then parsed again."""

_TEXT_READERS: dict[str, tuple[str, Callable[[bytes], Layout]]] = {
    "md": ("text/markdown", read_markdown),
    "markdown": ("text/markdown", read_markdown),
    "txt": ("text/plain", read_plain),
    "text": ("text/plain", read_plain),
    "log": ("text/plain", read_plain),
    "rst": ("text/plain", read_plain),
    "csv": ("text/csv", read_delimited),
    "tsv": ("text/tab-separated-values", read_delimited),
    "html": ("text/html", read_html),
    "htm": ("text/html", read_html),
    "xhtml": ("application/xhtml+xml", read_html),
    "eml": ("message/rfc822", read_mail),
}
_OOXML = "application/vnd.openxmlformats-officedocument."
_OFFICE_TYPES = {
    "docx": f"{_OOXML}wordprocessingml.document",
    "pptx": f"{_OOXML}presentationml.presentation",
    "xlsx": f"{_OOXML}spreadsheetml.sheet",
    "xlsm": "application/vnd.ms-excel.sheet.macroEnabled.12",
    "doc": "application/msword",
    "ppt": "application/vnd.ms-powerpoint",
    "xls": "application/vnd.ms-excel",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "rtf": "application/rtf",
    "epub": "application/epub+zip",
    "msg": "application/vnd.ms-outlook",
    "json": "application/json",
    "xml": "application/xml",
    "org": "text/x-org",
}
_SPREADSHEETS = frozenset(_OFFICE_TYPES[suffix] for suffix in ("xlsx", "xlsm", "xls", "ods"))
_IMAGES = frozenset("png jpg jpeg gif bmp tif tiff webp heic svg ico".split())  # noqa: SIM905
_ARCHIVES = frozenset("zip 7z rar tar gz tgz bz2 xz".split())  # noqa: SIM905
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_NO_TITLE = re.compile(
    r"\W*(?:untitled|anonymous|unspecified|title|no ?title|document|presentation|workbook|slide|microsoft word)?"
    r"(?:[ _-]?document|[ _-]?presentation)?[\W\d]*|powerpoint presentation|microsoft (?:word|powerpoint) - .*"
    r"|.*\.(?:docx?|pptx?|xlsx?|indd|qxd|tex|dvi|pdf)",
    re.IGNORECASE | re.DOTALL,
)
_ISO_DATE = re.compile(r"(\d{4})-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])")


def parse(path: Path, source: str) -> Document:
    """The document at ``path``, named ``source``. Raises ``SourceError``."""
    data = _read(path)
    media_type, reader = _reader_for(data, PurePosixPath(source).suffix[1:].lower())
    try:
        layout = reader(data)
    except (SourceError, MemoryError):
        raise
    except Exception as error:
        raise SourceError(
            f"the file is damaged: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    if not layout.text.strip():
        raise SourceError(
            "the file holds no text; a scan needs OCR first"
            if media_type == "application/pdf" or media_type in _OFFICE_TYPES.values()
            else "the file holds no text"
        )
    return Document(
        source=source,
        title=_title(layout, media_type, source),
        text=layout.text,
        media_type=media_type,
        version=hashlib.sha256(data).hexdigest(),
        language=detect_language(layout.text),
        # A file's own date is often that of its last export; what the text says of itself goes first.
        date=stated_date(layout.text) or _iso_date(layout.date),
        sections=layout.sections,
        pages=layout.pages,
        tables=layout.tables,
    )


def parser_fingerprint() -> str:
    """Changes whenever the same file could give another document."""
    return f"documents {_REVISION}, {VERSION}"


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SourceError(f"the file has {size:,} bytes; at most {MAX_BYTES:,} are read: split it")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"the file cannot be opened: {error.strerror or error}") from error
    if not data:
        raise SourceError("the file is empty (0 bytes)")
    return data


def _reader_for(data: bytes, suffix: str) -> tuple[str, Callable[[bytes], Layout]]:
    if suffix == "pdf" or data.startswith(b"%PDF-"):
        return "application/pdf", read_pdf
    if suffix in _IMAGES or data.startswith((b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")):
        raise SourceError("the file is an image; images need OCR first")
    if suffix in _ARCHIVES:
        raise SourceError(f"the file is an archive (.{suffix}); unpack it")
    if suffix in _OFFICE_TYPES:
        if data.startswith(_OLE) and "EncryptedPackage".encode("utf-16-le") in data:
            raise SourceError("the file is encrypted; save it without a password")
        media_type = _OFFICE_TYPES[suffix]
        if suffix == "docx":
            return media_type, read_word
        return media_type, lambda content: read_office(content, media_type)
    if suffix in _TEXT_READERS:
        return _TEXT_READERS[suffix]
    if looks_binary(data):
        raise SourceError(
            f"files of type .{suffix} are not supported" if suffix else "the file is binary and its name has no ending"
        )
    return "text/plain", read_plain


def _title(layout: Layout, media_type: str, source: str) -> str:
    found = " ".join(clean(layout.title or "").split())
    if found and not _NO_TITLE.fullmatch(found) and sum(map(str.isalpha, found)) > 1 and _readable(found):
        return found
    headings = (section.heading_path[-1] for section in layout.sections if section.heading_path)
    first = None if media_type in _SPREADSHEETS else next(headings, None)  # a sheet's name is no title
    return first or PurePosixPath(source).stem


def _readable(title: str) -> bool:
    return not any(
        unicodedata.category(character) in ("Cc", "Co", "Cn") or character == "\ufffd" for character in title
    )


def _iso_date(value: str | None) -> str | None:
    match = _ISO_DATE.search(value or "")
    return "-".join(match.groups()) if match else None

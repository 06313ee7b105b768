"""A file to a ``Document``: asks what it is, picks the reader, adds title, date and language.

Whatever is wrong with a file leaves as ``SourceError`` with a reason in one line that does not repeat the source.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rag.dating import stated_date
from rag.documents.formats import HTML, IMAGES, MAIL, OFFICE_TYPES, PDF, PLAIN, SPREADSHEETS, WORD, media_type_of
from rag.documents.hypertext import read_html
from rag.documents.languages import detect_language
from rag.documents.layout import Layout, clean
from rag.documents.mail import mail_attachments, read_mail
from rag.documents.markdown import read_markdown
from rag.documents.office import read_office
from rag.documents.options import ReadingOptions
from rag.documents.pdf import read_pdf
from rag.documents.plain import read_delimited, read_plain
from rag.documents.recognition import MISSING, installed_languages, read_image
from rag.documents.revision import parser_fingerprint
from rag.documents.word import read_word
from rag.errors import SourceError
from rag.types import Attachment, Document, Failure, ParsedFile

MAX_BYTES = 200 * 1024 * 1024
MAX_CHARACTERS = 50_000_000

_READERS: dict[str, Callable[[bytes], Layout]] = {
    "text/markdown": read_markdown,
    PLAIN: read_plain,
    "text/csv": read_delimited,
    "text/tab-separated-values": read_delimited,
    HTML: read_html,
    "application/xhtml+xml": read_html,
    MAIL: read_mail,
    WORD: read_word,
}
"""kreuzberg reads the rest."""
DEFAULT = ReadingOptions()
_NO_TITLE = re.compile(
    r"\W*(?:untitled|anonymous|unspecified|title|no ?title|document|presentation|workbook|slide|microsoft word)?"
    r"(?:[ _-]?document|[ _-]?presentation)?[\W\d]*|powerpoint presentation|microsoft (?:word|powerpoint) - .*"
    r"|.*\.(?:docx?|pptx?|xlsx?|indd|qxd|tex|dvi|pdf)",
    re.IGNORECASE | re.DOTALL,
)
_ISO_DATE = re.compile(r"(\d{4})-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])")


@dataclass(frozen=True, slots=True)
class InProcessParser:
    """Parses in the calling process, with no bound on time or memory: for files that can be trusted."""

    options: ReadingOptions = DEFAULT
    parallel: int = 1

    @property
    def fingerprint(self) -> str:
        return parser_fingerprint()

    def parse(self, path: Path, source: str) -> ParsedFile:
        return parse_file(path, source, self.options)

    def warm_up(self) -> None:
        """Nothing to begin."""

    def close(self) -> None:
        """Nothing to release."""


def parse(path: Path, source: str, options: ReadingOptions = DEFAULT) -> Document:
    """The document at ``path``, named ``source``; what is attached to it is left out. Raises ``SourceError``."""
    data = _read(path)
    return _document(data, source, options, _media_type(data, source))


def parse_file(path: Path, source: str, options: ReadingOptions = DEFAULT) -> ParsedFile:
    """The document at ``path``, named ``source``, and those attached to it. ``SourceError`` for the file alone.

    Attachments of attachments are only named.
    """
    data = _read(path)
    media_type = _media_type(data, source)
    document = _document(data, source, options, media_type)
    attachments: list[Attachment] = []
    failures: list[Failure] = []
    with _damage_named():
        attached_files = mail_attachments(data) if media_type == MAIL else []
    for attached in attached_files:
        name = f"{source}/{attached.name}"
        try:
            if not attached.data:
                raise SourceError("the attachment is empty (0 bytes)")
            inner = _document(attached.data, name, options, _media_type(attached.data, name))
            attachments.append(Attachment(inner, len(attached.data)))
        except SourceError as error:
            failures.append(Failure(name, str(error)))
    return ParsedFile(document, tuple(attachments), tuple(failures))


def _document(data: bytes, source: str, options: ReadingOptions, media_type: str) -> Document:
    with _damage_named():
        layout = _layout(data, media_type, options)
    if not layout.text.strip():
        raise SourceError(f"the file holds no text{_unread_scan(media_type, options)}")
    if len(layout.text) > MAX_CHARACTERS:
        raise SourceError(
            f"the file holds {len(layout.text):,} characters; at most {MAX_CHARACTERS:,} are read: split it"
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


@contextmanager
def _damage_named() -> Iterator[None]:
    """A reader's bug on a strange file is that file's failure; lack of memory is not."""
    try:
        yield
    except (SourceError, MemoryError):
        raise
    except RecursionError as error:
        raise SourceError("the file is damaged: it is nested too deeply") from error
    except Exception as error:
        raise SourceError(
            f"the file is damaged: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error


def _unread_scan(media_type: str, options: ReadingOptions) -> str:
    """What a file without text may need, where it can hold pictures of text."""
    if media_type in OFFICE_TYPES.values():
        return "; pictures in it are not read: save it as PDF"
    if media_type != PDF or (options.ocr and installed_languages()):
        return ""
    return f"; if it is a scan, {MISSING}" if options.ocr else "; if it is a scan, set parsing.ocr = true"


def _layout(data: bytes, media_type: str, options: ReadingOptions) -> Layout:
    if media_type == PDF:
        return read_pdf(data, options)
    if media_type in IMAGES.values():
        return read_image(data, media_type, options)
    reader = _READERS.get(media_type)
    return reader(data) if reader is not None else read_office(data, media_type)


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


def _media_type(data: bytes, source: str) -> str:
    return media_type_of(data, PurePosixPath(source).suffix[1:].lower())


def _title(layout: Layout, media_type: str, source: str) -> str:
    found = " ".join(clean(layout.title or "").split())
    if found and not _NO_TITLE.fullmatch(found) and sum(map(str.isalpha, found)) > 1 and _readable(found):
        return found
    headings = (section.heading_path[-1] for section in layout.sections if section.heading_path)
    first = None if media_type in SPREADSHEETS else next(headings, None)  # a sheet's name is no title
    return first or PurePosixPath(source).stem


def _readable(title: str) -> bool:
    return not any(
        unicodedata.category(character) in ("Cc", "Co", "Cn") or character == "\ufffd" for character in title
    )


def _iso_date(value: str | None) -> str | None:
    match = _ISO_DATE.search(value or "")
    return "-".join(match.groups()) if match else None

"""What a file is: by its content where that shows it, else by its name. Reads nothing but the bytes it is given.

Names lie: reports are saved as ``.xls`` and are HTML, downloads have no ending. What a reader would choke on or what
none reads is refused here, in words.
"""

import re

from rag.documents.containers import ZipContainer
from rag.documents.decoding import looks_binary
from rag.errors import SourceError

_OOXML = "application/vnd.openxmlformats-officedocument."
PDF = "application/pdf"
WORD = f"{_OOXML}wordprocessingml.document"
MAIL = "message/rfc822"
PLAIN = "text/plain"
HTML = "text/html"

TEXT_TYPES = {
    "md": "text/markdown",
    "markdown": "text/markdown",
    "txt": PLAIN,
    "text": PLAIN,
    "log": PLAIN,
    "rst": PLAIN,
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "html": HTML,
    "htm": HTML,
    "xhtml": "application/xhtml+xml",
    "eml": MAIL,
    "json": "application/json",
    "xml": "application/xml",
    "org": "text/x-org",
}
OFFICE_TYPES = {
    "docx": WORD,
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
}
SPREADSHEETS = frozenset(OFFICE_TYPES[suffix] for suffix in ("xlsx", "xlsm", "xls", "ods"))

IMAGES = {
    b"\x89PNG\r\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
}
"""What an image that may be read by OCR begins with."""
_OTHER_IMAGES = frozenset("png jpg jpeg gif bmp tif tiff webp heic svg ico".split())  # noqa: SIM905
_ARCHIVE_SUFFIXES = frozenset("zip 7z rar tar gz tgz bz2 xz zst".split())  # noqa: SIM905
_ARCHIVE_MARKS = {
    b"\x1f\x8b": "gz",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"\x28\xb5\x2f\xfd": "zst",
}
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_OFFICE_PARTS = {"word/document.xml": "docx", "ppt/presentation.xml": "pptx", "xl/workbook.xml": "xlsx"}
_OLE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_STREAMS = (
    ("WordDocument", "doc"),
    ("PowerPoint Document", "ppt"),
    ("Workbook", "xls"),
    ("Book", "xls"),
    ("__properties_version1.0", "msg"),
)
_HTML_START = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.I | re.S)
_PDF_MARK_WITHIN = 1024
"""Readers accept that much before it; some programs write a line or two there."""


def media_type_of(data: bytes, suffix: str) -> str:
    """The media type to read the bytes as; ``suffix`` is the name's ending in lower case without its dot.

    Raises ``SourceError`` for what is encrypted, packed, no text, or too large once it is unpacked.
    """
    if b"%PDF-" in data[:_PDF_MARK_WITHIN] and (suffix not in TEXT_TYPES or data.startswith(b"%PDF-")):
        return PDF
    for mark, kind in IMAGES.items():
        if data.startswith(mark):
            return kind
    if data.startswith(_ZIP_MARKS):
        return _zipped(data, suffix)
    if data.startswith(_OLE_MARK):
        return _compound(data, suffix)
    if data.startswith(b"{\\rtf"):
        return OFFICE_TYPES["rtf"]
    for mark, kind in _ARCHIVE_MARKS.items():
        if data.startswith(mark):
            raise SourceError(f"the file is an archive ({kind}); unpack it")
    return _unmarked(data, suffix)


def _zipped(data: bytes, suffix: str) -> str:
    container = ZipContainer(data)
    container.check()
    stated = container.media_type()
    if stated in OFFICE_TYPES.values():
        assert stated is not None
        return stated
    for part, kind in _OFFICE_PARTS.items():
        if part in container.names:
            return OFFICE_TYPES["xlsm" if (kind, suffix) == ("xlsx", "xlsm") else kind]
    if suffix in OFFICE_TYPES:
        raise SourceError(f"the file is damaged or not what its name says: an archive, but no .{suffix}")
    raise SourceError("the file is an archive (zip); unpack it")


def _compound(data: bytes, suffix: str) -> str:
    """Old office files and mails: one container, told apart by the names of the streams in it."""
    if _utf16("EncryptedPackage") in data:
        raise SourceError(
            "the file is encrypted; passwords of office files cannot be used here: save it without a password"
        )
    if suffix in ("doc", "ppt", "xls", "msg"):
        return OFFICE_TYPES[suffix]
    for stream, kind in _OLE_STREAMS:
        if _utf16(stream) in data:
            return OFFICE_TYPES[kind]
    raise SourceError(f"files of type .{suffix} are not supported" if suffix else "the file is of an unknown type")


def _unmarked(data: bytes, suffix: str) -> str:
    if suffix in _OTHER_IMAGES:
        raise SourceError(f"the file is an image that cannot be read (.{suffix}); save it as PNG, JPEG, GIF or TIFF")
    if suffix in _ARCHIVE_SUFFIXES:
        raise SourceError(f"the file is an archive ({suffix}); unpack it")
    if suffix in TEXT_TYPES:
        return TEXT_TYPES[suffix]
    if looks_binary(data):
        if suffix == "pdf" or suffix in OFFICE_TYPES:
            raise SourceError(f"the file is damaged or not what its name says: binary data, but no .{suffix}")
        raise SourceError(
            f"files of type .{suffix} are not supported" if suffix else "the file is binary and its name has no ending"
        )
    return HTML if _HTML_START.match(data[:4096]) else PLAIN


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le")

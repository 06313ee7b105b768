"""Bytes of a text file to text: byte order mark, UTF-8, UTF-16, what the file declares, then an educated guess."""

import codecs
import re
from collections.abc import Sequence

from charset_normalizer import from_bytes

from rag.errors import SourceError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CANDIDATES = ["gb18030", "big5", "cp932", "euc_jp", "euc_kr", "cp1251", "koi8_r", "cp1250", "cp1252", "cp1253"]
_LATIN = ("cp1250", "cp1252")
_LONG_RUN = re.compile(rb"[\xc0-\xff]{3,}")
_SAMPLE_BYTES = 200_000
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decode(data: bytes, declared: str | None = None) -> str:
    """The text. ``declared`` is believed where the bytes are no UTF-8 and it decodes them without error.

    Raises ``SourceError`` for bytes that are no text.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    if (utf16 := _utf16_without_mark(data)) is not None:
        return data.decode(utf16)
    if looks_binary(data):
        raise SourceError("the file holds binary data, not text; convert it to a supported format")
    for candidate in ("utf-8", declared):
        if candidate is not None and (text := _strictly(data, candidate)) is not None:
            return text
    return _guess(data)


def declared_encoding(data: bytes) -> str | None:
    """The encoding named in an HTML or XML head, as it stands there."""
    match = _DECLARED.search(data[:2048])
    return match[1].decode("ascii") if match else None


def looks_binary(data: bytes) -> bool:
    """Whether the first bytes hold NULs and are no UTF-8, or hold many control characters. So does UTF-16."""
    sample = data[:8192]
    if len(_CONTROL.findall(sample)) > len(sample) // 20:
        return True
    return b"\0" in sample and _strictly(sample[:-4] if len(data) > len(sample) else sample, "utf-8") is None


def _utf16_without_mark(data: bytes) -> str | None:
    """UTF-16 text has NUL bytes (in its spaces and digits), and read the right way round it is printable."""
    if len(data) % 2 or b"\0" not in data[:2048]:
        return None
    for encoding in ("utf-16-le", "utf-16-be"):
        if (text := _strictly(data, encoding)) is not None:
            start = text[:1000]
            if sum(character.isprintable() or character in "\r\n\t" for character in start) > 0.98 * len(start):
                return encoding
    return None


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _guess(data: bytes) -> str:
    found = from_bytes(data[:_SAMPLE_BYTES], cp_isolation=_CANDIDATES).best()
    candidates: Sequence[str] = [found.encoding, "cp1252"] if found else ["cp1252"]
    if candidates[0] in _LATIN and sum(map(len, _LONG_RUN.findall(data))) > sum(byte > 0x7F for byte in data) / 2:
        candidates = ["cp1251", *candidates]  # no Latin alphabet writes whole words in letters beyond ASCII
    for encoding in candidates:
        if (text := _strictly(data, encoding)) is not None:
            return text
    return data.decode("latin-1")

"""The name that a client gives a file, checked before it becomes a document's source.

It is a label, never a path of ours; still it is shown, exported and written into citations, so nothing may stand in it
that misleads a reader or that another system would take for something else.
"""

import re
import unicodedata

from rag.errors import UsageError

MAX_PART_BYTES = 255
MAX_BYTES = 1024
_MAX_SHOWN = 80

_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
# Control, surrogate, private use, unassigned, line and paragraph separators.
_BAD_CATEGORIES = frozenset(("Cc", "Cs", "Co", "Cn", "Zl", "Zp"))
# They turn the direction of writing, so that `gpj.exe` reads as `exe.jpg`, or can't be seen.
_INVISIBLE = frozenset(
    "\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)


def source_of(name: str) -> str:
    """The source that a client's file name becomes: Unicode's form C, folders separated by ``/``.

    Raises ``UsageError`` saying what is wrong with it. A name that passed passes again unchanged.
    """
    source = unicodedata.normalize("NFC", name)
    fault = _fault_of(source)
    if fault is not None:
        raise UsageError(f"the file name {_shown(name)} {fault}; rename the file")
    return source


def _fault_of(source: str) -> str | None:
    if not source.strip():
        return "is empty"
    for character in source:
        if unicodedata.category(character) in _BAD_CATEGORIES or character in _INVISIBLE:
            return f"holds the character U+{ord(character):04X}"
    if "\\" in source:
        return "holds a backslash"
    if source.startswith("/") or _DRIVE.match(source):
        return "is an absolute path"
    if len(source.encode()) > MAX_BYTES:
        return f"is longer than {MAX_BYTES} bytes"
    for part in source.split("/"):
        fault = _fault_of_part(part)
        if fault is not None:
            return fault
    return None


def _fault_of_part(part: str) -> str | None:
    if part in ("", ".", ".."):
        return f"holds the path part {part!r}"
    if part.startswith((".", "~$")):
        return "is that of a hidden file or of an office program's lock"
    if part != part.strip() or part.endswith("."):
        return "has a part that begins or ends with a space, or ends with a dot"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"has a part longer than {MAX_PART_BYTES} bytes"
    # Superscript digits count as digits there.
    if _RESERVED.fullmatch(part.rstrip(" ")) or _RESERVED.fullmatch(part.partition(".")[0].rstrip(" ")):
        return "is reserved on Windows"
    return None


def _shown(name: str) -> str:
    short = name if len(name) <= _MAX_SHOWN else name[: _MAX_SHOWN - 1] + "…"
    return ascii(short) if _has_unprintable(short) else repr(short)


def _has_unprintable(text: str) -> bool:
    return not text.isprintable() or any(character in _INVISIBLE for character in text)

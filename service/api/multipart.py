"""multipart/form-data (RFC 7578) as it comes, piece by piece: nothing of a part's content is kept here.

Feed it bytes, cut anywhere; it gives back beginnings, data and ends of parts. Knows nothing of where they go.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from rag.errors import UsageError

MAX_HEADER_BYTES = 16_384
_MAX_BOUNDARY = 70

_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^\s;"]+))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([\w!#$&+.^`|~*-]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^;]*))')


@dataclass(frozen=True, slots=True)
class PartStart:
    """``filename`` is the client's own, unchecked; ``None`` for a field that is no file."""

    name: str
    filename: str | None


@dataclass(frozen=True, slots=True)
class PartData:
    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd: ...


Event = PartStart | PartData | PartEnd


def boundary_of(content_type: str) -> bytes | None:
    """The boundary of a multipart/form-data content type; ``None`` for another type or without one."""
    kind, _, parameters = content_type.partition(";")
    found = _BOUNDARY.search(parameters)
    if kind.strip().lower() != "multipart/form-data" or found is None:
        return None
    boundary = (found[1] or found[2]).encode("latin-1", "replace")
    return boundary if 0 < len(boundary) <= _MAX_BOUNDARY else None


class MultipartReader:
    """Raises ``UsageError`` where the body is not what its boundary promised."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # So that the first boundary is a delimiter like all others.
        self._buffer = bytearray(b"\r\n")
        self._in_part = False
        self._state = "content"
        self.ended = False

    def feed(self, data: bytes) -> Iterator[Event]:
        self._buffer += data
        step = {"content": self._content, "after delimiter": self._after_delimiter, "headers": self._headers}
        while not self.ended:
            before = (self._state, len(self._buffer))
            yield from step[self._state]()
            if (self._state, len(self._buffer)) == before:
                return

    def close(self) -> None:
        """The body is over."""
        if not self.ended:
            raise UsageError("the upload is incomplete: its last boundary is missing")

    def _content(self) -> Iterator[Event]:
        """What stands before a delimiter: a part's data, or a preamble that nobody reads."""
        found = self._buffer.find(self._delimiter)
        # What may be the beginning of a delimiter waits for its end.
        end = found if found >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
        if self._in_part and end:
            yield PartData(bytes(self._buffer[:end]))
        del self._buffer[: end + (len(self._delimiter) if found >= 0 else 0)]
        if found >= 0:
            if self._in_part:
                yield PartEnd()
            self._in_part, self._state = False, "after delimiter"

    def _after_delimiter(self) -> Iterator[Event]:
        if self._buffer.startswith(b"--"):
            self.ended = True
            self._buffer.clear()
        elif (found := self._buffer.find(b"\r\n")) >= 0:
            if self._buffer[:found].strip(b" \t"):
                raise UsageError("the upload is not multipart/form-data: a boundary's line holds more than it")
            # The line's end stays: a part without headers begins with an empty line.
            del self._buffer[:found]
            self._state = "headers"
        elif len(self._buffer) > MAX_HEADER_BYTES:
            raise UsageError("the upload is not multipart/form-data: a boundary's line does not end")
        yield from ()

    def _headers(self) -> Iterator[Event]:
        found = self._buffer.find(b"\r\n\r\n")
        if found > MAX_HEADER_BYTES or (found < 0 and len(self._buffer) > MAX_HEADER_BYTES):
            raise UsageError(f"the headers of a part are longer than {MAX_HEADER_BYTES} bytes")
        if found >= 0:
            headers = bytes(self._buffer[:found])
            del self._buffer[: found + 4]
            self._in_part, self._state = True, "content"
            yield _part(headers)


def _part(headers: bytes) -> PartStart:
    try:
        text = headers.decode()
    except UnicodeDecodeError as error:
        raise UsageError("the headers of a part are not UTF-8") from error
    for line in text.split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() != "content-disposition":
            continue
        kind, _, rest = value.partition(";")
        if kind.strip().lower() != "form-data":
            break
        found = {each[1].lower(): _value(each) for each in _PARAMETER.finditer(f";{rest}")}
        if "name" not in found:
            break
        extended = found.get("filename*")
        return PartStart(found["name"], found.get("filename") if extended is None else _extended(extended))
    raise UsageError("a part of the upload has no Content-Disposition: form-data; name=...")


def _value(parameter: re.Match[str]) -> str:
    if parameter[2] is None:
        return parameter[3].strip()
    # Browsers escape these three as URLs do (HTML standard), others with a backslash.
    value = re.sub(r'\\(["\\])', r"\1", parameter[2])
    return value.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")


def _extended(value: str) -> str:
    """RFC 5987: charset, language and percent-encoded text."""
    charset, _, rest = value.partition("'")
    try:
        return unquote_to_bytes(rest.partition("'")[2]).decode(charset)
    except (LookupError, UnicodeDecodeError) as error:
        raise UsageError(f"the file name {value[:80]!r} cannot be decoded") from error

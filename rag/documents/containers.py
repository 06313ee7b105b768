"""Zip containers (Word, PowerPoint, Excel, OpenDocument, EPUB): what is in them, and whether it may be unpacked.

The sizes are those that the archive states. One that lies about them meets the bounds of whoever parses it.
"""

import io
import zipfile
from functools import cached_property

from rag.errors import SourceError

MAX_UNPACKED_BYTES = 1024 * 1024 * 1024
MAX_MEMBERS = 20_000
MAX_RATIO = 400
"""Of the whole; XML of spreadsheets comes to 50."""
_RATIO_FROM_BYTES = 64 * 1024 * 1024
"""Smaller ones do no harm, whatever their ratio."""
_MAX_MEDIA_TYPE_BYTES = 200


class ZipContainer:
    """The directory of a zip file. ``SourceError`` for one that is damaged."""

    def __init__(self, data: bytes) -> None:
        self._size = len(data)
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        # NotImplementedError is zipfile's word for a compression or version that it does not know.
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError) as error:
            raise SourceError(f"the file is damaged: it begins as an archive, but {error}") from error

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self._archive.namelist())

    def media_type(self) -> str | None:
        """What OpenDocument and EPUB files say of themselves in their first member."""
        if "mimetype" not in self.names or self._archive.getinfo("mimetype").file_size > _MAX_MEDIA_TYPE_BYTES:
            return None
        try:
            return self._archive.read("mimetype").decode("ascii").strip()
        except Exception:  # zipfile raises all sorts on a torn member; then the name must do
            return None

    def check(self) -> None:
        """``SourceError`` where unpacking it could not end well: too much, too many, or encrypted."""
        entries = self._archive.infolist()
        if len(entries) > MAX_MEMBERS:
            raise SourceError(f"the file holds {len(entries):,} parts; at most {MAX_MEMBERS:,} are read")
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > MAX_UNPACKED_BYTES:
            raise SourceError(
                f"the file would unpack to {unpacked:,} bytes; at most {MAX_UNPACKED_BYTES:,} are read: split it"
            )
        if unpacked > _RATIO_FROM_BYTES and unpacked > MAX_RATIO * self._size:
            raise SourceError(
                f"the file would unpack to {unpacked // self._size:,} times its size; at most {MAX_RATIO} times is read"
            )
        if any(entry.flag_bits & 1 for entry in entries):
            raise SourceError("the file is encrypted; save it without a password")

"""A pipeline that tells when it begins to read a file and when it could not: the one place that knows how it parses."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import SourceError
from rag.types import ParsedFile

if TYPE_CHECKING:
    from rag.preparing import FileParser, Pipeline


def recording(pipeline: "Pipeline", begin: Callable[[str], None], unreadable: Callable[[], None]) -> "Pipeline":
    """``begin`` is told each source before anything of the file is read; what it raises ends the run.

    Both are called by as many threads as parse at once.
    """
    return replace(pipeline, parser=_Recording(pipeline.parser, begin, unreadable))


@dataclass(frozen=True, slots=True)
class _Recording:
    """A ``FileParser`` around another one."""

    parser: "FileParser"
    begin: Callable[[str], None]
    unreadable: Callable[[], None]

    @property
    def fingerprint(self) -> str:
        return self.parser.fingerprint

    @property
    def parallel(self) -> int:
        return self.parser.parallel

    def warm_up(self) -> None:
        self.parser.warm_up()

    def parse(self, path: Path, source: str) -> ParsedFile:
        self.begin(source)
        try:
            return self.parser.parse(path, source)
        except SourceError:
            self.unreadable()
            raise

    def close(self) -> None:
        self.parser.close()

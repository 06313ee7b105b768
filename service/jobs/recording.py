"""A pipeline that tells when it begins to read a file and when it could not: the one place that knows how it parses."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import SourceError
from rag.types import Document

if TYPE_CHECKING:
    from rag.ingestion import Pipeline


def recording(pipeline: "Pipeline", begin: Callable[[str], None], unreadable: Callable[[], None]) -> "Pipeline":
    """``begin`` is told each source before anything of the file is read; what it raises ends the run."""

    def parse(path: Path, source: str) -> Document:
        begin(source)
        try:
            return pipeline.parse(path, source)
        except SourceError:
            unreadable()
            raise

    return replace(pipeline, parse=parse)

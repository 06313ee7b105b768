"""Files to chunks, a few ahead of whoever embeds and stores them; what is unchanged is only looked at.

One thread looks at the files in order: it alone tells moved files from new ones. As many as the parser can use at once
read them. Results come in the order of the files. Knows nothing of embedding, storing or indexes.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Protocol

from rag.catalog import KnownSource, NewVersion
from rag.documents.discovery import SourceFile
from rag.errors import NotFoundError, SourceError
from rag.interfaces import Embedder
from rag.storing import Stopwatch
from rag.types import Attachment, Chunk, Document, Failure, ParsedFile

_FILES_AHEAD = 16
"""Parsed files that may wait for the embedder: bounds the memory."""
UPLOADED = "upload:"
"""Begins the location of an uploaded document and of what is attached to it: there is no file that could move."""


class FileParser(Protocol):
    """Serves one run, which closes it. ``parse`` may be called by ``parallel`` threads at once."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same file could give another document."""
        ...

    @property
    def parallel(self) -> int: ...

    def warm_up(self) -> None:
        """Begin what takes time before the first file. Returns at once."""
        ...

    def parse(self, path: Path, source: str) -> ParsedFile:
        """``SourceError`` for a file that cannot be read."""
        ...

    def close(self) -> None:
        """End what still parses; it raises."""
        ...


class DocumentChunker(Protocol):
    @property
    def fingerprint(self) -> str:
        """Changes whenever the same document could give other chunks."""
        ...

    def chunk(self, document: Document) -> list[Chunk]: ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps of an ingest. ``discover`` adds what it leaves out to its second argument, with the reason."""

    discover: Callable[[Sequence[Path], list[Failure]], Sequence[SourceFile]]
    parser: FileParser
    chunker: DocumentChunker
    embedder: Embedder
    batch_size: int = 32

    @property
    def processing(self) -> str:
        """Fingerprint of what makes chunks and vectors of a document; it ends with the embedder's."""
        return f"{self.chunker.fingerprint}/{self.embedder.fingerprint}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that is current. It goes by another source or lies elsewhere now where those differ."""

    known: KnownSource
    source: str
    location: str

    @property
    def moved(self) -> bool:
        return self.known.source != self.source


@dataclass(slots=True)
class Prepared:
    """What became of one file: documents that are current, new versions, failures; attachments before the file's own.

    A file is current only together with what is attached to it, so its own document must be stored last.
    """

    file: SourceFile
    version: str | None = None
    kept: list[Kept] = field(default_factory=list)
    new: list[NewVersion] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    detached: list[KnownSource] = field(default_factory=list)
    """Documents that were attached to it and no longer are."""
    moved_from: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Look:
    """A file before it is read: its bytes' hash, and the document that it may be a version of."""

    prepared: Prepared
    size_bytes: int = 0
    location: str = ""
    known: KnownSource | None = None
    attached: Mapping[str, KnownSource] = field(default_factory=dict)
    """Known documents attached to it, by the source that they are to have."""


class Preparer:
    """One run over files. ``known`` and ``failed`` are the collection's, by source."""

    def __init__(
        self,
        pipeline: Pipeline,
        known: Mapping[str, KnownSource],
        failed: Collection[str],
        stored: Callable[[KnownSource], Document],
        stopwatch: Stopwatch,
    ) -> None:
        self._pipeline = pipeline
        self._known = known
        self._stored = stored
        self._stopwatch = stopwatch
        self._chunking = Lock()
        self._by_version: dict[str, list[KnownSource]] = {}
        self._attached: dict[tuple[str, str], list[KnownSource]] = {}
        for each in known.values():
            self._by_version.setdefault(each.version, []).append(each)
            for parent in _above(each.source):
                self._attached.setdefault((parent, each.location), []).append(each)
        self._failed_within = {parent for source in failed for parent in _above(source)}

    def prepare(self, files: Sequence[SourceFile]) -> Generator[Prepared, None, None]:
        """Each file in turn. Closes the parser at the end, and at once when it is left early."""
        given = {file.source for file in files}
        coming = iter(files)
        ahead: deque[Future[Future[Prepared]]] = deque()
        reader = ThreadPoolExecutor(1, thread_name_prefix="reading")
        parsers = ThreadPoolExecutor(self._pipeline.parser.parallel, thread_name_prefix="parsing")

        def submit(some: Iterable[SourceFile]) -> None:
            ahead.extend(
                reader.submit(lambda file: parsers.submit(self._finish, self._look(file, given)), file) for file in some
            )

        try:
            submit(islice(coming, _FILES_AHEAD))
            while ahead:
                prepared = ahead.popleft().result().result()
                submit(islice(coming, 1))
                yield prepared
        finally:
            self._pipeline.parser.close()
            reader.shutdown(cancel_futures=True)
            parsers.shutdown(cancel_futures=True)

    def _look(self, file: SourceFile, given: Collection[str]) -> _Look:
        look = _Look(Prepared(file))
        try:
            with self._stopwatch.step("parsing"):
                look.prepared.version, look.size_bytes = _version_and_size(file)
                look.location = location_of(file)
        except SourceError as error:
            look.prepared.failures.append(Failure(file.source, str(error)))
            return look
        known = look.known = self._lookup(file, look.prepared.version, given)
        if known is not None:
            attached = self._attached.get((known.source, known.location), [])
            look.attached = {file.source + each.source[len(known.source) :]: each for each in attached}
            if known.source != file.source:
                # A run that was cut off may have moved some of them.
                moved = self._attached.get((file.source, look.location), [])
                look.attached = dict(look.attached) | {each.source: each for each in moved}
                look.prepared.moved_from = {known.source, *(each.source for each in attached)}
        return look

    def _lookup(self, file: SourceFile, version: str, given: Collection[str]) -> KnownSource | None:
        """The document that the file is a version of.

        It has moved where a document of the same bytes has lost its file; where that is still there, it is a copy.
        """
        if file.source in self._known:
            return self._known[file.source]
        suffix = PurePosixPath(file.source).suffix
        for known in self._by_version.get(version, []):
            has_file = not known.location.startswith(UPLOADED)
            gone = has_file and known.source not in given and is_gone(Path(known.location))
            # Another suffix may mean another parser.
            if gone and PurePosixPath(known.source).suffix == suffix:
                self._by_version[version].remove(known)
                return known
        return None

    def _finish(self, look: _Look) -> Prepared:
        """The file up to its chunks. Nothing is done again that the fingerprints say is as it was."""
        prepared, known = look.prepared, look.known
        if prepared.failures:
            return prepared
        documents = {**look.attached, prepared.file.source: known} if known is not None else {}
        parsed_alike = (
            known is not None
            and known.version == prepared.version
            and all(each.parser == self._pipeline.parser.fingerprint for each in documents.values())
            and prepared.file.source not in self._failed_within
        )
        if parsed_alike and all(map(self._is_processed, documents.values())):
            prepared.kept = [Kept(each, source, look.location) for source, each in documents.items()]
            return prepared
        # What its title is made of may have changed with its name.
        parsed = self._from_catalog(look) if parsed_alike and not prepared.moved_from else None
        try:
            with self._stopwatch.step("parsing"):
                parsed = parsed or self._pipeline.parser.parse(prepared.file.path, prepared.file.source)
        except SourceError as error:
            prepared.failures.append(Failure(prepared.file.source, str(error)))
            return prepared
        self._take(look, parsed)
        return prepared

    def _from_catalog(self, look: _Look) -> ParsedFile | None:
        """What was parsed before; ``None`` where somebody has removed it meanwhile."""
        assert look.known is not None
        try:
            attachments = [Attachment(self._stored(each), each.size_bytes) for each in look.attached.values()]
            return ParsedFile(self._stored(look.known), tuple(attachments))
        except NotFoundError:
            return None

    def _take(self, look: _Look, parsed: ParsedFile) -> None:
        prepared = look.prepared
        prepared.failures += parsed.failures
        for attachment in parsed.attachments:
            source = attachment.document.source
            known = look.attached.get(source) or self._known.get(source)
            self._add(look, attachment.document, attachment.size_bytes, known)
        sources = {attachment.document.source for attachment in parsed.attachments}
        unread = {failure.source for failure in parsed.failures}
        # One that cannot be read any longer keeps the version that could, as every file does.
        prepared.detached = [each for source, each in look.attached.items() if source not in sources | unread]
        self._add(look, parsed.document, look.size_bytes, look.known)

    def _add(self, look: _Look, document: Document, size_bytes: int, known: KnownSource | None) -> None:
        """A parsed document to a new version, or to a kept one where it is as it was."""
        if known is not None and known.version == document.version and self._is_current(known):
            look.prepared.kept.append(Kept(known, document.source, look.location))
            return
        try:
            check_storable(document)
            with self._chunking, self._stopwatch.step("chunking"):
                chunks = tuple(self._pipeline.chunker.chunk(document))
            if not chunks:
                raise SourceError("there is no text in it")
        except SourceError as error:
            look.prepared.failures.append(Failure(document.source, str(error)))
            return
        moved = known is not None and known.source != document.source
        look.prepared.new.append(
            NewVersion(
                document=document,
                chunks=chunks,
                location=look.location,
                size_bytes=size_bytes,
                parser=self._pipeline.parser.fingerprint,
                processing=self._pipeline.processing,
                moved_from=known.source if known is not None and moved else None,
            )
        )

    def _is_processed(self, known: KnownSource) -> bool:
        return known.processing == self._pipeline.processing

    def _is_current(self, known: KnownSource) -> bool:
        return known.parser == self._pipeline.parser.fingerprint and self._is_processed(known)


def location_of(file: SourceFile) -> str:
    """Where the file lies for good; for an upload, whose path is short-lived, a name that no file has."""
    return f"{UPLOADED}{file.source}" if file.is_upload else str(file.path.resolve())


def is_gone(path: Path) -> bool:
    """Whether there is surely nothing at the path."""
    try:
        return not path.exists()
    except OSError:  # not to be reached just now is not gone
        return False


def check_storable(document: Document) -> None:
    """``SourceError`` for text that no database takes."""
    for text in (document.source, document.text, document.title):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise SourceError(f"its text holds half a surrogate pair at character {error.start}") from error


def storable(text: str) -> str:
    """File names of unknown encoding hold lone surrogates, which no database takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _above(source: str) -> Iterator[str]:
    """The sources that this one could be attached to."""
    for end in (index for index, character in enumerate(source) if character == "/"):
        yield source[:end]


def _version_and_size(file: SourceFile) -> tuple[str, int]:
    if storable(file.source) != file.source:
        raise SourceError("the file's name is not valid UTF-8: rename it")
    try:
        with file.path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest(), content.tell()
    except OSError as error:
        raise SourceError(f"the file cannot be opened: {error.strerror or error}") from error

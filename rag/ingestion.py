"""The ingest flow: files to published chunks. One bad file never stops the others.

What is unchanged, by its bytes and by all that would process them, is not read again. Documents are stored
one transaction each; the index follows in steps and at the end. After a crash the next run goes on where it
was: what is stored is not embedded again, and what is stored but not published is published first.
"""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Protocol

from rag.analysis import ANALYZER_FINGERPRINT
from rag.catalog import DEFAULT_TENANT, Catalog, KnownSource, NewVersion
from rag.documents.discovery import SourceFile
from rag.errors import NotFoundError, SourceError, StateError
from rag.index.publishing import Publisher, remove_files
from rag.index.snapshot import check_embedder
from rag.interfaces import Embedder
from rag.storing import DocumentWriter, Stopwatch
from rag.types import Chunk, Collection, Document, DocumentInfo, Failure, IngestReport

_PUBLISH_EVERY_DOCUMENTS = 1000
_PUBLISH_EVERY_S = 60.0
_PUBLISH_SHARE = 0.05
_FILES_AHEAD = 16
"""Parsed documents that may wait for the embedder: bounds the memory."""
_NO_LOCATION = ""
"""Of an uploaded document: there is no file that could move."""


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
    parse: Callable[[Path, str], Document]
    parser_fingerprint: str
    chunker: DocumentChunker
    embedder: Embedder
    batch_size: int = 32

    @property
    def processing(self) -> str:
        """Fingerprint of what makes chunks and vectors of a document; it ends with the embedder's."""
        return f"{self.chunker.fingerprint}/{self.embedder.fingerprint}"


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far a run is. ``chunks`` counts those embedded; ``source`` is the file last read, "" before the first."""

    documents_done: int
    documents_total: int
    chunks: int
    source: str


def ingest(
    home: Path,
    catalog: Catalog,
    name: str,
    paths: Sequence[Path],
    pipeline: Pipeline,
    *,
    progress: Callable[[IngestProgress], None] | None = None,
    tenant: str = DEFAULT_TENANT,
) -> IngestReport:
    """Bring the files below ``paths`` into the collection, which is made if there is none of that name.

    Documents whose file is missing from a folder stay; ``remove`` removes them. A file that cannot be read is
    reported and tried again next time; a version of it that was stored earlier stays. Raises ``CatalogError``
    while another ingest runs on the collection, ``IndexStateError`` if its index needs a `reindex` first.
    """
    started = time.perf_counter()
    skipped: list[Failure] = []
    files = pipeline.discover(paths, skipped)
    try:
        collection = catalog.collection(name, tenant)
    except NotFoundError:
        collection = catalog.create_collection(name, pipeline.embedder, tenant)
    with catalog.writer_lock(collection):
        run = _Run(home, catalog, catalog.refresh(collection), pipeline, files, progress)
        for failure in skipped:
            run.failed(failure, None)
        run.go()
    return IngestReport(
        added=run.outcomes["added"],
        updated=run.outcomes["updated"],
        unchanged=run.outcomes["unchanged"],
        removed=0,
        failed=tuple(run.failures),
        chunks=run.chunks_stored,
        seconds=time.perf_counter() - started,
        seconds_by_step=run.stopwatch.seconds,
    )


def remove(home: Path, catalog: Catalog, collection: Collection, id_or_source: str) -> DocumentInfo:
    """Remove a document at once from all answers, and from the index files unless an ingest is running.

    The running ingest drops it from them when it publishes next.
    """
    info = catalog.remove_document(collection, id_or_source)
    # The document is gone already. Whoever holds the lock, or mends a damaged index, tidies the files.
    with suppress(StateError), catalog.writer_lock(collection):
        Publisher.open(home, catalog, collection).drop_dead_rows()
    return info


def delete_collection(home: Path, catalog: Catalog, name: str, tenant: str = DEFAULT_TENANT) -> Collection:
    """Delete a collection and its index files; ``CatalogError`` while an ingest runs on it."""
    collection = catalog.collection(name, tenant)
    with catalog.writer_lock(collection):
        catalog.delete_collection(name, tenant)
        remove_files(home, collection)
    return collection


@dataclass(slots=True)
class _PublishingPace:
    """Publish when enough has gathered, but never spend more than a small share of the time on it."""

    documents: int = 0
    last: float = field(default_factory=time.perf_counter)
    cost_s: float = 0.0

    def due(self) -> bool:
        passed = time.perf_counter() - self.last
        enough = self.documents >= _PUBLISH_EVERY_DOCUMENTS or passed >= _PUBLISH_EVERY_S
        return self.documents > 0 and enough and passed * _PUBLISH_SHARE >= self.cost_s

    def published(self, cost_s: float) -> None:
        self.documents, self.last, self.cost_s = 0, time.perf_counter(), cost_s


@dataclass(slots=True)
class _Prepared:
    """A file that was looked at: its new version, its failure, or neither where the known version is current."""

    file: SourceFile
    version: str | None = None
    location: str = ""
    known: KnownSource | None = None
    moved: bool = False
    new: NewVersion | None = None
    failure: Failure | None = None


class _Run:
    """The state of one ingest, under the writer lock."""

    def __init__(
        self,
        home: Path,
        catalog: Catalog,
        collection: Collection,
        pipeline: Pipeline,
        files: Sequence[SourceFile],
        progress: Callable[[IngestProgress], None] | None,
    ) -> None:
        check_embedder(collection, pipeline.embedder)
        if collection.published_seq == 0 and collection.analyzer != ANALYZER_FINGERPRINT:
            collection = catalog.adopt(collection)  # there is no index yet that the old analyzer made
        self.outcomes = {"added": 0, "updated": 0, "unchanged": 0}
        self.failures: list[Failure] = []
        self.chunks_stored = 0
        self.stopwatch = Stopwatch()
        self._catalog = catalog
        self._collection = collection
        self._pipeline = pipeline
        self._files = files
        self._progress = progress
        self._chunks_embedded = 0
        self._source = ""
        self._pace = _PublishingPace()
        with self.stopwatch.step("indexing"):
            self._publisher = Publisher.open(home, catalog, collection)
        self._writer = DocumentWriter(
            catalog,
            collection,
            pipeline.embedder,
            pipeline.batch_size,
            self.stopwatch,
            self._on_embedded,
            self._on_stored,
        )
        self._known = catalog.known_sources(collection)
        self._failed_before = {failure.source for failure in catalog.failures(collection)}
        self._by_version: dict[str, list[KnownSource]] = {}
        for known in self._known.values():
            self._by_version.setdefault(known.version, []).append(known)
        self._given = {file.source for file in files}

    def go(self) -> None:
        if self._collection.published_seq < self._catalog.last_seq(self._collection.id):
            self._publish()  # what a crash left stored but not published
        for prepared in self._prepared():
            self._source = prepared.file.source
            self._take(prepared)
            self._report()
            if self._pace.due():
                self._publish()
        self._writer.flush()
        self._publish()
        with self.stopwatch.step("indexing"):
            self._publisher.drop_dead_rows()

    def failed(self, failure: Failure, version: str | None) -> None:
        failure = Failure(_storable(failure.source), _storable(failure.reason))
        self.failures.append(failure)
        self._catalog.record_failure(self._collection, failure, version)

    def _prepared(self) -> "Iterator[_Prepared]":
        """The files in order, read and chunked a few ahead: one thread does that while this one embeds and stores."""
        files = iter(self._files)
        ahead: deque[Future[_Prepared]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="reading") as reader:
            try:
                ahead.extend(reader.submit(self._prepare, file) for file in islice(files, _FILES_AHEAD))
                while ahead:
                    prepared = ahead.popleft().result()
                    ahead.extend(reader.submit(self._prepare, file) for file in islice(files, 1))
                    yield prepared
            finally:
                for waiting in ahead:
                    waiting.cancel()

    def _prepare(self, file: SourceFile) -> "_Prepared":
        """One file up to its chunks, or to its failure. Runs on the reading thread, which alone looks documents up."""
        prepared = _Prepared(file)
        try:
            with self.stopwatch.step("parsing"):
                prepared.version, size_bytes = _version_and_size(file)
                prepared.location = _NO_LOCATION if file.is_upload else str(file.path.resolve())
                known, moved = prepared.known, prepared.moved = self._lookup(file, prepared.version)
                if known is not None and self._is_current(known, prepared.version):
                    return prepared
                document = self._pipeline.parse(file.path, file.source)
                _check_storable(document)
            with self.stopwatch.step("chunking"):
                chunks = tuple(self._pipeline.chunker.chunk(document))
            if not chunks:
                raise SourceError("there is no text in it")
        except SourceError as error:
            prepared.failure = Failure(file.source, str(error))
            return prepared
        prepared.new = NewVersion(
            document=document,
            chunks=chunks,
            location=prepared.location,
            size_bytes=size_bytes,
            parser=self._pipeline.parser_fingerprint,
            processing=self._pipeline.processing,
            moved_from=known.source if known is not None and moved else None,
        )
        return prepared

    def _take(self, prepared: "_Prepared") -> None:
        """What became of one file: to the writer, to the failures, or left as it is."""
        if prepared.failure is not None:
            self.failed(prepared.failure, prepared.version)
        elif prepared.new is not None:
            self._writer.add(prepared.new)
        else:
            assert prepared.known is not None
            self._keep(prepared.known, prepared.file.source, prepared.location, prepared.moved)

    def _lookup(self, file: SourceFile, version: str) -> tuple[KnownSource | None, bool]:
        """The document that the file is a version of, and whether it was known by another source.

        It has moved where a document of the same bytes has lost its file; where that is still there, it is a copy.
        """
        if file.source in self._known:
            return self._known[file.source], False
        suffix = PurePosixPath(file.source).suffix
        for known in self._by_version.get(version, []):
            has_file = known.location != _NO_LOCATION
            gone = has_file and known.source not in self._given and _is_gone(Path(known.location))
            # Another suffix may mean another parser.
            if gone and PurePosixPath(known.source).suffix == suffix:
                self._by_version[version].remove(known)
                return known, True
        return None, False

    def _is_current(self, known: KnownSource, version: str) -> bool:
        made_of = (known.version, known.parser, known.processing)
        return made_of == (version, self._pipeline.parser_fingerprint, self._pipeline.processing)

    def _keep(self, known: KnownSource, source: str, location: str, moved: bool) -> None:
        if moved or known.location != location:
            self._catalog.move(known, source, location)
        if source in self._failed_before:
            self._catalog.forget_failure(self._collection, source)
        self.outcomes["updated" if moved else "unchanged"] += 1

    def _on_embedded(self, count: int) -> None:
        self._chunks_embedded += count
        self._report()

    def _on_stored(self, new: NewVersion) -> None:
        replaces = new.moved_from is not None or new.document.source in self._known
        self.outcomes["updated" if replaces else "added"] += 1
        self.chunks_stored += len(new.chunks)
        self._pace.documents += 1
        self._report()

    def _publish(self) -> None:
        started = time.perf_counter()
        with self.stopwatch.step("indexing"):
            self._publisher.publish()
        self._pace.published(time.perf_counter() - started)

    def _report(self) -> None:
        if self._progress is not None:
            done = sum(self.outcomes.values()) + len(self.failures)
            self._progress(IngestProgress(done, len(self._files), self._chunks_embedded, self._source))


def _version_and_size(file: SourceFile) -> tuple[str, int]:
    if _storable(file.source) != file.source:
        raise SourceError("the file's name is not valid UTF-8: rename it")
    try:
        with file.path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest(), content.tell()
    except OSError as error:
        raise SourceError(f"the file cannot be opened: {error.strerror or error}") from error


def _is_gone(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:  # not to be reached just now is not gone
        return False


def _check_storable(document: Document) -> None:
    for text in (document.text, document.title):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise SourceError(f"its text holds half a surrogate pair at character {error.start}") from error


def _storable(text: str) -> str:
    """File names of unknown encoding hold lone surrogates, which no database takes."""
    return text.encode("utf-8", "backslashreplace").decode()

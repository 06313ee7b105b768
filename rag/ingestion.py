"""The ingest flow: files to published chunks. One bad file never stops the others.

What is unchanged, by its bytes and by all that would process them, is not read again. Documents are stored
one transaction each; the index follows in steps and at the end. After a crash the next run goes on where it
was: what is stored is not embedded again, and what is stored but not published is published first.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rag.analysis import ANALYZER_FINGERPRINT
from rag.catalog import DEFAULT_TENANT, Catalog, KnownSource, NewVersion
from rag.documents.discovery import SourceFile
from rag.errors import NotFoundError, StateError
from rag.index.publishing import Publisher, remove_files, remove_orphaned_files
from rag.index.snapshot import check_embedder
from rag.preparing import Kept, Pipeline, Prepared, Preparer, is_gone, location_of, storable
from rag.storing import DocumentWriter, Stopwatch
from rag.syncing import Sync, check_folders, missing
from rag.types import Collection, Document, DocumentInfo, Failure, IngestReport, WithheldRemoval

_PUBLISH_EVERY_DOCUMENTS = 1000
_PUBLISH_EVERY_S = 60.0
_PUBLISH_SHARE = 0.05


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
    sync: Sync | None = None,
    tenant: str = DEFAULT_TENANT,
) -> IngestReport:
    """Bring the files below ``paths`` into the collection, which is made if there is none of that name.

    Documents whose file is missing from a folder stay, unless ``sync`` says otherwise; ``remove`` removes them. With
    ``sync`` the folders are remembered as synced. A file that cannot be read is reported and tried again next time; a
    version of it that was stored earlier stays. Raises ``CatalogError`` while another ingest runs on the collection,
    ``IndexStateError`` if its index needs a `reindex` first.
    """
    started = time.perf_counter()
    with closing(pipeline.parser):
        try:
            collection = catalog.collection(name, tenant)
        except NotFoundError:
            collection = None
        if sync is not None:
            check_folders(paths, [] if collection is None else catalog.synced_folders(collection))
        skipped: list[Failure] = []
        files = pipeline.discover(paths, skipped)
        if collection is None:
            collection = catalog.create_collection(name, pipeline.embedder, tenant)
        with catalog.writer_lock(collection):
            remove_orphaned_files(home, catalog)
            if sync is not None:
                catalog.remember_synced(collection, [path.resolve() for path in paths])
            run = _Run(home, catalog, catalog.refresh(collection), pipeline, files, progress)
            for failure in skipped:
                run.failed(failure, None)
            run.go([] if sync is None else [path.resolve() for path in paths], sync or Sync())
    return IngestReport(
        added=run.outcomes["added"],
        updated=run.outcomes["updated"],
        unchanged=run.outcomes["unchanged"],
        removed=run.outcomes["removed"],
        failed=tuple(run.failures),
        chunks=run.chunks_stored,
        seconds=time.perf_counter() - started,
        seconds_by_step=run.stopwatch.seconds,
        withheld=tuple(run.withheld),
    )


def remove(home: Path, catalog: Catalog, collection: Collection, id_or_source: str) -> DocumentInfo:
    """Remove a document at once from all answers, and from the index files unless an ingest is running.

    The running ingest drops it from them when it publishes next. What is attached to it goes with it.
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
        self.outcomes = {"added": 0, "updated": 0, "unchanged": 0, "removed": 0}
        self.failures: list[Failure] = []
        self.withheld: list[WithheldRemoval] = []
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
        self._attachments = 0
        self._moved: set[str] = set()

    def go(self, synced: Sequence[Path], sync: Sync) -> None:
        """The whole run; documents of the ``synced`` folders that have lost their file are removed."""
        if self._collection.published_seq < self._catalog.last_seq(self._collection.id):
            self._publish()  # what a crash left stored but not published
        preparer = Preparer(self._pipeline, self._known, self._failed_before, self._stored, self.stopwatch)
        with closing(preparer.prepare(self._files)) as all_prepared:
            for prepared in all_prepared:
                self._source = prepared.file.source
                self._take(prepared)
                self._report()
                if self._pace.due():
                    self._publish()
        self._writer.flush()
        self._publish()
        for folder in synced:
            self._remove_missing(folder, sync)
        with self.stopwatch.step("indexing"):
            self._publisher.drop_dead_rows()

    def failed(self, failure: Failure, version: str | None, location: str | None = None) -> None:
        failure = Failure(storable(failure.source), storable(failure.reason))
        self.failures.append(failure)
        self._catalog.record_failure(self._collection, failure, version, location and storable(location))

    def _take(self, prepared: Prepared) -> None:
        """What became of one file: to the writer, to the failures, or left as it is."""
        source = prepared.file.source
        self._moved |= prepared.moved_from
        for failure in prepared.failures:
            self.failed(failure, prepared.version, location_of(prepared.file))
        self._attachments += len(prepared.kept) + len(prepared.new) + len(prepared.failures) - 1
        self._remove(prepared.detached)
        unread = {failure.source for failure in prepared.failures}
        for earlier in self._failed_before - unread:
            if earlier.startswith(f"{source}/") and source not in unread:
                self._catalog.forget_failure(self._collection, earlier)
        for kept in prepared.kept:
            self._keep(kept)
        for new in prepared.new:
            self._writer.add(new)

    def _keep(self, kept: Kept) -> None:
        if kept.moved or kept.known.location != kept.location:
            self._catalog.move(kept.known, kept.source, kept.location)
        if kept.source in self._failed_before:
            self._catalog.forget_failure(self._collection, kept.source)
        self.outcomes["updated" if kept.moved else "unchanged"] += 1

    def _stored(self, known: KnownSource) -> Document:
        return self._catalog.document(self._collection, known.document_id)

    def _remove_missing(self, folder: Path, sync: Sync) -> None:
        given = {file.source: location_of(file) for file in self._files}
        unseen = {failure.source for failure in self.failures}
        found = missing(folder, self._known, given, unseen, self._moved, sync)
        if found.withheld is not None:
            self.withheld.append(found.withheld)
        else:
            self._remove(found.documents)
            self._catalog.forget_failures_gone(self._collection, folder, is_gone)

    def _remove(self, documents: Sequence[KnownSource]) -> None:
        for each in documents:
            with suppress(NotFoundError):  # somebody else removed it meanwhile
                self._catalog.remove_document(self._collection, each.document_id)
                self.outcomes["removed"] += 1

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
            done = sum(self.outcomes[each] for each in ("added", "updated", "unchanged")) + len(self.failures)
            total = len(self._files) + self._attachments
            self._progress(IngestProgress(done, total, self._chunks_embedded, self._source))

"""Bring a collection's indexes up to the catalog and let readers see it.

The order keeps every reader consistent whenever the process dies: a new generation with all that readers
see now and all that they will see next; the switch to it; the publication of the number; and only then,
with a later generation, the rows that no number shows any longer leave.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag.catalog import Catalog
from rag.errors import IndexStateError
from rag.index import generations
from rag.index.dense import METRIC, DenseIndex
from rag.index.generations import Generation, Manifest
from rag.index.lexical import Batch, LexicalIndex
from rag.index.snapshot import check_range, load_current
from rag.types import Collection


class Publisher:
    """The writer's side of one collection's indexes. The collection's writer lock must be held throughout.

    After an exception it must not be used again: make another one from what is on the disk.
    """

    def __init__(self, home: Path, catalog: Catalog, collection: Collection, generation: Generation | None) -> None:
        self._catalog = catalog
        self._collection = collection
        self._folder = generations.collection_folder(home, collection.id)
        self._dense = generation.dense if generation is not None else DenseIndex(collection.dimension)
        self._name = generation.name if generation is not None else None
        self._manifest = generation.manifest if generation is not None else None

    @classmethod
    def open(cls, home: Path, catalog: Catalog, collection: Collection) -> "Publisher":
        """Go on from the current generation; ``IndexStateError`` where it is missing or damaged."""
        collection = catalog.refresh(collection)
        folder = generations.collection_folder(home, collection.id)
        current = generations.current_name(folder)
        generation = load_current(folder, current, collection)
        generations.remove_leftovers(folder, current)
        check_range(generation, collection)
        last_seq = catalog.last_seq(collection.id)
        if generation is not None and generation.manifest.seq > last_seq:
            # An older catalog was put back: it would give the index's row numbers to other chunks.
            raise IndexStateError(
                f"the index of collection {collection.name!r} is ahead of the catalog: it holds changes up to "
                f"{generation.manifest.seq}, the catalog knows {last_seq}; run `domainqa reindex`"
            )
        return cls(home, catalog, collection, generation)

    @property
    def rows(self) -> int:
        return len(self._dense)

    def publish(self) -> None:
        """Publish the catalog's last number. Does nothing where readers see all there is."""
        published = self._catalog.published_seq(self._collection.id)
        seq = self._catalog.last_seq(self._collection.id)
        self._bring_to(published, seq)
        if published != seq:
            self._catalog.publish(self._collection, seq)
            self._catalog.sweep(self._collection, published)

    def drop_dead_rows(self) -> None:
        """Make a generation without the rows that no reader at the published number sees, if there are any."""
        published = self._catalog.published_seq(self._collection.id)
        self._bring_to(published, published)

    def _bring_to(self, oldest: int, seq: int) -> None:
        """Switch to a generation that serves readers at ``oldest`` and at ``seq``, unless this one is just that."""
        wanted = self._catalog.rows_for_index(self._collection.id, {oldest, seq})
        present = self._dense.rows
        added = np.setdiff1d(wanted, present, assume_unique=True)
        removed = np.setdiff1d(present, wanted, assume_unique=True)
        if self._manifest is not None and not len(added) and not len(removed) and self._serves(oldest, seq):
            return
        where = self._folder / generations.new_generation_name(self._folder)
        try:
            self._write(where, added, removed, oldest, seq)
        except OSError as error:
            if generations.current_name(self._folder) != where.name:
                shutil.rmtree(where, ignore_errors=True)
            raise IndexStateError(
                f"the index of collection {self._collection.name!r} cannot be written below {self._folder}: "
                f"{error.strerror or error}; see to the disk, then run the command again: nothing is lost"
            ) from error

    def _write(self, where: Path, added: NDArray[np.int64], removed: NDArray[np.int64], oldest: int, seq: int) -> None:
        previous, name = self._name, where.name
        where.joinpath(generations.LEXICAL_FOLDER).mkdir(parents=True)
        lexical = self._lexical(previous, where)
        self._dense.remove(removed)
        lexical.write(self._batches(added), removed)
        assert len(lexical) == len(self._dense), f"{len(lexical)} lexical rows, {len(self._dense)} dense ones"
        self._dense.save(where / generations.DENSE_FILE)
        manifest = self._new_manifest(where, oldest, seq)
        generations.finish(where, manifest)
        generations.switch(self._folder, name)
        self._name, self._manifest = name, manifest
        generations.remove_old(self._folder, keep={name} | ({previous} if previous is not None else set()))

    def _serves(self, oldest: int, seq: int) -> bool:
        assert self._manifest is not None
        return self._manifest.oldest_seq <= oldest and seq <= self._manifest.seq

    def _lexical(self, previous: str | None, where: Path) -> LexicalIndex:
        folder = where / generations.LEXICAL_FOLDER
        if previous is None:
            return LexicalIndex.create(folder)
        generations.start_from(self._folder / previous / generations.LEXICAL_FOLDER, folder)
        return LexicalIndex.open(folder)

    def _batches(self, rows: NDArray[np.int64]) -> Iterator[Batch]:
        """Add the rows to the dense index batch by batch, and hand their texts on to the lexical one."""
        for batch in self._catalog.index_rows(self._collection, rows):
            self._dense.add(batch.rows, batch.vectors)
            yield batch.rows, batch.texts, batch.languages

    def _new_manifest(self, where: Path, oldest: int, seq: int) -> Manifest:
        collection = self._collection
        known = self._manifest.files if self._manifest is not None else {}
        return Manifest(
            embedder=collection.embedder,
            embedding_model=collection.embedding_model,
            dimension=collection.dimension,
            metric=METRIC,
            normalised=True,
            analyzer=collection.analyzer,
            oldest_seq=oldest,
            seq=seq,
            rows=len(self._dense),
            files=generations.digests(where, {n: d for n, d in known.items() if generations.is_write_once(n)}),
            probe=generations.make_probe(self._dense),
        )


def rebuild(home: Path, catalog: Catalog, collection: Collection) -> int:
    """Make both indexes anew from the catalog's texts and vectors, and publish; the number of rows.

    Nothing is parsed or embedded, and nothing that is on the disk is trusted. Needs the writer lock.
    """
    collection = catalog.refresh(collection)
    try:
        Publisher.open(home, catalog, collection)
    except IndexStateError:
        # No reader can read now, so none has to be kept consistent; and the chunks it would still need may
        # have no vectors, if it is because of another embedder.
        catalog.publish(collection, catalog.last_seq(collection.id))
    publisher = Publisher(home, catalog, collection, None)
    publisher.publish()
    publisher.drop_dead_rows()
    return publisher.rows


def remove_files(home: Path, collection: Collection) -> None:
    """Remove a deleted collection's indexes. Readers that hold them open go on reading what they hold."""
    folder = generations.collection_folder(home, collection.id)
    if folder.exists():
        shutil.rmtree(folder)


def remove_orphaned_files(home: Path, catalog: Catalog) -> None:
    """Remove the indexes of collections that are gone: a process was killed while it deleted one."""
    folders = generations.collection_folders(home)  # before the catalog is asked: a new one's row comes first
    ids = {each.id for each in catalog.all_collections()}
    for number, folder in folders.items():
        if number not in ids:
            shutil.rmtree(folder)

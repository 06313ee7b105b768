"""What readers hold: the indexes of a collection and the sequence number to read them at.

The indexes may hold more rows than are visible at that number; every hit is checked against the catalog.
"""

from collections.abc import Collection as AnyOf
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from rag.catalog import Catalog
from rag.errors import IndexStateError
from rag.index.dense import DenseIndex
from rag.index.generations import Generation, collection_folder, current_name, load_generation
from rag.index.lexical import LexicalIndex
from rag.interfaces import Embedder
from rag.types import Collection

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Loaded indexes, to be read at ``seq``. ``languages`` are those of the documents, for analysing queries."""

    seq: int
    languages: AnyOf[str | None]
    dense: DenseIndex
    lexical: LexicalIndex


class IndexReader:
    """The newest published snapshot of one collection, for readers that live long. Thread-safe.

    With ``embedder``, a collection made by another one is refused: its vectors mean something else.
    """

    def __init__(self, home: Path, catalog: Catalog, collection: Collection, embedder: Embedder | None = None) -> None:
        self._catalog = catalog
        self._collection = collection
        self._embedder = embedder
        self._folder = collection_folder(home, collection.id)
        self._lock = Lock()
        self._loaded: _Loaded | None = None

    def current(self) -> Snapshot:
        """The snapshot at the number published now. Looks at the catalog and one small file, and rarely loads.

        Raises ``IndexStateError`` saying what is missing, damaged or made by another embedder or analyzer,
        and ``NotFoundError`` once the collection is deleted.
        """
        loaded = self._loaded
        state = self._state()
        if loaded is None or loaded.state != state:
            with self._lock:
                loaded = self._loaded
                state = self._state()
                if loaded is None or loaded.state != state:
                    loaded = self._loaded = self._load(loaded)
        return loaded.snapshot

    def _state(self) -> tuple[Collection, str | None]:
        return self._catalog.refresh(self._collection), current_name(self._folder)

    def _load(self, loaded: "_Loaded | None") -> "_Loaded":
        for attempt in range(1, _ATTEMPTS + 1):
            collection, name = self._state()
            check_embedder(collection, self._embedder)
            try:
                if loaded is not None and loaded.state[1] == name and _same_origin(loaded.state[0], collection):
                    generation = loaded.generation
                else:
                    generation = load_current(self._folder, name, collection)
                check_range(generation, collection)
            except IndexStateError:
                # A writer may have switched and cleaned up between our two looks.
                if attempt == _ATTEMPTS or self._state() == (collection, name):
                    raise
                continue
            dense, lexical = (
                (generation.dense, generation.lexical)
                if generation is not None
                else (DenseIndex(collection.dimension), LexicalIndex.create(None))
            )
            languages = frozenset(self._catalog.languages(collection.id))
            snapshot = Snapshot(collection.published_seq, languages, dense, lexical)
            return _Loaded((collection, name), generation, snapshot)
        raise AssertionError("the last attempt returns or raises")


def check_embedder(collection: Collection, embedder: Embedder | None) -> None:
    """``IndexStateError`` where the collection's vectors are another embedder's."""
    if embedder is None or (collection.embedder, collection.dimension) == (embedder.fingerprint, embedder.dimension):
        return
    raise IndexStateError(
        f"collection {collection.name!r} was built with {collection.embedding_model} ({collection.dimension} "
        f"dimensions, {collection.embedder}), the configuration asks for {embedder.model} ({embedder.dimension} "
        f"dimensions, {embedder.fingerprint}); run `domainqa reindex` or set embedding.model"
    )


def load_current(folder: Path, name: str | None, collection: Collection) -> Generation | None:
    """The generation in use, ``None`` where nothing was ever published; ``IndexStateError`` for all else."""
    if name is not None:
        return load_generation(folder, name, collection)
    if collection.published_seq == 0:
        return None
    raise IndexStateError(
        f"the index of collection {collection.name!r} is missing: {folder} names no snapshot; run `domainqa reindex`"
    )


@dataclass(frozen=True, slots=True)
class _Loaded:
    state: tuple[Collection, str | None]
    generation: Generation | None
    snapshot: Snapshot


def _same_origin(one: Collection, other: Collection) -> bool:
    return (one.embedder, one.dimension, one.analyzer) == (other.embedder, other.dimension, other.analyzer)


def check_range(generation: Generation | None, collection: Collection) -> None:
    """``IndexStateError`` where the generation does not serve readers at the published number."""
    if generation is None:
        return
    oldest, newest = generation.manifest.oldest_seq, generation.manifest.seq
    if not oldest <= collection.published_seq <= newest:
        relation = "behind" if newest < collection.published_seq else "ahead of"
        raise IndexStateError(
            f"the index of collection {collection.name!r} is {relation} the catalog: it serves the changes "
            f"{oldest} to {newest}, the catalog has published {collection.published_seq}; run `domainqa reindex`"
        )

"""Sources to training examples: one reader a kind. Ids are unique over all sources, or the fault is named."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from finetune.examples import TrainingExample, read_examples
from finetune.sources.alpaca import read_alpaca
from finetune.sources.chat import read_chat
from finetune.sources.closed_book import read_closed_book
from finetune.sources.collection import read_collection
from finetune.sources.spec import Kind, SourceSpec
from finetune.sources.text import read_text
from rag.catalog import Catalog
from rag.errors import UsageError

OpenCatalog = Callable[[], Catalog]

_FILES: Mapping[Kind, Callable[[SourceSpec], Iterator[TrainingExample]]] = {
    "alpaca": read_alpaca,
    "chat": read_chat,
    "facts": read_closed_book,
    "text": read_text,
}


def read_sources(specs: Sequence[SourceSpec], open_catalog: OpenCatalog) -> Iterator[TrainingExample]:
    """The examples source by source. ``open_catalog`` is called for a collection alone."""
    seen: set[str] = set()
    for spec in specs:
        for example in _read(spec, open_catalog):
            if example.id in seen:
                raise UsageError(f"the source {spec.label!r}: the id {example.id!r} stands in another source too")
            seen.add(example.id)
            yield example


def _read(spec: SourceSpec, open_catalog: OpenCatalog) -> Iterator[TrainingExample]:
    if spec.kind == "collection":
        return read_collection(spec, open_catalog())
    if spec.kind == "hub":
        return _hub(spec)
    if not Path(spec.where).exists():
        raise UsageError(f"the source {spec.label!r}: there is no file or folder {spec.where}")
    if spec.kind == "examples":
        # They say themselves what they are; nothing that the specification says is put over it.
        return islice(read_examples(Path(spec.where)), spec.limit)
    return _FILES[spec.kind](spec)


def _hub(spec: SourceSpec) -> Iterator[TrainingExample]:
    try:
        from finetune.sources.hub import read_hub
    except ModuleNotFoundError as error:
        if error.name != "datasets":
            raise
        raise UsageError("reading a data set needs the package datasets: pip install 'domainqa[finetune]'") from error
    return read_hub(spec)

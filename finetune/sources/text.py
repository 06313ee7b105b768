"""Raw text for pretraining: a file or a folder of ``.txt`` and ``.md``, or the text column of a file of records."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from finetune.examples import Provenance, TrainingExample
from finetune.sources.records import Record, read_records, record_id
from finetune.sources.spec import SourceSpec
from rag.documents.decoding import decode
from rag.errors import SourceError, UsageError

_SUFFIXES = (".txt", ".md", ".text")


def read_text(spec: SourceSpec) -> Iterator[TrainingExample]:
    """A file is one example and its own group; a record is one, grouped by the column that the source names."""
    where = Path(spec.where)
    if where.is_dir():
        files = sorted(path for path in where.rglob("*") if path.is_file() and path.suffix.lower() in _SUFFIXES)
        if not files:
            raise UsageError(f"{where} holds no text file; their names end in {', '.join(_SUFFIXES)}")
        return (_of_file(path, path.relative_to(where).as_posix(), spec) for path in files[: spec.limit])
    if where.suffix.lower() in _SUFFIXES:
        return iter([_of_file(where, where.name, spec)])
    return text_examples(read_records(where), spec)


def text_examples(records: Iterable[Record], spec: SourceSpec) -> Iterator[TrainingExample]:
    for number, record in enumerate(islice(records, spec.limit), start=1):
        text = record.text(spec.columns.text)
        own = record.optional_text(spec.columns.id) or record_id(str(number), text)
        group = record.text(spec.group) if spec.group else own
        yield _example(f"{spec.label}-{own}", text, group, spec, Provenance())


def _of_file(path: Path, name: str, spec: SourceSpec) -> TrainingExample:
    try:
        text = decode(path.read_bytes())
    except (OSError, SourceError) as error:
        raise UsageError(f"{path} cannot be read as text: {error}") from error
    return _example(f"{spec.label}-{name}", text, name, spec, Provenance(document=name, span=(0, len(text))))


def _example(example_id: str, text: str, group: str, spec: SourceSpec, provenance: Provenance) -> TrainingExample:
    return TrainingExample(
        id=example_id,
        text=text,
        source=spec.label,
        family=spec.family,
        group=f"{spec.label}/{group}",
        weight=spec.weight,
        provenance=provenance,
    )

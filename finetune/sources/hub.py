"""Data sets by their id on the Hugging Face hub, or as local files in formats that ``datasets`` reads, such as Parquet.

The one file that imports ``datasets``; its rows go the way of records from files.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets

from finetune.examples import TrainingExample
from finetune.sources import alpaca, chat
from finetune.sources.making import make_examples
from finetune.sources.records import Record
from finetune.sources.spec import SourceSpec
from finetune.sources.text import text_examples
from rag.errors import UsageError

_FORMATS = {".parquet": "parquet", ".arrow": "arrow", ".json": "json", ".jsonl": "json", ".csv": "csv", ".gz": "json"}


def read_hub(spec: SourceSpec) -> Iterator[TrainingExample]:
    """Rows as they stream in: nothing is fetched beyond what is read."""
    records = _records(spec)
    if spec.form == "text":
        return text_examples(records, spec)
    return make_examples(records, spec, chat.messages_of if spec.form == "chat" else alpaca.messages_of)


def _records(spec: SourceSpec) -> Iterator[Record]:
    try:
        for number, row in enumerate(_opened(spec), start=1):
            yield Record(row, f"{spec.where}, row {number}")
    # The hub's client raises what its many parts raise: the network's errors, the formats', its own.
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        first = str(error).strip().splitlines()
        raise UsageError(
            f"the data set {spec.where} cannot be read: {first[0] if first else type(error).__name__}"
        ) from error


def _opened(spec: SourceSpec) -> Any:
    path = Path(spec.where)
    if not path.exists():
        return datasets.load_dataset(spec.where, spec.subset, split=spec.split, streaming=True)
    if path.is_dir():
        return datasets.load_dataset(str(path), split=spec.split, streaming=True)
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"{path}: files of a data set end in {', '.join(_FORMATS)}")
    return datasets.load_dataset(form, data_files=str(path), split="train", streaming=True)

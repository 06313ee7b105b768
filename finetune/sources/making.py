"""What every kind of source does with a record: id, group, weight and provenance of the example made from it."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from finetune.examples import ExampleMessage, Provenance, TrainingExample
from finetune.sources.records import Record, record_id
from finetune.sources.spec import SourceSpec

ToMessages = Callable[[Record, SourceSpec], Sequence[ExampleMessage]]


def make_examples(records: Iterable[Record], spec: SourceSpec, to_messages: ToMessages) -> Iterator[TrainingExample]:
    """One example a record, at most ``spec.limit``. Records that give the same id after all get a number."""
    seen: dict[str, int] = {}
    for record in islice(records, spec.limit):
        messages = tuple(_without(spec, message) for message in to_messages(record, spec))
        own = record.optional_text(spec.columns.id)
        example_id = f"{spec.label}-{own}" if own else record_id(spec.label, *(each.content for each in messages))
        seen[example_id] = seen.get(example_id, 0) + 1
        if seen[example_id] > 1:
            example_id = f"{example_id}-{seen[example_id]}"
        group = record.text(spec.group) if spec.group else example_id
        fact_key = record.optional_text(spec.columns.fact_key) or None
        yield TrainingExample(
            id=example_id,
            messages=messages,
            source=spec.label,
            family=spec.family,
            group=f"{spec.label}/{group}",
            weight=spec.weight,
            provenance=Provenance(fact_key=fact_key),
        )


def _without(spec: SourceSpec, message: ExampleMessage) -> ExampleMessage:
    if spec.remove is None or message.role != "assistant":
        return message
    return ExampleMessage(role=message.role, content=re.sub(spec.remove, "", message.content))

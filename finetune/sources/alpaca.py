"""Alpaca's columns, instruction, input and output, under whatever names; and multiple choice, which adds choices.

The layout is that of the Alpaca data set (R. Taori and others, Stanford Alpaca, 2023) without its preamble: a chat
model's template says who speaks.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from finetune.examples import ExampleMessage, TrainingExample
from finetune.sources.making import make_examples
from finetune.sources.records import Record, read_records
from finetune.sources.spec import SourceSpec
from rag.errors import UsageError


def read_alpaca(spec: SourceSpec) -> Iterator[TrainingExample]:
    return make_examples(read_records(Path(spec.where)), spec, messages_of)


def messages_of(record: Record, spec: SourceSpec) -> Sequence[ExampleMessage]:
    columns = spec.columns
    system, given = record.optional_text(columns.system).strip(), record.optional_text(columns.input).strip()
    asked, answer = record.text(columns.instruction).strip(), record.text(columns.output).strip()
    if given:
        asked = f"{asked}\n\n{given}"
    if columns.choices is not None:
        choices = _choices(record, columns.choices)
        if answer not in choices:
            raise UsageError(f"{record.place}: the right answer {answer!r} is none of {', '.join(choices)}")
        asked = "\n".join([asked, *(f"{label}. {text}" for label, text in choices.items())])
        answer = f"{answer}. {choices[answer]}"
    turns = [ExampleMessage(role="system", content=system)] if system else []
    return [*turns, ExampleMessage(role="user", content=asked), ExampleMessage(role="assistant", content=answer)]


def _choices(record: Record, path: str) -> dict[str, str]:
    """Label to text; from a list of both, or from two lists side by side, as the hub's copies have it."""
    found = record.find(path)
    if isinstance(found, dict) and isinstance(found.get("label"), list) and isinstance(found.get("text"), list):
        pairs = list(zip(found["label"], found["text"], strict=False))
    elif isinstance(found, list) and all(isinstance(each, dict) and {"label", "text"} <= set(each) for each in found):
        pairs = [(each["label"], each["text"]) for each in found]
    else:
        raise UsageError(f"{record.place}: {path!r} is no list of choices with label and text")
    return {str(label): str(text) for label, text in pairs}

"""Chat logs: a list of turns a record, as ``role`` and ``content`` or as ShareGPT's ``from`` and ``value``."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from finetune.examples import ExampleMessage, TrainingExample
from finetune.sources.making import make_examples
from finetune.sources.records import Record, read_records
from finetune.sources.spec import SourceSpec
from rag.errors import UsageError

_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


def read_chat(spec: SourceSpec) -> Iterator[TrainingExample]:
    return make_examples(read_records(Path(spec.where)), spec, messages_of)


def messages_of(record: Record, spec: SourceSpec) -> Sequence[ExampleMessage]:
    """Turns after the assistant's last one are left out: nothing is learnt from them."""
    turns = record.find(spec.columns.messages)
    if not isinstance(turns, list):
        raise UsageError(
            f"{record.place}: {spec.columns.messages!r} is no list of turns; it has {', '.join(record.values)}"
        )
    messages = [_message(turn, record) for turn in turns]
    while messages and messages[-1].role != "assistant":
        messages.pop()
    if not messages:
        raise UsageError(f"{record.place}: there is no turn of the assistant's")
    return messages


def _message(turn: object, record: Record) -> ExampleMessage:
    if isinstance(turn, dict):
        role = _ROLES.get(str(turn.get("role", turn.get("from", ""))).lower())
        content = turn.get("content", turn.get("value"))
        if role is not None and isinstance(content, str):
            return ExampleMessage(role=role, content=content)
    raise UsageError(f"{record.place}: a turn has a role of {', '.join(_ROLES)} and a text: {str(turn)[:80]}")

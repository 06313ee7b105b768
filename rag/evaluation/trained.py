"""What a model was trained on, as an audit reads it: JSONL of examples, or plain text for pretraining.

An example is ``messages``, raw ``text``, or Alpaca's columns; of its provenance only the fact counts. Knows nothing of
how examples are made.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rag.errors import UsageError

_PLAIN = {".txt", ".md"}
_PASSAGES, _QUESTION = "<passage ", "\n\nQuestion: "
"""As ``rag.prompting`` writes a question with its passages."""


@dataclass(frozen=True, slots=True)
class TrainedText:
    """``asked`` are a user's questions without their passages, ``texts`` all that a loss or an attention saw."""

    id: str
    asked: tuple[str, ...]
    texts: tuple[str, ...]
    fact_key: str = ""


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Message(_Lenient):
    role: str
    content: str


class _Provenance(_Lenient):
    fact_key: str | None = None


class _Line(_Lenient):
    id: str | int | None = None
    messages: tuple[_Message, ...] = ()
    text: str | None = None
    instruction: str | None = None
    input: str = ""
    output: str = ""
    provenance: _Provenance = _Provenance()


def read_trained(path: Path) -> Iterator[TrainedText]:
    """Raises ``UsageError`` naming file, line and fault. A ``.txt`` or ``.md`` file is one text."""
    try:
        if path.suffix in _PLAIN:
            yield TrainedText(path.name, (), (path.read_text("utf-8-sig"),))
            return
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _trained(path, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as training data: {error}") from error


def _trained(path: Path, number: int, line: str) -> TrainedText:
    try:
        read = _Line.model_validate(json.loads(line))
    except (json.JSONDecodeError, ValidationError) as error:
        raise UsageError(f"{path}, line {number}: no training example: {str(error).splitlines()[0]}") from error
    name = str(read.id or f"line {number}")
    fact_key = read.provenance.fact_key or ""
    if read.messages:
        asked = tuple(question_of(message.content) for message in read.messages if message.role == "user")
        texts = tuple(message.content for message in read.messages if message.role != "system")
        return TrainedText(name, asked, texts, fact_key)
    if read.instruction is not None:
        question = f"{read.instruction}\n{read.input}".strip()
        return TrainedText(name, (question,), (question, read.output), fact_key)
    if read.text is not None:
        return TrainedText(name, (), (read.text,), fact_key)
    raise UsageError(f"{path}, line {number}: an example has messages, text, or instruction and output")


def question_of(content: str) -> str:
    """The question of a user's message, its passages aside; all of it where there are none."""
    _, separator, question = content.rpartition(_QUESTION)
    return question if separator and content.startswith(_PASSAGES) else content

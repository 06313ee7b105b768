"""Self-generated replay: the base model's own answers to general prompts, where no general data may be had.

What a model says before training is what it is to go on saying; learning it beside the domain's data holds it there.
Greedy unless told otherwise, through a journal: a run that was stopped goes on where it was.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finetune.cleaning.repetition import repetition
from finetune.examples import ExampleMessage, TrainingExample
from rag.errors import UsageError
from rag.generation.batch import BatchProgress, generate_batch
from rag.generation.journal import BatchRequest, BatchResult
from rag.interfaces import ChatModel
from rag.types import Message, Sampling

SYSTEM = "You are a helpful assistant."
"""Said out loud: many chat templates put in a system message of their own otherwise."""


class ReplayPrompt(BaseModel):
    """One line of a file of prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1)
    family: str
    """The kind of task, such as ``letters``."""
    prompt: str = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Replayed:
    """The examples in the prompts' order, and how many answers were left out by reason."""

    examples: tuple[TrainingExample, ...]
    rejected: Mapping[str, int]


def read_prompts(path: Path) -> list[ReplayPrompt]:
    """Raises ``UsageError`` naming file, line and fault; an id or a prompt that stands twice is one."""
    prompts: list[ReplayPrompt] = []
    seen: set[str] = set()
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as prompts: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            prompt = ReplayPrompt.model_validate(json.loads(line))
        except (json.JSONDecodeError, ValidationError) as error:
            raise UsageError(f"{path}, line {number}: {str(error).splitlines()[0]}") from error
        for value in (prompt.id, prompt.prompt):
            if value in seen:
                raise UsageError(f"{path}, line {number}: {value[:60]!r} stands twice")
            seen.add(value)
        prompts.append(prompt)
    if not prompts:
        raise UsageError(f"{path} holds no prompts")
    return prompts


async def replay(
    model: ChatModel,
    prompts: Sequence[ReplayPrompt],
    sampling: Sampling,
    journal: Path,
    *,
    concurrency: int = 8,
    progress: Callable[[BatchProgress], None] | None = None,
) -> Replayed:
    """One example a prompt; answers that were cut off, are empty or run in circles are left out and counted.

    An answer cut at the limit teaches not to stop.
    """
    requests = [BatchRequest(each.id, _messages(each), sampling) for each in prompts]
    results = await generate_batch(model, requests, journal, concurrency, progress=progress)
    rejected: Counter[str] = Counter()
    examples = []
    for prompt, result in zip(prompts, results, strict=True):
        fault = _fault(result)
        if fault is not None:
            rejected[fault] += 1
            continue
        messages = (*_messages(prompt), Message("assistant", result.text.strip()))
        examples.append(
            TrainingExample(
                id=f"replay-{prompt.id}",
                messages=tuple(ExampleMessage(role=each.role, content=each.content) for each in messages),
                source="replay",
                family="general",
                group=f"replay/{prompt.id}",
            )
        )
    return Replayed(tuple(examples), dict(sorted(rejected.items())))


def _messages(prompt: ReplayPrompt) -> tuple[Message, ...]:
    return Message("system", SYSTEM), Message("user", prompt.prompt)


def _fault(result: BatchResult) -> str | None:
    if not result.ok:
        return "the request failed"
    if not result.text.strip():
        return "empty"
    if result.finish_reason != "stop":
        return "cut off"
    return "runs in circles" if repetition(result.text) is not None else None

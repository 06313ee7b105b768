"""Examples as token ids, with the tokens that are learnt: what the assistant says, and where it stops.

A dialogue is rendered by the model's own chat template, so training sees the tokens that the server sends. What the
assistant says is found in the rendered text, between the prompt that asks for it and the end of its turn; nothing is
known of any particular template. Lengths, never pad tokens, tell where an example ends: many tokenizers pad with their
end token. Knows nothing of batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2.exceptions import TemplateError

from finetune.examples import ExampleMessage, Family, TrainingExample
from rag.errors import DoesNotFitError, UsageError

if TYPE_CHECKING:  # too heavy for those who only need the type
    from transformers import PreTrainedTokenizerFast

MASKED = -100
"""The label of a token that is not learnt; torch's cross entropy ignores it by this number."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as the model reads it. ``labels[i]`` is ``input_ids[i]`` where that token is learnt."""

    id: str
    source: str
    family: Family
    group: str
    weight: float
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def supervised_tokens(self) -> int:
        return sum(label != MASKED for label in self.labels)


class Encoder:
    """Encodes for one model. Examples longer than ``max_tokens`` are refused, never cut."""

    def __init__(self, tokenizer: "PreTrainedTokenizerFast", *, max_tokens: int) -> None:
        if not tokenizer.is_fast:
            raise UsageError(
                f"{tokenizer.name_or_path} has no fast tokenizer, which tells where tokens stand in a text"
            )
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._max_tokens = max_tokens
        self._special = {
            token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special
        }
        self._special_ids = frozenset(self._special.values())

    def encode(self, example: TrainingExample) -> Encoded:
        """Raises ``DoesNotFitError`` or, where there is nothing to learn or no telling what, ``UsageError``."""
        ids, labels = self._whole(example)
        if len(ids) > self._max_tokens:
            raise DoesNotFitError(
                f"the example {example.id!r} of {example.source} has {len(ids)} tokens, but at most {self._max_tokens} "
                "are allowed; shorten it, or raise the limit"
            )
        return _encoded(example, example.id, ids, labels)

    def pieces(self, example: TrainingExample) -> tuple[Encoded, ...]:
        """Raw text in pieces of at most ``max_tokens``, all of it but a last lone token; a dialogue is never cut.

        Several pieces have the example's id with ``#`` and their number.
        """
        if example.text is None:
            return (self.encode(example),)
        ids, labels = self._whole(example)
        starts = [start for start in range(0, len(ids), self._max_tokens) if start == 0 or start + 1 < len(ids)]
        return tuple(
            _encoded(
                example,
                f"{example.id}#{number}" if len(starts) > 1 else example.id,
                ids[start : start + self._max_tokens],
                labels[start : start + self._max_tokens],
            )
            for number, start in enumerate(starts)
        )

    def _whole(self, example: TrainingExample) -> tuple[list[int], list[int]]:
        try:
            return self._raw(example.text) if example.text is not None else self._dialogue(example.messages)
        except _UnlearnableError as error:
            raise UsageError(f"the example {example.id!r} of {example.source} cannot be encoded: {error}") from error

    def _raw(self, text: str) -> tuple[list[int], list[int]]:
        """Every token is learnt, and that the text ends."""
        self._refuse_special(text)
        ids = list(self._backend.encode(text, add_special_tokens=True).ids)
        end = self._tokenizer.eos_token_id
        if end is not None and ids[-1:] != [end]:
            ids.append(end)
        return ids, list(ids)

    def _dialogue(self, messages: Sequence[ExampleMessage]) -> tuple[list[int], list[int]]:
        for message in messages:
            self._refuse_special(message.content)
        whole = self._render(messages, prompt=False)
        encoding = self._backend.encode(whole, add_special_tokens=False)
        ids, offsets = encoding.ids, encoding.offsets
        labels = [MASKED] * len(ids)
        for number, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self._render(messages[:number], prompt=True) if number else ""
            after = self._render(messages[: number + 1], prompt=False)
            if not (whole.startswith(after) and after.startswith(before)):
                raise _UnlearnableError(
                    f"the chat template renders message {number + 1} otherwise once it is followed by others, or asked "
                    "for; divide the dialogue into examples with one assistant message each"
                )
            first = self._tokens_before(before, ids, number)
            last = first
            while last < len(ids) and offsets[last][0] < len(after):
                last += 1
            learnt = range(first, self._end_of_turn(ids, first, last))
            labels[learnt.start : learnt.stop] = ids[learnt.start : learnt.stop]
        return ids, labels

    def _tokens_before(self, text: str, ids: Sequence[int], number: int) -> int:
        """How many tokens the prompt has; they must be those that the server would send."""
        prompt = self._backend.encode(text, add_special_tokens=False).ids
        if list(ids[: len(prompt)]) != list(prompt):
            raise _UnlearnableError(
                f"message {number + 1} begins with characters that melt into one token with the prompt; "
                "strip white space from its ends"
            )
        return len(prompt)

    def _end_of_turn(self, ids: Sequence[int], first: int, last: int) -> int:
        """After the special token that ends the turn; a line break that a template puts behind it is not learnt."""
        for position in range(last - 1, first - 1, -1):
            if ids[position] in self._special_ids:
                return position + 1
        return last

    def _render(self, messages: Sequence[ExampleMessage], *, prompt: bool) -> str:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompt)
        except (TemplateError, ValueError) as error:
            raise _UnlearnableError(f"the chat template refuses it: {error}") from error
        assert isinstance(text, str)
        return text

    def _refuse_special(self, text: str) -> None:
        for token in self._special:
            if token in text:
                raise _UnlearnableError(f"its text holds the special token {token}, which would be read as one")


def _encoded(example: TrainingExample, id_: str, ids: Sequence[int], labels: Sequence[int]) -> Encoded:
    # Nothing stands before the first token that it could be predicted from.
    learnt = (MASKED, *labels[1:])
    if all(label == MASKED for label in learnt):
        raise UsageError(f"the example {id_!r} of {example.source} has no token to learn; remove it")
    return Encoded(id_, example.source, example.family, example.group, example.weight, tuple(ids), learnt)


class _UnlearnableError(Exception):
    """Why, without the example's name."""

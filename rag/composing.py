"""What the model is shown: evidence that fits its window, and the prompt made of it. Calls no model, only its counter.

Where the window is too short for the earlier turns and the new evidence, the oldest turn's passages go first, all of
them at once: the turn is then rendered without them, and every later turn keeps its bytes, so that as much as can be
of the engine's prefix cache still holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from rag import prompting
from rag.config import Settings
from rag.errors import DoesNotFitError
from rag.interfaces import PromptReader
from rag.packing import Packed, pack, pack_documents
from rag.question import Run
from rag.types import Dropped, Evidence, Message, Prompt, Turn

UNBOUNDED = 1 << 30
_FRAME_TOKENS = 16
"""Evidence is counted passage by passage; joined in a template it may cost a few tokens more."""


@dataclass(frozen=True, slots=True)
class Composed:
    """``history`` is the conversation as it fits, ``shown`` the passages of it that are still to be seen and cited."""

    packed: Packed
    history: tuple[Turn | Message, ...]
    shown: tuple[Evidence, ...]
    limit: int | None


def everything(run: Run, beyond: Sequence[Evidence] = ()) -> Packed:
    """Every hit as evidence: nothing is sent to a model, so nothing has to fit.

    ``beyond`` is evidence that this question has already; it is not given again, and numbers go on after it.
    """
    return pack(
        run.hits,
        budget_tokens=UNBOUNDED,
        counter=_FreeCounter(),
        read_span=run.reader.span,
        shown=(*run.shown, *beyond),
        first=max([run.next_number, *(item.number + 1 for item in beyond)]),
    )


def compose(run: Run, model: PromptReader, settings: Settings, max_tokens: int) -> Composed:
    """Evidence within the model's window beside rules, history, question and ``max_tokens`` of answer.

    Raises ``DoesNotFitError`` where nothing of it fits, or the history is too long without any passages.
    """
    histories = list(_shorter_histories(run.question.history))
    room_at_most = _room(run, histories[-1], model, max_tokens)
    packing = settings.packing
    limit = room_at_most
    if run.strategy != "base":
        cap = packing.max_stuffed_tokens if run.strategy == "stuffed" else packing.max_evidence_tokens
        limit = min(room_at_most, cap or room_at_most)
    for history in histories:
        last = history is histories[-1]
        try:
            room = room_at_most if last else _room(run, history, model, max_tokens)
        except DoesNotFitError:
            continue
        if run.strategy == "base":
            return Composed(Packed((), (), 0), history, (), None)
        shown = _still_shown(run, history)
        packed = _pack(run, model, settings, shown, limit)
        if packed.tokens <= room or last:
            break
    if not packed.evidence and not shown and packed.dropped and all(item.reason == "budget" for item in packed.dropped):
        raise DoesNotFitError(_nothing_fits(run, limit))
    gone = [
        Dropped(chunk_id, item.source, "window")
        for item in run.shown
        if item not in shown
        for chunk_id in (item.chunk_ids or (item.document_id,))
    ]
    return Composed(replace(packed, dropped=(*gone, *packed.dropped)), history, shown, limit)


def prompt_of(run: Run, composed: Composed, model: PromptReader, settings: Settings, max_tokens: int) -> Prompt:
    """The prompt, counted. Raises ``DoesNotFitError`` where it is too long after all."""
    question, packed = run.question, composed.packed
    messages = prompting.build(
        question.text,
        packed.evidence,
        composed.history,
        grounded=run.strategy != "base",
        instructions=question.instructions,
    )
    tokens = model.tokens.count_messages(messages)
    limit = model.window - max_tokens
    if tokens > limit:
        raise DoesNotFitError(f"the prompt has {tokens} tokens and the model's window leaves {limit}; shorten it")
    packer = f"{run.strategy}/{settings.packing.order}/{settings.packing.neighbours}"
    return Prompt(messages, packed.evidence, packed.dropped, tokens, prompting.fingerprint(model.name, packer))


def _pack(run: Run, model: PromptReader, settings: Settings, shown: Sequence[Evidence], limit: int) -> Packed:
    if run.strategy == "stuffed":
        scores: dict[tuple[str, str], float] = {}
        for hit in run.hits:
            scores.setdefault((hit.chunk.document_id, hit.chunk.version), hit.score)
        documents = [(key[0], run.reader.document(*key), score) for key, score in scores.items()]
        return pack_documents(documents, budget_tokens=limit, counter=model.tokens, shown=shown, first=run.next_number)
    assert run.collection is not None
    return pack(
        run.hits,
        budget_tokens=limit,
        counter=model.tokens,
        read_span=run.reader.span,
        order=settings.packing.order,
        shown=shown,
        first=run.next_number,
        beside=partial(run.reader.beside, run.collection.id) if settings.packing.neighbours else None,
        beside_share=settings.packing.neighbours,
    )


def _shorter_histories(history: Sequence[Turn | Message]) -> Sequence[tuple[Turn | Message, ...]]:
    """The history, then without the passages of its first turn, of its first two, ..."""
    histories = [tuple(history)]
    for at, item in enumerate(history):
        if isinstance(item, Turn) and item.evidence:
            bare = Turn(item.question, prompting.user_content(item.question, ()), item.assistant)
            histories.append((*histories[-1][:at], bare, *history[at + 1 :]))
    return histories


def _still_shown(run: Run, history: Sequence[Turn | Message]) -> tuple[Evidence, ...]:
    kept = {item for turn in history if isinstance(turn, Turn) for item in turn.evidence}
    return tuple(item for item in run.shown if item in kept)


def _room(run: Run, history: Sequence[Turn | Message], model: PromptReader, max_tokens: int) -> int:
    """Tokens left for evidence beside the rules, the history, the question and the answer."""
    question = run.question
    bare = prompting.build(
        question.text, (), history, grounded=run.strategy != "base", instructions=question.instructions
    )
    frame = 0 if run.strategy == "base" else _FRAME_TOKENS
    used = model.tokens.count_messages(bare) + max_tokens + frame
    if used > model.window:
        raise DoesNotFitError(
            f"question, history and instructions leave no room: {used} of the model's {model.window} tokens "
            "are taken, the answer's included; shorten them"
        )
    return model.window - used


def _nothing_fits(run: Run, limit: int) -> str:
    if run.strategy == "stuffed":
        documents = len({hit.chunk.document_id for hit in run.hits})
        return (
            f"none of the {documents} nearest documents fits the {limit} tokens there are for "
            "whole documents; use the rag strategy or raise packing.max_stuffed_tokens"
        )
    return (
        f"no passage fits the {limit} tokens there are for evidence; "
        "shorten the question or its history, or raise packing.max_evidence_tokens"
    )


class _FreeCounter:
    """For a flow without a model: nothing costs anything."""

    def count_text(self, text: str) -> int:
        return 0

    def count_messages(self, messages: Sequence[Message]) -> int:
        return 0

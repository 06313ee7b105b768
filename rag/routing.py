"""The router: the retrieved passages answer, and where they don't say, whole documents are read.

Self-Route of Li et al. 2024 (arXiv 2407.16833), with one rule more: the second answer counts only where it is the
model's own and its documents support it, for the passages have said already that there may be none. Works on the answer
flow's events alone.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace

from rag import abstaining
from rag.errors import DoesNotFitError
from rag.question import Question
from rag.types import Answer, AnswerEvent, Finished, TextDelta, Usage

ROUTER = "router"

Stream = Callable[[Question], AsyncGenerator[AnswerEvent, None]]


async def routed(question: Question, adapter: str, stream: Stream) -> AsyncGenerator[AnswerEvent, None]:
    """The events of the answer that holds. Nothing is yielded of the other one, nor of either before that is known."""
    suffix = f"@{adapter}" if adapter else ""
    held: list[AnswerEvent] = []
    text, is_answer = "", False
    async with aclosing(stream(replace(question, strategy=f"rag{suffix}"))) as events:
        async for event in events:
            if isinstance(event, Finished):
                first = event.answer
                break
            if not is_answer:
                held.append(event)
                text += event.text if isinstance(event, TextDelta) else ""
                if not text.strip() or abstaining.may_say_not_said(text):
                    continue
                is_answer = True
                for earlier in held:
                    yield earlier
            else:
                yield event
    if not first.abstained:
        if not is_answer:
            for earlier in held:
                yield earlier
        yield Finished(_named(first, "rag", suffix))
        return
    second = await _read_whole(question, suffix, stream) if first.hits else []
    last = second[-1] if second else None
    if isinstance(last, Finished) and _counts(last.answer):
        for event in second[:-1]:
            yield event
        yield Finished(_named(_after(first, last.answer), "stuffed", suffix))
        return
    for event in held:
        yield event
    answer = first if not isinstance(last, Finished) else _in_vain(first, last.answer)
    yield Finished(_named(answer, "rag", suffix))


async def _read_whole(question: Question, suffix: str, stream: Stream) -> list[AnswerEvent]:
    """The second answer's events; none where no document fits.

    Gate A has judged the passages, so the documents are read whatever it said: the model and gate B have the last word.
    """
    whole = replace(question, strategy=f"stuffed{suffix}", min_probability=0.0)
    try:
        async with aclosing(stream(whole)) as events:
            return [event async for event in events]
    except DoesNotFitError:
        return []


def _counts(second: Answer) -> bool:
    return not second.abstained and bool(second.supported) and second.fallback is None


def _named(answer: Answer, routed_to: str, suffix: str) -> Answer:
    return replace(answer, strategy=f"{ROUTER}{suffix}", routed=routed_to)


def _after(first: Answer, second: Answer) -> Answer:
    """The second answer, with what the first one cost before it."""
    timings = _added(first.timings, second.timings)
    if "first_token" in second.timings:
        timings["first_token"] = first.timings["total"] + second.timings["first_token"]
    return replace(
        second,
        usage=sum_of_usage(first.usage, second.usage),
        timings=timings,
        judgement=first.judgement,
    )


def _in_vain(first: Answer, second: Answer) -> Answer:
    """The first answer, with what the second one cost after it."""
    timings = _added(first.timings, second.timings)
    return replace(
        first,
        usage=sum_of_usage(first.usage, second.usage),
        timings=timings,
        model=first.model or second.model,
        prompt_hash=first.prompt_hash or second.prompt_hash,
    )


def _added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {step: one.get(step, 0.0) + other.get(step, 0.0) for step in {**one, **other}}


def sum_of_usage(one: Usage, other: Usage) -> Usage:
    """Both; the cached tokens of those that tell."""
    told = [usage.cached_tokens for usage in (one, other) if usage.cached_tokens is not None]
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        sum(told) if told else None,
    )

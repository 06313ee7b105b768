"""The router over streams written by hand: whose answer holds, what is told before that is known, what it costs."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

import pytest

from rag.errors import DoesNotFitError
from rag.question import Question
from rag.routing import routed
from rag.types import Answer, AnswerEvent, EvidencePacked, Finished, Hit, StoredChunk, TextDelta, Usage

CHUNK = StoredChunk(1, "c", "d", "v", "a.md", "A", "en", 0, 9, None, (), "", "some text")
ASKED = Question("How often?", strategy="router@pumps")


def answer(text: str, *, abstained: bool = False, supported: bool | None = True) -> Answer:
    usage, timings = Usage(100, 10), {"total": 2.0, "first_token": 0.5}
    hits = (Hit(CHUNK, 1.0, {}),)
    return Answer(
        text, abstained, "x", "m", (), (), (), supported, None, "stop", usage, timings, hits=hits, adapter="pumps"
    )


def run(answers: Mapping[str, Answer | Exception], pieces: int = 4) -> tuple[list[AnswerEvent], list[Question]]:
    asked = []

    async def stream(question: Question) -> AsyncGenerator[AnswerEvent, None]:
        asked.append(question)
        found = answers[question.strategy or ""]
        if isinstance(found, Exception):
            raise found
        yield EvidencePacked(())
        for start in range(0, len(found.text), pieces):
            yield TextDelta(found.text[start : start + pieces])
        yield Finished(found)

    async def collect() -> list[AnswerEvent]:
        return [event async for event in routed(ASKED, "pumps", stream)]

    return asyncio.run(collect()), asked


def told(events: list[AnswerEvent]) -> tuple[Answer, str]:
    last = events[-1]
    assert isinstance(last, Finished)
    assert [type(event) for event in events].count(EvidencePacked) == 1
    return last.answer, "".join(event.text for event in events if isinstance(event, TextDelta))


SAID = "The documents do not say."


def test_an_answer_from_the_passages_is_streamed_and_nothing_else_is_asked() -> None:
    events, asked = run({"rag@pumps": answer("Every 200 hours, at most.")})
    found, text = told(events)
    assert (found.strategy, found.routed, text) == ("router@pumps", "rag", "Every 200 hours, at most.")
    assert len(asked) == 1
    assert len(events) > 4  # in pieces


def test_where_the_passages_do_not_say_the_documents_are_read_whatever_gate_a_said() -> None:
    second = answer("Every 200 hours.")
    events, asked = run({"rag@pumps": answer(SAID, abstained=True), "stuffed@pumps": second})
    found, text = told(events)
    assert (found.routed, text, found.usage) == ("stuffed", "Every 200 hours.", Usage(200, 20))
    assert found.timings == {"total": 4.0, "first_token": 2.5}
    assert [question.min_probability for question in asked] == [None, 0.0]


@pytest.mark.parametrize(
    "second", [answer(SAID, abstained=True), answer("Perhaps.", supported=False), DoesNotFitError("too long")]
)
def test_a_second_answer_that_does_not_count_leaves_the_abstention(second: Answer | Exception) -> None:
    events, _ = run({"rag@pumps": answer(SAID, abstained=True), "stuffed@pumps": second})
    found, text = told(events)
    assert (found.abstained, found.routed, text) == (True, "rag", SAID)
    assert found.usage == (Usage(100, 10) if isinstance(second, Exception) else Usage(200, 20))


@pytest.mark.parametrize("pieces", [1, 3, 7, 100])
def test_words_that_only_begin_like_an_abstention_get_out_whole(pieces: int) -> None:
    text = "The documents do not agree: 200 or 300 hours."
    assert told(run({"rag@pumps": answer(text)}, pieces)[0])[1] == text

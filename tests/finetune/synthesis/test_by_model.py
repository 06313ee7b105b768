import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finetune.cleaning.decontamination import Decontaminator
from finetune.synthesis.asking import NONE, QUESTION_TYPES, Pair, plan, read_pair
from finetune.synthesis.by_model import Synthesised, synthesise
from finetune.synthesis.filters import Novelty, quoted_span
from rag.evaluation.questions import EvaluationQuestion
from rag.fakes import ScriptedModel
from rag.types import Hit, Message, StoredChunk

TEXT = "The casing of the ZP-40 is painted blue.\nIts bolts are tightened to 45 Nm, crosswise and in three steps."


def chunk(number: int, text: str = TEXT, language: str = "en") -> StoredChunk:
    return StoredChunk(
        row=number, id=f"c{number}", document_id=f"d{number}", version="v", source=f"doc{number}.md", title="Manual",
        language=language, start=100, end=100 + len(text), page=None, heading_path=(), context="", text=text,
    )  # fmt: skip


CHUNKS = [chunk(number) for number in range(12)]
REPLY = (
    "QUESTION: What colour is the casing of pump {n}?\nANSWER: blue\nQUOTE: The casing of the ZP-40 is painted blue."
)
REPLIES = {
    0: REPLY,
    1: NONE,
    2: "I cannot help with that.",
    3: REPLY.replace("What colour is", "According to the passage, what colour is"),
    4: REPLY.replace("is painted blue.", "is painted green."),
    5: REPLY.replace("ANSWER: blue", "ANSWER: as red as a rose"),
    6: REPLY.replace("{n}", "0"),
    7: REPLY.replace("What colour is the casing of pump {n}?", "Сколько весит этот насос по паспорту?"),
    8: REPLY.replace("What colour is the casing of pump {n}?", "Which colour do casings of pumps have in hall two?"),
    9: REPLY,
    10: REPLY.replace("What colour is the casing of pump {n}?", "Colour?"),
    11: REPLY.replace("QUOTE: The casing of the ZP-40", "QUOTE: the  casing of\tthe ZP-40"),
}


def number_of(messages: Sequence[Message]) -> int:
    """The chunk's number stands in its text's last word."""
    return int(messages[-1].content.split("Chunk ")[1].split(".")[0])


def answers(messages: Sequence[Message]) -> str:
    if "QUOTE:" in messages[0].content:
        number = number_of(messages)
        return REPLIES[number].replace("{n}", str(number))
    return "It is blue."


def numbered(some: StoredChunk) -> StoredChunk:
    return replace(some, text=f"{some.text}\nChunk {some.row}.", end=some.end + len(f"\nChunk {some.row}."))


def run(model: ScriptedModel, folder: Path) -> Synthesised:
    asks = plan([numbered(each) for each in CHUNKS], 1, ())
    by_source = {ask.chunk.source: ask.chunk for ask in asks}

    def search(query: str) -> Sequence[Hit]:
        """Finds everything but the ninth chunk."""
        return [Hit(each, 1.0, {}) for each in by_source.values() if each.row != 9]

    evaluation = EvaluationQuestion(
        id="q", question="Which colour do the casings of pumps have in hall two?", answers=("blue",)
    )
    novelty = Novelty(Decontaminator([evaluation]))
    return asyncio.run(
        synthesise(
            model, asks, lambda source: f"group of {source}", search, novelty, folder / "facts.jsonl", concurrency=3
        )
    )


def test_each_rejection_has_its_reason_and_the_rest_are_facts(tmp_path: Path) -> None:
    made = run(ScriptedModel(answers), tmp_path)
    assert made.asked == 12
    assert made.rejected == {
        "asked before": 1,
        "in another language": 1,
        "near an evaluation question": 1,
        "no question": 1,
        "nothing to ask": 1,
        "our retriever does not find it": 1,
        "speaks of the passage": 1,
        "the answer does not follow": 1,
        "the quote is not in the chunk": 1,
        "unreadable reply": 1,
    }
    assert [fact.document for fact in made.facts] == ["doc0.md", "doc11.md"]
    for fact in made.facts:
        assert fact.span is not None
        assert fact.quote == TEXT[fact.span[0] - 100 : fact.span[1] - 100]
        assert (fact.group, fact.kind in QUESTION_TYPES) == (f"group of {fact.document}", True)
        assert fact.fact_key == f"{fact.group}/{fact.document}/100-140"


def test_a_second_run_asks_nothing_and_makes_the_same(tmp_path: Path) -> None:
    first = run(ScriptedModel(answers), tmp_path)
    again = ScriptedModel(answers)
    assert run(again, tmp_path) == first
    assert again.asked == []


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = run(ScriptedModel(answers), tmp_path / "whole")
    kept = (tmp_path / "whole" / "facts.jsonl.questions.jsonl").read_bytes().splitlines(keepends=True)[:5]
    (tmp_path / "stopped" / "facts.jsonl.questions.jsonl").write_bytes(b"".join(kept))
    model = ScriptedModel(answers)
    assert run(model, tmp_path / "stopped") == whole
    asked = [messages for messages in model.asked if "QUOTE:" in messages[0].content]
    assert len(asked) == 12 - 5


def test_the_plan_goes_round_the_types_and_adds_languages() -> None:
    asks = plan([numbered(each) for each in CHUNKS], 2, ("ru",))
    assert len({ask.id for ask in asks}) == len(asks) == 12 * 2 * 2
    assert {ask.language for ask in asks} == {"en", "ru"}
    assert len({ask.type for ask in asks}) > 2
    assert plan([chunk(1, "Too short.")], 2, ()) == []


def test_replies_are_read_as_models_write_them() -> None:
    pair = Pair("Why?", "Because.", "It is so.")
    assert read_pair('**QUESTION:** Why?\n**ANSWER:** Because.\n**QUOTE:** "It is so."') == pair
    assert read_pair("Question: Why?\nAnswer: Because.\nQuote: It is so.\nQuestion: And?") == pair
    assert read_pair("QUESTION: Why?\nANSWER: Because.") is None


def test_a_quote_stands_whatever_its_blanks() -> None:
    assert quoted_span("One  two\nthree four", "two three FOUR") == (5, 19)
    assert quoted_span("One two three", "two four three") is None
    assert quoted_span("One two three", "two") is None

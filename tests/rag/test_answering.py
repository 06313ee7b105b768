"""The whole answer flow over a small real library, with an embedder and a model predictable by hand."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from rag import prompting
from rag.answering import NOT_SUPPORTED, STRATEGIES
from rag.build import Library
from rag.config import AnsweringSettings, GenerationSettings, PackingSettings, RetrievalSettings, Settings
from rag.errors import DoesNotFitError, EngineBusyError, NotFoundError, UsageError
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.prompting import NOT_SAID, render_evidence
from rag.question import Question
from rag.types import Answer, AnswerEvent, EvidencePacked, Finished, Message, Span, TextDelta, Turn

OIL = "The gear oil of the ZP-40/2 pump is changed every 2,000 operating hours."
SEAL = "The seal kit of the ZP-60/2 pump has the part number ZP-1001 and costs 12.50 EUR."
FILES = {
    "oil.md": f"# Gear oil\n\n{OIL} Used oil is collected in the red drum.\n",
    "seals.md": f"# Seal kits\n\n{SEAL} Seals are stored in the dark.\n",
    "ru.md": "# Масло\n\nМасло насоса меняют каждые 2000 часов работы.\n",
    "zh.md": "# 机油\n\n水泵的机油每2000小时更换一次。\n",
}
OIL_QUESTION = "How often is the gear oil of the ZP-40/2 pump changed?"
GOOD = "The gear oil of the ZP-40/2 pump is changed every 2,000 operating hours [1]."
BAD = "The gear oil of the ZP-40/2 pump is changed every 9,000 operating hours [1]."

Make = Callable[..., Library]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture
def make(tmp_path: Path, folder: Path) -> Iterator[Make]:
    made: list[Library] = []

    def make(model: ScriptedModel | None = None, **sections: object) -> Library:
        settings = Settings.model_validate({"answering": AnsweringSettings(), **sections})
        library = Library(tmp_path / "home", settings, embedder=FakeEmbedder(256, 256), chat_model=model)
        library.ingest([folder])
        made.append(library)
        return library

    yield make
    for library in made:
        asyncio.run(library.aclose())


def events(library: Library, question: Question) -> list[AnswerEvent]:
    async def collect() -> list[AnswerEvent]:
        async with aclosing(library.answerer.stream(question)) as stream:
            return [event async for event in stream]

    return asyncio.run(collect())


def ask(library: Library, question: Question) -> Answer:
    """The answer, checked to be what the stream says."""
    found = events(library, question)
    finished = found[-1]
    assert isinstance(finished, Finished)
    assert [event for event in found if isinstance(event, Finished)] == [finished]
    answer = finished.answer
    assert "".join(event.text for event in found if isinstance(event, TextDelta)) == answer.text
    retrieves = answer.strategy.partition("@")[0] != "base" and not (answer.abstained and not answer.evidence)
    assert [event for event in found if isinstance(event, EvidencePacked)] == found[:retrieves]
    assert found[:retrieves] == [EvidencePacked(answer.evidence)][:retrieves]
    for item in answer.evidence:
        document = library.catalog.document_version(item.document_id, item.version)
        assert document.text[item.start : item.end] == item.text
    for citation in answer.citations:
        document = library.document("default", citation.source)
        assert document.text[citation.start : citation.end] == citation.quote
        assert f"[{citation.marker}]" in answer.text or citation.attributed
    assert answer.timings["total"] >= sum(answer.timings.get(step, 0) for step in ("retrieval", "packing", "citing"))
    return answer


def extracting() -> AnsweringSettings:
    return AnsweringSettings(unsupported="extract")


# --- strategies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_answer_is_the_same_streamed_or_not(make: Make, strategy: str) -> None:
    library = make(ScriptedModel(GOOD))
    question = Question(OIL_QUESTION, strategy=strategy)
    streamed, whole = ask(library, question), asyncio.run(library.answerer.answer(question))
    assert replace(streamed, timings={}) == replace(whole, timings={})
    assert streamed.strategy == strategy
    assert not streamed.abstained


def test_the_oracle_is_shown_the_gold_passage_and_only_it(make: Make) -> None:
    library = make(model := ScriptedModel(GOOD))
    start = library.document("default", "oil.md").text.index(OIL)
    gold = (Span("oil.md", start, start + len(OIL)),)
    answer = ask(library, Question(OIL_QUESTION, strategy="oracle", gold=gold))
    assert [item.source for item in answer.evidence] == ["oil.md"]
    assert OIL in model.asked[-1][-1].content
    assert answer.prompt_hash == prompting.digest(model.asked[-1])
    nothing = ask(library, Question(OIL_QUESTION, strategy="oracle", gold=()))
    assert nothing.abstained
    assert len(model.asked) == 1
    with pytest.raises(UsageError, match="it names none"):
        ask(library, Question(OIL_QUESTION, strategy="oracle"))


def test_rag_cites_what_the_model_marked(make: Make) -> None:
    model = ScriptedModel(lambda messages: GOOD.replace("[1]", f"[{number_of('oil.md', messages[-1].content)}]"))
    answer = ask(make(model), Question(OIL_QUESTION))
    (citation,) = answer.citations
    assert (citation.source, citation.quote, citation.supported) == ("oil.md", OIL, True)
    assert answer.supported is True
    assert answer.search_query == OIL_QUESTION
    assert answer.model == model.name
    assert answer.hits
    assert {item.source for item in answer.evidence} <= {hit.chunk.source for hit in answer.hits}


def number_of(source: str, prompt: str) -> str:
    title = {"oil.md": "Gear oil", "seals.md": "Seal kits"}[source]
    found = re.search(rf'<passage number="(\d+)" from="{title}"', prompt)
    assert found is not None
    return found[1]


def test_base_searches_nothing_and_checks_nothing(make: Make) -> None:
    model = ScriptedModel("Every year. [1]")
    answer = ask(make(model), Question(OIL_QUESTION, strategy="base"))
    assert (answer.evidence, answer.citations, answer.hits) == ((), (), ())
    assert (answer.supported, answer.search_query) == (None, None)
    assert answer.text == "Every year. ", "there are no passages, so no marker is valid"
    assert "passage" not in model.asked[0][0].content


def test_extractive_is_verbatim_and_asks_no_model(make: Make) -> None:
    model = ScriptedModel("never asked")
    answer = ask(make(model), Question(OIL_QUESTION, strategy="extractive"))
    assert model.asked == []
    assert (answer.model, answer.supported, answer.fallback) == ("", True, None)
    assert answer.text.startswith(f"{OIL} [")
    assert all(citation.supported for citation in answer.citations)


def test_stuffed_shows_whole_documents(make: Make) -> None:
    model = ScriptedModel(GOOD)
    library = make(model)
    answer = ask(library, Question(OIL_QUESTION, strategy="stuffed"))
    for item in answer.evidence:
        assert item.text == library.document("default", item.source).text
        assert item.text in model.asked[0][-1].content


def test_the_adapter_reaches_the_model(make: Make) -> None:
    model = ScriptedModel(GOOD)
    library = make(model, generation=GenerationSettings(adapters={"pumps": "somewhere"}))
    assert ask(library, Question(OIL_QUESTION, strategy="rag@pumps")).strategy == "rag@pumps"
    assert ask(library, Question(OIL_QUESTION, strategy="base@pumps")).strategy == "base@pumps"
    ask(library, Question(OIL_QUESTION))
    assert model.adapters == ["pumps", "pumps", None]
    with pytest.raises(UsageError, match="takes no adapter"):
        ask(library, Question(OIL_QUESTION, strategy="extractive@pumps"))
    with pytest.raises(NotFoundError, match="others"):
        ask(library, Question(OIL_QUESTION, strategy="rag@others"))


def test_the_question_says_how_to_sample(make: Make) -> None:
    model = ScriptedModel(GOOD)
    ask(make(model), Question(OIL_QUESTION, max_tokens=7, temperature=0.5, seed=3))
    (sampling,) = model.samplings
    assert (sampling.max_tokens, sampling.temperature, sampling.seed) == (7, 0.5, 3)


# --- gate A ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language", "heading"),
    [
        ("Who won the chess championship of 1972?", "en", "The nearest documents are:"),
        ("Кто выиграл чемпионат по шахматам?", "ru", "Ближайшие документы:"),
        ("谁赢得了国际象棋冠军？", "zh", "最接近的文档："),
    ],
)
def test_without_evidence_it_abstains_before_any_model_call(make: Make, text: str, language: str, heading: str) -> None:
    model = ScriptedModel(GOOD)
    answer = ask(make(model), Question(text))
    assert model.asked == []
    assert answer.abstained
    assert answer.nearest
    assert answer.text.startswith(f"{NOT_SAID[language]} {heading}\n- {answer.nearest[0].title}")
    assert (answer.citations, answer.evidence, answer.supported) == ((), (), None)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (0, 0)


@pytest.mark.parametrize("strategy", ["rag", "stuffed", "extractive"])
def test_an_unknown_identifier_is_not_answered_from_its_neighbour(make: Make, strategy: str) -> None:
    model = ScriptedModel(GOOD)
    answer = ask(make(model), Question("How often is the gear oil of the ZP-99/7 pump changed?", strategy=strategy))
    assert answer.abstained
    assert model.asked == []
    assert "oil.md" in [document.source for document in answer.nearest]


def test_an_empty_collection_abstains_with_nothing_near(make: Make) -> None:
    library = make(ScriptedModel(GOOD))
    library.create_collection("empty")
    answer = ask(library, Question(OIL_QUESTION, collection="empty"))
    assert (answer.abstained, answer.text, answer.nearest) == (True, NOT_SAID["en"], ())


# --- gate B ---------------------------------------------------------------------------------------


def test_mark_streams_at_once_and_marks_at_the_end(make: Make) -> None:
    found = events(make(ScriptedModel(BAD)), Question(OIL_QUESTION))
    assert len([event for event in found if isinstance(event, TextDelta)]) > 5
    answer = found[-1].answer  # type: ignore[union-attr]
    assert (answer.text, answer.supported, answer.fallback, answer.abstained) == (BAD, False, None, False)
    assert [citation.supported for citation in answer.citations] == [False]


def test_extract_holds_unsupported_text_back_and_says_so(make: Make) -> None:
    model = ScriptedModel(BAD)
    found = events(make(model, answering=extracting()), Question(OIL_QUESTION))
    deltas = [event.text for event in found if isinstance(event, TextDelta)]
    answer = found[-1].answer  # type: ignore[union-attr]
    assert "9,000" not in "".join(deltas)
    assert answer.fallback == NOT_SUPPORTED
    assert answer.text.startswith(OIL)
    assert answer.supported is True
    assert answer.model == model.name
    assert answer.usage.completion_tokens > 0, "what the model wrote in vain was paid for"
    assert answer.turn.assistant == answer.text


def test_extract_lets_a_supported_answer_through(make: Make) -> None:
    text = OIL
    answer = ask(make(ScriptedModel(f"  {text}\n"), answering=extracting()), Question(OIL_QUESTION))
    assert (answer.text, answer.supported, answer.fallback) == (text, True, None)
    assert [citation.attributed for citation in answer.citations] == [True]


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_invalid_markers_never_come_out(make: Make, pieces: int) -> None:
    reply = "Oil is changed [77] every 2,000 [0] hours [1, 88]. See [12a] and [99"
    answer = ask(make(ScriptedModel(reply, pieces=pieces)), Question(OIL_QUESTION))
    assert answer.text == "Oil is changed  every 2,000  hours [1]. See [12a] and "


@pytest.mark.parametrize("unsupported", ["mark", "extract"])
@pytest.mark.parametrize("reply", [NOT_SAID["en"], f"{NOT_SAID['ru']} [1]", "[1] The documents do not say.", "", " \n"])
def test_a_model_that_says_nothing_or_not_said_has_abstained(make: Make, unsupported: str, reply: str) -> None:
    library = make(ScriptedModel(reply), answering=AnsweringSettings(unsupported=unsupported))  # type: ignore[arg-type]
    answer = ask(library, Question(OIL_QUESTION))
    assert answer.abstained
    assert answer.nearest
    assert (answer.citations, answer.supported, answer.fallback) == ((), None, None)
    assert answer.text.strip(), "there is always something to read"
    assert answer.model == "scripted"


def test_usage_and_timings_are_those_of_the_flow(make: Make) -> None:
    model = ScriptedModel(GOOD)
    answer = ask(make(model), Question(OIL_QUESTION))
    assert answer.usage.prompt_tokens == model.tokens.count_messages(model.asked[0])
    assert answer.usage.completion_tokens == model.tokens.count_text(GOOD)
    steps = {"rewriting", "retrieval", "packing", "prompting", "generation", "first_token", "citing", "conflicts"}
    assert set(answer.timings) == steps | {"total"}
    assert answer.timings["first_token"] <= answer.timings["total"]
    assert answer.finish_reason == "stop"


# --- conversations --------------------------------------------------------------------------------


def test_turns_keep_their_bytes_and_numbers_go_on(make: Make) -> None:
    model = ScriptedModel(GOOD)
    library = make(model)
    first = ask(library, Question(OIL_QUESTION))
    assert first.turn is not None
    second = ask(library, Question("What does the seal kit of the ZP-60/2 pump cost?", history=(first.turn,)))
    assert model.asked[1][: len(model.asked[0])] == model.asked[0]
    assert model.asked[1][len(model.asked[0])] == Message("assistant", first.text)
    before = {chunk for item in first.evidence for chunk in item.chunk_ids}
    assert not before & {chunk for item in second.evidence for chunk in item.chunk_ids}
    numbers = [item.number for item in (*first.evidence, *second.evidence)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("strategy", ["rag", "stuffed", "extractive"])
def test_a_follow_up_is_answered_from_what_was_shown_before(make: Make, strategy: str) -> None:
    model = ScriptedModel(GOOD)
    library = make(model)
    first = ask(library, Question(OIL_QUESTION, strategy=strategy))
    assert first.turn is not None
    second = ask(library, Question("How often is it changed?", strategy=strategy, history=(first.turn,)))
    assert not second.abstained
    assert second.search_query == f"{OIL_QUESTION} How often is it changed?"
    assert second.evidence == ()
    assert {item.reason for item in second.dropped} == {"duplicate"}
    if strategy == "extractive":
        assert second.citations[0] == first.citations[0]
    else:
        assert model.asked[1][-1] == Message("user", "How often is it changed?")
        assert [citation.marker for citation in second.citations] == [1]


def test_messages_are_plain_history(make: Make) -> None:
    model = ScriptedModel(GOOD)
    history = (Message("user", OIL_QUESTION), Message("assistant", "Every 2,000 hours [7]."))
    answer = ask(make(model), Question("And why?", history=history))
    assert model.asked[0][1:3] == history
    assert answer.evidence[0].number == 1
    assert answer.search_query == f"{OIL_QUESTION} And why?"


def test_a_document_updated_between_two_questions(make: Make, folder: Path) -> None:
    model = ScriptedModel(lambda messages: f"{OIL} [{number_of('oil.md', messages[1].content)}]")
    library = make(model)
    first = ask(library, Question(OIL_QUESTION))
    assert first.supported is True
    old = first.citations[0].marker
    (folder / "oil.md").write_text(FILES["oil.md"].replace("2,000", "1,500"), "utf-8")
    library.ingest([folder])
    assert first.turn is not None
    second = ask(library, Question(OIL_QUESTION, history=(first.turn,)))
    assert "1,500" in next(item.text for item in second.evidence if item.source == "oil.md")
    assert min(item.number for item in second.evidence) > max(item.number for item in first.evidence)
    assert second.supported is False, "the passage it was shown before says so no longer"
    assert old not in [citation.marker for citation in second.citations]


def test_the_oldest_passages_leave_whole_when_the_window_is_short(make: Make, folder: Path) -> None:
    (folder / "belts.md").write_text("# Belts\n\nThe belt of the KX-15 fan is turned after 300 operating hours.\n")
    model = ScriptedModel(GOOD, window=100_000)
    library = make(
        model,
        retrieval=RetrievalSettings(top_k=1),
        generation=GenerationSettings(max_answer_tokens=20),
    )
    history: list[Turn] = []
    for text in (OIL_QUESTION, "What does the seal kit of the ZP-60/2 pump cost?"):
        turn = ask(library, Question(text, history=tuple(history))).turn
        assert turn is not None
        assert len(turn.evidence) == 1, "the best hit"
        history.append(turn)
    third = Question("After how many hours is the belt of the KX-15 fan turned?", history=tuple(history))
    whole = ask(library, third)
    full = model.tokens.count_messages(model.asked[-1])
    assert not [item for item in whole.dropped if item.reason == "window"]
    model.window = full + 20 + 5
    answer = ask(library, replace(third, history=tuple(history)))
    first, second = history
    prompt = model.asked[-1]
    assert model.tokens.count_messages(prompt) + 20 <= model.window
    assert prompt[1:3] == (Message("user", first.question), Message("assistant", first.assistant))
    assert prompt[3:5] == (Message("user", second.user), Message("assistant", second.assistant))
    gone = {item.chunk_id for item in answer.dropped if item.reason == "window"}
    assert gone == {chunk_id for item in first.evidence for chunk_id in item.chunk_ids}
    numbers = [item.number for turn in history for item in turn.evidence]
    assert all(item.number > max(numbers) for item in answer.evidence)
    assert not {item.number for item in first.evidence} & {each.marker for each in answer.citations}


def test_the_fallback_sees_every_hit_and_its_sources_are_in_the_turn(make: Make) -> None:
    model = ScriptedModel("Nothing of this is so [1].")
    library = make(model, answering=extracting(), packing=PackingSettings(max_evidence_tokens=50))
    question = "Which part number has the seal kit of the ZP-60/2 pump, and how is the gear oil of the ZP-40/2 changed?"
    answer = ask_falling_back(library, question)
    extractive = ask(library, Question(question, strategy="extractive"))
    assert answer.fallback == NOT_SUPPORTED
    assert [each.quote for each in answer.citations] == [each.quote for each in extractive.citations]
    by_number = {item.number: item for item in answer.evidence}
    assert len(by_number) == len(answer.evidence)
    for citation in answer.citations:
        item = by_number[citation.marker]
        assert item.source == citation.source
        assert item.start <= citation.start <= citation.end <= item.end
    assert answer.turn is not None
    assert answer.turn.evidence == answer.evidence
    for item in answer.evidence:
        assert render_evidence(item) in answer.turn.user
    packed = model.asked[0][-1].content.partition("\n\nQuestion:")[0]
    assert answer.turn.user.startswith(packed), "what the engine has read stays the beginning of the turn"
    shown = {chunk_id for item in answer.evidence for chunk_id in item.chunk_ids}
    assert not shown & {item.chunk_id for item in answer.dropped if item.reason == "budget"}
    follow_up = ask_falling_back(library, "Where are seals stored?", answer.turn)
    assert all(item.number > max(by_number) for item in follow_up.evidence)


def ask_falling_back(library: Library, text: str, *history: Turn) -> Answer:
    """The evidence of a fallback may be more than the model was told."""
    (*_, last) = events(library, Question(text, history=history))
    assert isinstance(last, Finished)
    return last.answer


# --- conflicts ------------------------------------------------------------------------------------

EDITIONS = {
    "old.md": "# Tool lending\n\nDocument LB-07, revision 2, 4 March 2018.\n\n"
    "A torque wrench can be lent for 10 days.\n",
    "new.md": "# Tool lending, new\n\nDocument LB-19, revision 1, 8 June 2022. This document supersedes LB-07.\n\n"
    "A torque wrench can now be lent for 21 days.\n",
}


def old_number(messages: Sequence[Message]) -> str:
    found = re.search(r'number="(\d+)" from="Tool lending, 2018-03-04"', messages[-1].content)
    assert found is not None, "the model sees the date"
    return found[1]


@pytest.mark.parametrize("strategy", ["extractive", "rag"])
def test_a_replaced_edition_is_said_and_the_newer_one_goes_first(make: Make, folder: Path, strategy: str) -> None:
    for name, text in EDITIONS.items():
        (folder / name).write_text(text, "utf-8")
    model = ScriptedModel(lambda messages: f"A torque wrench can be lent for 10 days [{old_number(messages)}].")
    library = make(model)
    answer = ask(library, Question("For how many days can a torque wrench be lent?", strategy=strategy))
    (found,) = answer.conflicts
    assert (found.kind, found.newer_source, found.older_source) == ("superseded", "new.md", "old.md")
    assert (found.newer_date, found.older_date) == ("2022-06-08", "2018-03-04")
    if strategy == "extractive":
        first, *_, note = answer.text.splitlines()
        assert "21 days" in first
        assert note == found.note
        assert {"new.md", "old.md"} == {each.source for each in answer.citations}
        assert answer.supported is True
    else:
        assert found.note not in answer.text, "what was streamed is not changed"
        assert "newer" in model.asked[0][0].content, "the rules say what to do about it"


# --- explaining -----------------------------------------------------------------------------------


def test_an_explanation_is_the_answers_own_without_a_word_of_the_model(make: Make) -> None:
    model = ScriptedModel(GOOD)
    library = make(model, packing=PackingSettings(max_evidence_tokens=60))
    explanation = asyncio.run(library.explain(OIL_QUESTION, "default"))
    assert model.asked == []
    answer = ask(library, Question(OIL_QUESTION))
    assert explanation.hits == answer.hits
    assert (explanation.evidence, explanation.dropped) == (answer.evidence, answer.dropped)
    assert explanation.prompt_tokens == model.tokens.count_messages(model.asked[0])
    assert explanation.packing == answer.packing
    assert explanation.packing is not None
    assert sum(explanation.packing.by_passage.values()) == explanation.packing.used <= 60
    assert {"rewriting", "retrieval", "packing", "prompting", "total"} == set(explanation.timings)
    assert len(asyncio.run(library.explain(OIL_QUESTION, "default", 2)).hits) == 2
    nothing = asyncio.run(library.explain("How often is the oil of the ZP-99/7 pump changed?", "default"))
    assert (nothing.enough, nothing.evidence, nothing.packing) == (False, (), None)


def test_a_removed_document_is_no_longer_cited(make: Make) -> None:
    library = make(ScriptedModel(GOOD))
    first = ask(library, Question(OIL_QUESTION, strategy="extractive"))
    assert first.turn is not None
    library.remove_document("default", "oil.md")
    second = ask(library, Question(OIL_QUESTION, strategy="extractive", history=(first.turn,)))
    assert "oil.md" not in [citation.source for citation in second.citations]


# --- what can't be answered -----------------------------------------------------------------------


def test_what_is_wrong_with_the_request_is_said_before_any_event(make: Make) -> None:
    library = make(ScriptedModel(GOOD))
    for question, message in [
        (Question("  "), "empty"),
        (Question("oil \ud800?", strategy="base"), "not valid Unicode"),
        (Question("x", strategy="guess"), "no strategy 'guess'; there are: base, extractive, stuffed, rag"),
        (Question("x", collection="lost"), "no collection 'lost'; there are: default"),
    ]:
        with pytest.raises(UsageError, match=message):
            events(library, question)


@pytest.mark.parametrize("strategy", ["base", "rag", "stuffed"])
@pytest.mark.parametrize("where", ["question", "history", "turn", "instructions"])
def test_what_does_not_fit_the_window_is_said_before_any_event(make: Make, strategy: str, where: str) -> None:
    long = "oil " * 600
    question = {
        "question": Question(f"{OIL_QUESTION} {long}", strategy=strategy),
        "history": Question(OIL_QUESTION, strategy=strategy, history=(Message("user", long),)),
        "turn": Question(OIL_QUESTION, strategy=strategy, history=(Turn("x", long, "y"),)),
        "instructions": Question(OIL_QUESTION, strategy=strategy, instructions=long),
    }[where]
    model = ScriptedModel(GOOD, window=600)
    library = make(model, answering=AnsweringSettings(min_probability=0))
    found: list[AnswerEvent] = []

    async def collect() -> None:
        async with aclosing(library.answerer.stream(question)) as stream:
            async for event in stream:
                found.append(event)

    with pytest.raises(DoesNotFitError, match="shorten"):
        asyncio.run(collect())
    assert (found, model.asked) == ([], [])


def test_documents_too_large_to_be_stuffed_are_named_as_such(make: Make, folder: Path) -> None:
    for file in folder.iterdir():
        file.write_text(file.read_text("utf-8") + "\n\n" + "Oil is oil. " * 400, "utf-8")
    library = make(ScriptedModel(GOOD, window=800))
    with pytest.raises(DoesNotFitError, match="nearest documents fits"):
        ask(library, Question(OIL_QUESTION, strategy="stuffed"))
    assert not ask(library, Question(OIL_QUESTION, strategy="rag")).abstained


def test_the_prompt_keeps_within_the_window(make: Make) -> None:
    model = ScriptedModel(GOOD, window=420)
    library = make(model, packing=PackingSettings(max_evidence_tokens=5000))
    for strategy in ("rag", "stuffed"):
        answer = ask(library, Question(OIL_QUESTION, strategy=strategy, max_tokens=100))
        assert model.tokens.count_messages(model.asked[-1]) + 100 <= model.window
        assert answer.evidence


def test_closed_book_fills_the_window_to_its_last_token(make: Make) -> None:
    prompt = prompting.build(OIL_QUESTION, grounded=False)
    model = ScriptedModel(GOOD)
    full = model.tokens.count_messages(prompt) + 100
    for model.window, fits in ((full, True), (full - 1, False)):
        library = make(model)
        question = Question(OIL_QUESTION, strategy="base", max_tokens=100)
        if fits:
            assert not ask(library, question).abstained
        else:
            with pytest.raises(DoesNotFitError, match="shorten"):
                ask(library, question)


def test_an_engine_error_comes_through(make: Make) -> None:
    library = make(ScriptedModel(EngineBusyError("full", retry_after_s=2.0)))
    with pytest.raises(EngineBusyError):
        ask(library, Question(OIL_QUESTION))


def test_closing_the_stream_closes_the_models(make: Make) -> None:
    model = ScriptedModel(GOOD)
    library = make(model)

    async def leave_early() -> None:
        async with aclosing(library.answerer.stream(Question(OIL_QUESTION))) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    return

    asyncio.run(leave_early())
    assert model.closed == 1

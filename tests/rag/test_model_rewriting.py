"""Follow-ups rewritten by the served model: used when the text will do, else the rules stand in and say why."""

import asyncio
import json

import pytest

from rag.build import Library
from rag.config import AnsweringSettings, Settings
from rag.errors import DoesNotFitError, EngineUnavailableError, NotSupportedError
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.rewriting import SCHEMA, ModelRewriter, rewriting_prompt, standalone
from rag.types import Generated, Message, Turn, Usage

ASKED = "What oil does the ZP-40/2 take?"
HISTORY = (Turn(ASKED, f"<passage>long</passage> {ASKED}", "It takes OF-220 [1]."),)
FOLLOW_UP = "How much of it?"


def written(question: object) -> str:
    return json.dumps({"question": question})


def rewrite(model, question=FOLLOW_UP, history=HISTORY, rewriter=None):
    return asyncio.run((rewriter or ModelRewriter()).rewrite(model, question, history))


def test_the_models_question_is_searched_for():
    model = ScriptedModel(written("How much OF-220 oil does\n the ZP-40/2 take?"))
    rewriting = rewrite(model)
    assert rewriting.query == "How much OF-220 oil does the ZP-40/2 take?"
    assert (rewriting.by, rewriting.note) == ("model", None)
    assert rewriting.usage.prompt_tokens == model.tokens.count_messages(model.asked[0])
    assert model.samplings[0].json_schema == SCHEMA
    assert model.samplings[0].temperature == 0


def test_the_prompt_holds_the_talk_and_no_passages():
    system, user = rewriting_prompt(FOLLOW_UP, HISTORY)
    assert (system.role, user.role) == ("system", "user")
    assert ASKED in user.content
    assert "It takes OF-220" in user.content
    assert "<passage" not in user.content
    assert user.content.endswith(FOLLOW_UP)


def test_only_the_last_exchanges_are_told_and_markup_is_broken():
    history = [Message("user", f"question {number}? <|im_end|>") for number in range(9)]
    _, user = rewriting_prompt(FOLLOW_UP, history)
    assert "question 2?" not in user.content
    assert "question 8?" in user.content
    assert "<|im_end|>" not in user.content


def test_without_history_nobody_is_asked():
    model = ScriptedModel(written("x"))
    rewriting = rewrite(model, history=())
    assert (rewriting.query, rewriting.by, model.asked) == (FOLLOW_UP, "question", [])


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (written(""), "empty"),
        (written("  \n"), "empty"),
        (written("word " * 200), "999 characters"),
        (written("How much oil does the QX-9 take?"), "invented qx-9"),
        (EngineUnavailableError("the server is down"), "the server is down"),
        (DoesNotFitError("too long"), "too long"),
    ],
)
def test_what_will_not_do_falls_back_to_the_rules_and_says_why(reply, why):
    rewriting = rewrite(ScriptedModel(reply))
    assert rewriting.query == standalone(FOLLOW_UP, HISTORY)
    assert rewriting.by == "rules"
    assert why in rewriting.note


def test_a_name_in_the_question_must_not_be_lost():
    rewriting = rewrite(ScriptedModel(written("What oil does the pump take?")), question="And the KX-15?")
    assert rewriting.query == "And the KX-15?"
    assert "lost kx-15" in rewriting.note


def test_tokens_that_were_spent_in_vain_are_told():
    assert rewrite(ScriptedModel(written(""))).usage.completion_tokens > 0


@pytest.mark.parametrize("reply", [NotSupportedError("no response_format"), "Sure! How much oil?", written(7), "[]"])
def test_a_server_that_cannot_is_asked_once_and_never_again(reply):
    rewriter, model = ModelRewriter(), ScriptedModel(reply)
    first, second = (rewrite(model, rewriter=rewriter) for _ in range(2))
    assert len(model.asked) == 1
    assert first.by == second.by == "rules"
    assert first.note == second.note
    assert second.note is not None


def test_a_text_that_was_cut_is_no_refusal():
    class Cut(ScriptedModel):
        async def stream(self, messages, sampling, adapter=None):
            self.asked.append(tuple(messages))
            yield Generated('{"question": "How mu', "length", Usage(9, 96))

    rewriter, model = ModelRewriter(), Cut()
    notes = [rewrite(model, rewriter=rewriter).note for _ in range(2)]
    assert len(model.asked) == 2
    assert "cut at 96 tokens" in notes[0]


# --- in the flow --------------------------------------------------------------------------------


@pytest.fixture
def ask(tmp_path):
    """Asks a library whose one document says how much oil; gives the answer and the model."""
    (tmp_path / "pump.txt").write_text(
        "The gear pump takes 0.45 litres of oil.\n\nThe fan has no oil at all.\n", "utf-8"
    )

    def ask(*replies, strategy="rag", rewriting="model"):
        from rag.question import Question

        model = ScriptedModel(*replies)
        settings = Settings(answering=AnsweringSettings(rewriting=rewriting, min_probability=0))
        library = Library(tmp_path / "home", settings, embedder=FakeEmbedder(), chat_model=model)
        library.ingest([tmp_path / "pump.txt"])
        history = (Message("user", "Which oil?"), Message("assistant", "Any."))
        question = Question("How much does the pump take?", strategy=strategy, history=history)

        async def run():
            try:
                return await library.answerer.answer(question)
            finally:
                await library.aclose()

        return asyncio.run(run()), model

    return ask


def test_it_is_a_timed_step_whose_tokens_count(ask):
    answer, model = ask(written("How many litres of oil does the gear pump take?"), "It takes 0.45 litres of oil [1].")
    assert answer.search_query == "How many litres of oil does the gear pump take?"
    assert answer.rewriting.by == "model"
    assert answer.timings["rewriting"] > 0
    assert answer.usage.prompt_tokens == sum(model.tokens.count_messages(prompt) for prompt in model.asked)
    assert model.asked[1][-1].content.endswith("Question: How much does the pump take?"), "the model reads the question"


def test_the_rules_are_the_default_and_ask_no_model(ask):
    assert AnsweringSettings().rewriting == "rules"
    answer, model = ask("It takes 0.45 litres of oil [1].", rewriting="rules")
    assert answer.search_query == "Which oil? How much does the pump take?"
    assert (answer.rewriting.by, answer.rewriting.note) == ("rules", None)
    assert len(model.asked) == 1


def test_an_extractive_answer_outlives_a_dead_engine(ask):
    answer, _ = ask(EngineUnavailableError("the server is down"), strategy="extractive")
    assert "0.45 litres" in answer.text
    assert "the server is down" in answer.rewriting.note


def test_closed_book_rewrites_nothing(ask):
    answer, model = ask("Half a litre.", strategy="base")
    assert answer.rewriting is None
    assert answer.search_query is None
    assert len(model.asked) == 1

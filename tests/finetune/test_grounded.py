"""Grounded examples against the server itself: the same prompt, an answer that its own check accepts."""

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from finetune.grounded import Asked, Grounder, chosen, closed_book, ground
from finetune.wording import sentence, wordings
from rag.build import Library
from rag.citing import cite
from rag.config import Settings
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.prompting import NOT_SAID, build
from rag.question import Question

OIL = "The gear oil of the ZP-40/2 pump is changed every 2,000 operating hours."
SEAL = "The seal kit of the ZP-60/2 pump has the part number ZP-1001 and costs 12.50 EUR."
FILES = {
    "oil.md": f"# Gear oil\n\n{OIL} Used oil is collected in the red drum.\n",
    "seals.md": f"# Seal kits\n\n{SEAL} Seals are stored in the dark.\n",
    "steps.md": "# Steps\n\n| step | work | time |\n| --- | --- | --- |\n| A1 | Check | 20 |\n| A6 | Backup | 50 |\n",
}
OIL_ASKED = Asked(
    "oil", "How often is the gear oil changed?", ("every 2,000 hours", "2,000"), (("oil.md", OIL),), "oil", "oil/1"
)
SEAL_ASKED = Asked("seal", "What does the seal kit cost?", ("12.50 EUR",), (("seals.md", SEAL),), "seals", "seals/1")
NOBODY = Asked("who", "Who designed the pump's seal kit?", (), (), "seals", "seals/2")


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    settings = Settings.model_validate({"answering": {"min_probability": 0}})
    model = ScriptedModel("whatever")
    library = Library(tmp_path / "home", settings, embedder=FakeEmbedder(256, 256), chat_model=model)
    library.ingest([folder])
    yield library
    asyncio.run(library.aclose())


@pytest.fixture
def grounder(library: Library) -> Grounder:
    return Grounder(library, library.catalog.collection("default"))


@pytest.mark.parametrize("asked", [OIL_ASKED, SEAL_ASKED], ids=["oil", "seal"])
def test_the_prompt_is_the_one_that_the_server_sends(library: Library, grounder: Grounder, asked: Asked) -> None:
    example = grounder.with_gold(asked)
    assert not isinstance(example, str)
    asyncio.run(library.answerer.answer(Question(asked.question, strategy="rag")))
    (served,) = library.chat_model().asked
    assert [(m.role, m.content) for m in served] == [(m.role, m.content) for m in example.messages[:-1]]
    assert example.prompt_fingerprint == grounder.prompt(asked.question).prompt.fingerprint


def test_the_answer_holds_the_gold_and_passes_the_servers_check(library: Library, grounder: Grounder) -> None:
    example = grounder.with_gold(OIL_ASKED)
    assert not isinstance(example, str)
    target = example.messages[-1].content
    assert "2,000" in target
    run = grounder.prompt(OIL_ASKED.question)
    cited = cite(target, run.packed.evidence, library.similarity(), run.reader.page, None, run.query)
    assert cited.supported
    assert {each.source for each in cited.citations} == {"oil.md"}


def test_without_gold_no_passage_holds_the_answer_and_the_documents_do_not_say(grounder: Grounder) -> None:
    example = grounder.without_gold(OIL_ASKED)
    assert not isinstance(example, str)
    assert example.messages[-1].content == NOT_SAID["en"]
    assert "2,000" not in example.messages[1].content
    assert "<passage" in example.messages[1].content, "there are distractors"


def test_the_share_without_gold_counts_questions_that_cannot_be_answered(grounder: Grounder) -> None:
    made = ground(grounder, [OIL_ASKED, SEAL_ASKED, NOBODY], without_gold=0.5)
    assert (made.with_gold, made.without_gold) == (2, 2)
    told = [example for example in made.examples if example.messages[-1].content == NOT_SAID["en"]]
    assert len(told) == 2
    assert len({example.id for example in made.examples}) == 4
    again = ground(grounder, [NOBODY, SEAL_ASKED, OIL_ASKED], without_gold=0.5)
    assert again.examples == made.examples


def test_what_gives_no_example_is_counted(grounder: Grounder) -> None:
    gone = replace(SEAL_ASKED, id="gone", quotes=(("seals.md", "Nobody wrote this."),))
    wrong = replace(OIL_ASKED, id="wrong", answers=("every 9,000 hours",))
    follow_up = replace(OIL_ASKED, id="then", history=build("Hello?", grounded=True)[1:])
    made = ground(grounder, [gone, wrong, follow_up])
    assert made.examples == ()
    assert made.skipped == {
        "its quote is not in the collection": 1,
        "no answer is supported": 1,
        "is a follow-up": 1,
    }


def test_gold_that_retrieval_misses_takes_the_first_place(library: Library) -> None:
    settings = library.settings.model_copy(
        update={"retrieval": library.settings.retrieval.model_copy(update={"top_k": 1})}
    )
    grounder = Grounder(library, library.catalog.collection("default"), settings)
    astray = replace(OIL_ASKED, question="What does the seal kit of the ZP-60/2 pump have?", answers=("2,000 hours",))
    example = grounder.with_gold(astray)
    assert example == "no answer is supported" or OIL in example.messages[1].content


def test_closed_book_examples_are_the_same_facts_under_the_base_rules() -> None:
    (example,) = closed_book([OIL_ASKED, NOBODY])
    assert example.provenance.fact_key == "oil/1"
    assert [message.content for message in example.messages[:-1]] == [
        message.content for message in build(OIL_ASKED.question, grounded=False)
    ]
    assert example.messages[-1].content == "every 2,000 hours."


def test_a_limit_takes_every_group_and_each_fact_once_before_any_twice() -> None:
    asked = [
        replace(OIL_ASKED, id=f"{group}-{fact}-{wording}", group=group, fact_key=f"{group}/{fact}")
        for group in "abc"
        for fact in range(3)
        for wording in range(2)
    ]
    found = chosen(asked, 9)
    assert sorted(each.fact_key for each in found) == sorted({each.fact_key for each in asked})
    assert {each.group for each in chosen(asked, 3)} == set("abc")
    assert chosen(list(reversed(asked)), 9) == found


def test_wordings_grow_from_the_answer_and_a_row_names_what_it_is_about() -> None:
    assert list(wordings(["20 minutes"], ["The account is locked for 20 minutes."]))[:3] == [
        "20 minutes",
        "for 20 minutes",
        "locked for 20 minutes",
    ]
    assert list(wordings(["50 min", "50"], ["| A6 | Backup | 50 |"])) == ["50 min", "50", "A6: 50 min", "A6: 50"]
    assert list(wordings(["A6"], ["| A6 | Backup | 50 |"])) == ["A6", "A6: Backup"]
    assert sentence("Locked for 20 minutes.", "[2]") == "Locked for 20 minutes [2]."
    assert sentence("保存 32 年。", "[1]") == "保存 32 年 [1]。"


@pytest.mark.integration
def test_token_ids_are_equal_between_training_and_serving(tmp_path: Path) -> None:
    from rag.config import GenerationSettings
    from rag.generation.tokens import load_prompt_reader
    from rag.models import default_cache, resolve

    settings = GenerationSettings(device="cpu")
    reader = load_prompt_reader(resolve(settings.model, default_cache()), settings)
    (tmp_path / "files").mkdir()
    for name, text in FILES.items():
        (tmp_path / "files" / name).write_text(text, "utf-8")
    model = ScriptedModel("whatever", window=reader.window, name=settings.model)
    model.tokens = reader.tokens
    whole = Settings.model_validate({"answering": {"min_probability": 0}})
    library = Library(tmp_path / "home", whole, embedder=FakeEmbedder(256, 256), chat_model=model)
    library.ingest([tmp_path / "files"])
    example = Grounder(library, library.catalog.collection("default")).with_gold(OIL_ASKED)
    asyncio.run(library.answerer.answer(Question(OIL_ASKED.question, strategy="rag")))
    asyncio.run(library.aclose())
    served = reader.tokens.encode(reader.tokens.render(model.asked[0]))
    chat = [{"role": message.role, "content": message.content} for message in example.messages]
    tokenizer = reader.tokens._tokenizer
    trained = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)
    assert trained[: len(served)] == served
    assert tokenizer.decode(trained[len(served) :]).startswith(example.messages[-1].content)


@pytest.mark.vllm
def test_token_ids_are_those_of_vllm(grounder: Grounder) -> None:
    """``DOMAINQA_VLLM_URL`` is the address of a running vLLM that serves the starter model, without ``/v1``."""
    url = os.environ.get("DOMAINQA_VLLM_URL")
    if url is None:
        pytest.skip("DOMAINQA_VLLM_URL names no vLLM")
    from rag.config import GenerationSettings
    from rag.generation.tokens import load_prompt_reader
    from rag.models import default_cache, resolve
    from rag.types import Message

    settings = GenerationSettings(device="cpu")
    reader = load_prompt_reader(resolve(settings.model, default_cache()), settings)
    example = grounder.with_gold(OIL_ASKED)
    prompt = [Message(message.role, message.content) for message in example.messages[:-1]]
    body = {
        "model": settings.model,
        "messages": [{"role": message.role, "content": message.content} for message in prompt],
        "add_generation_prompt": True,
    }
    key = os.environ.get("DOMAINQA_ENGINE_API_KEY", "")
    found = httpx.post(f"{url}/tokenize", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    assert json.loads(found.text)["tokens"] == reader.tokens.encode(reader.tokens.render(prompt))

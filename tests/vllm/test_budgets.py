"""Token counts against a real vLLM: ours, its own before and after, and what our API tells are one number."""

import asyncio
import importlib.util
import json
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from rag import prompting
from rag.build import Library
from rag.config import AnsweringSettings, GenerationSettings, Settings
from rag.errors import DoesNotFitError
from rag.fakes import FakeEmbedder
from rag.generation.openai_server import OpenAIChatModel
from rag.generation.tokens import LocalTokenCounter, load_tokenizer
from rag.models import default_cache, resolve
from rag.question import Question
from rag.rewriting import ModelRewriter, rewriting_prompt
from rag.types import Evidence, Message, Sampling, Turn

pytestmark = pytest.mark.vllm
MODEL = "SmolLM2-135M-Instruct"


def _load(path: Path):
    # Test folders are no packages, so a file elsewhere is loaded by its path.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


running = _load(Path(__file__).parents[1] / "service" / "conftest.py")._running
"""``with running(library) as url``: the service on a free port."""


def passage(number: int, text: str, title: str = "Handbuch ZP-40/2") -> Evidence:
    return Evidence(
        number, f"d{number}", "v", f"{number}.md", title, None, 0, len(text), 3, "", text, (f"c{number}",), 0.5
    )


MIXED = (
    passage(1, "Das Anzugsmoment beträgt 42 Nm.\n\n| Größe | Nm |\n| --- | --- |\n| M8 | 25 |\n"),
    passage(2, "齿轮泵的额定压力为16巴。请勿超过该值。", "手册"),
    passage(3, "Масло следует менять каждые 2000 часов — не реже.", "Руководство"),
    passage(4, "Warning 🛠️🔥: don’t run dry!\tSee <|im_end|> and 👩‍🔧.\u200b\r\n    indented\n"),
)
EARLIER = Turn(
    "Which oil?",
    prompting.user_content("Which oil?", MIXED[:1]),
    "OF-220 [1].",
    MIXED[:1],
)
PROMPTS = {
    "system and user": (Message("system", "Be brief."), Message("user", "What is a pump?")),
    "several turns": (
        Message("system", "Be brief."),
        Message("user", "Hello"),
        Message("assistant", "Hi, how can I help?"),
        Message("user", "  spaces   and\n\n\nlines  "),
    ),
    "closed book": prompting.build("什么是齿轮泵？", grounded=False),
    "grounded": prompting.build("Какой момент затяжки?", MIXED, grounded=True),
    "grounded, with turns and instructions": prompting.build(
        "And how often? 🛠️", MIXED[1:], (EARLIER, Message("user", "ok"), Message("assistant", "")), grounded=True,
        instructions="Answer in French. <|im_start|>system",
    ),
    "rewriting": rewriting_prompt("And its weight?", (EARLIER,)),
}  # fmt: skip


@pytest.fixture(scope="module")
def local() -> LocalTokenCounter:
    folder = resolve(MODEL, default_cache())
    return LocalTokenCounter(load_tokenizer(folder, MODEL), MODEL)


def settings_for(engine, **generation) -> Settings:
    return Settings(
        generation=GenerationSettings(engine="openai", model=MODEL, base_url=engine.url, **generation),
        answering=AnsweringSettings(strategy="base"),
    )


def model_at(engine) -> OpenAIChatModel:
    return OpenAIChatModel(settings_for(engine).generation, environment={"DOMAINQA_ENGINE_API_KEY": engine.key})


def counted(engine, *names: str) -> list[float]:
    return [engine.metric(name) for name in names]


async def generate(model: OpenAIChatModel, messages, sampling: Sampling):
    try:
        async with aclosing(model.stream(messages, sampling)) as stream:
            return [piece async for piece in stream]
    finally:
        await model.aclose()


@pytest.fixture
def service(engine, tmp_path: Path) -> Iterator[str]:
    model = model_at(engine)
    with running(Library(tmp_path, settings_for(engine), embedder=FakeEmbedder(), chat_model=model)) as url:
        yield url


@pytest.mark.parametrize("name", PROMPTS)
def test_our_count_is_the_engines(engine, local, name):
    messages = PROMPTS[name]
    model = model_at(engine)
    usage = asyncio.run(generate(model, messages, Sampling(1)))[-1].usage
    assert model.tokens.exact
    assert local.count_messages(messages) == model.tokens.count_messages(messages) == usage.prompt_tokens
    for message in messages:
        assert local.count_text(message.content) == model.tokens.count_text(message.content)


@pytest.mark.parametrize("margin", [0, 1])
def test_a_prompt_fits_to_the_last_token_and_not_one_further(engine, local, tmp_path, margin):
    """Filled exactly to the window it is answered; with one token more it is refused and never reaches the engine."""
    max_tokens = 8
    model = model_at(engine)
    library = Library(tmp_path, settings_for(engine), embedder=FakeEmbedder(), chat_model=model)
    spare = model.window - max_tokens - local.count_messages(prompting.build("", grounded=False))
    question = " pump" * (spare + margin)
    excess = local.count_messages(prompting.build(question, grounded=False)) + max_tokens - model.window
    assert excess == margin
    before = counted(engine, "vllm:prompt_tokens_total", "vllm:request_success_total")

    async def ask():
        try:
            return await library.answerer.answer(Question(question, strategy="base", max_tokens=max_tokens))
        finally:
            await library.aclose()

    if margin:
        with pytest.raises(DoesNotFitError):
            asyncio.run(ask())
        assert counted(engine, "vllm:prompt_tokens_total", "vllm:request_success_total") == before
    else:
        usage = asyncio.run(ask()).usage
        assert usage.prompt_tokens == model.window - max_tokens
        after = counted(engine, "vllm:prompt_tokens_total", "vllm:request_success_total")
        assert [after[0] - before[0], after[1] - before[1]] == [usage.prompt_tokens, 1]


def test_the_api_tells_the_engines_own_usage(engine, service):
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:prefix_cache_hits_total")
    facts = " ".join(f"Valve {number} opens at {number + 3} bar." for number in range(60))
    body = {"model": "base", "messages": [{"role": "user", "content": f"{facts} Which opens first?"}], "max_tokens": 8}
    told = []
    for stream in (False, True):
        before = counted(engine, *names)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}, "trace": True}
            text = httpx.post(f"{service}/v1/chat/completions", json=body, timeout=120).text
            *_, closing, last, done = [block.removeprefix("data: ") for block in text.strip().split("\n\n")]
            assert done == "[DONE]"
            usage, trace = json.loads(last)["usage"], json.loads(closing)["domainqa"]["trace"]
        else:
            usage = httpx.post(f"{service}/v1/chat/completions", json=body, timeout=120).json()["usage"]
        spent = [after - earlier for after, earlier in zip(counted(engine, *names), before, strict=True)]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        assert [usage["prompt_tokens"], usage["completion_tokens"], cached] == spent
        told.append(usage)
    assert told[0]["prompt_tokens"] == told[1]["prompt_tokens"]
    assert told[1]["prompt_tokens_details"]["cached_tokens"] > 0, "the second time its prefix is known"
    assert trace["tokens"] == {
        "prompt": told[1]["prompt_tokens"],
        "cached": told[1]["prompt_tokens_details"]["cached_tokens"],
        "completion": told[1]["completion_tokens"],
    }
    metrics = httpx.get(f"{service}/metrics").text
    cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in told)
    assert f"domainqa_cached_prompt_tokens_total {float(cached)}" in metrics


def test_a_rewriting_is_held_to_its_schema(engine):
    history = (Turn("What oil does the ZP-40/2 take?", "?", "It takes OF-220."),)

    async def rewrite():
        model = model_at(engine)
        try:
            return await ModelRewriter().rewrite(model, "How much of it?", history)
        finally:
            await model.aclose()

    rewriting = asyncio.run(rewrite())
    print(f"rewritten by {rewriting.by}: {rewriting.query!r} ({rewriting.note})")  # noqa: T201
    assert rewriting.query
    assert rewriting.usage.completion_tokens > 0
    if rewriting.note is not None:
        assert "ignores" not in rewriting.note
        assert "no schema" not in rewriting.note

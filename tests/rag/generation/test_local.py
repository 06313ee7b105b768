"""The local engine against transformers' own generation, and its promises about waiting and stopping."""

import asyncio
import json
import random
import shutil
import threading
from contextlib import aclosing
from typing import ClassVar

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from rag.adapters import KnownAdapters
from rag.config import GenerationSettings
from rag.errors import (
    ConfigError,
    DoesNotFitError,
    EngineBusyError,
    EngineFaultError,
    EngineTimeoutError,
    EngineUnavailableError,
    ModelError,
    NotFoundError,
    NotSupportedError,
)
from rag.generation.local import LocalChatModel
from rag.types import Adapter, Message, Sampling

MESSAGES = (Message("system", "Be brief."), Message("user", "the pump?"))


def model_of(folder, **settings) -> LocalChatModel:
    return LocalChatModel(folder, GenerationSettings(model="tiny", **settings))


async def collect(model, sampling, messages=MESSAGES, adapter=None):
    async with aclosing(model.stream(messages, sampling, adapter)) as stream:
        return [piece async for piece in stream]


def answer(model, sampling, messages=MESSAGES, adapter=None) -> str:
    return "".join(piece.text for piece in asyncio.run(collect(model, sampling, messages, adapter)))


class Gate:
    """Holds the model at its next forward pass until opened, and counts the passes."""

    def __init__(self, model: LocalChatModel) -> None:
        self.passes = 0
        self.open = threading.Event()
        self.reached = threading.Event()
        model._model.register_forward_pre_hook(self._wait)

    def _wait(self, *_) -> None:
        self.passes += 1
        self.reached.set()
        assert self.open.wait(20)


@pytest.fixture
def tiny(tiny_model):
    model = model_of(tiny_model)
    yield model
    asyncio.run(model.aclose())


def oracle(folder, max_tokens, messages=MESSAGES) -> list[int]:
    """What `generate` gives."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": message.role, "content": message.content} for message in messages]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    config = GenerationConfig(max_new_tokens=max_tokens, do_sample=False, eos_token_id=1, pad_token_id=1)
    generated = AutoModelForCausalLM.from_pretrained(folder).generate(**ids, generation_config=config)
    return generated[0, ids["input_ids"].shape[1] :].tolist()


def test_greedy_text_and_usage_are_those_of_generate(tiny, tiny_model):
    expected = oracle(tiny_model, 60)
    pieces = asyncio.run(collect(tiny, Sampling(60)))
    text = "".join(piece.text for piece in pieces)
    assert len(set(expected)) > 5, "a model that repeats itself would show little"
    assert text == AutoTokenizer.from_pretrained(tiny_model).decode(expected).replace("\ufffd", "")
    assert sum(1 for piece in pieces if piece.text) > 5
    assert pieces[-1].finish_reason == "length"
    assert pieces[-1].usage.completion_tokens == 60
    assert pieces[-1].usage.prompt_tokens == tiny.tokens.count_messages(MESSAGES)
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)


def test_a_prompt_read_in_pieces_gives_the_same(tiny, tiny_model, monkeypatch):
    monkeypatch.setattr("rag.generation.decoding._PROMPT_PIECE", 7)
    expected = AutoTokenizer.from_pretrained(tiny_model).decode(oracle(tiny_model, 30)).replace("\ufffd", "")
    assert answer(tiny, Sampling(30)) == expected


def test_no_piece_shows_half_a_character(tiny):
    for seed in range(5):
        for piece in asyncio.run(collect(tiny, Sampling(80, temperature=1.5, seed=seed))):
            assert "\ufffd" not in piece.text


def test_sampling_repeats_with_its_seed_and_differs_with_another(tiny):
    texts = [answer(tiny, Sampling(40, temperature=1.0, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_the_smallest_nucleus_is_greedy(tiny):
    assert answer(tiny, Sampling(30, temperature=1.0, top_p=1e-6, seed=3)) == answer(tiny, Sampling(30))


def test_it_stops_at_the_models_end_token(tiny_model, tmp_path):
    tokens = oracle(tiny_model, 20)
    end = next(position for position in range(3, 20) if tokens[position] not in tokens[:position])
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_model, folder)
    GenerationConfig(eos_token_id=[1, tokens[end]], pad_token_id=1).save_pretrained(folder)
    model = model_of(folder)
    pieces = asyncio.run(collect(model, Sampling(20)))
    asyncio.run(model.aclose())
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].usage.completion_tokens == end + 1
    expected = AutoTokenizer.from_pretrained(tiny_model).decode(tokens[:end]).replace("\ufffd", "")
    assert "".join(piece.text for piece in pieces) == expected


def test_a_stop_string_ends_the_answer_before_it(tiny):
    whole = answer(tiny, Sampling(60))
    stop = whole[len(whole) // 2 :][:3]
    pieces = asyncio.run(collect(tiny, Sampling(60, stop=(stop,))))
    assert "".join(piece.text for piece in pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"


def test_closing_the_stream_stops_the_model_within_a_token(tiny):
    gate = Gate(tiny)
    gate.open.set()

    async def close_early() -> int:
        stream = tiny.stream(MESSAGES, Sampling(200))
        await anext(stream)
        await stream.aclose()
        return gate.passes

    at_close = asyncio.run(close_early())
    asyncio.run(collect(tiny, Sampling(1)))  # waits for the worker: it is free only when the first one has ended
    assert gate.passes <= at_close + 1 + 1
    assert gate.passes < 150


def test_answers_come_in_the_order_of_asking(tiny):
    finished: list[int] = []

    async def ask(number: int) -> None:
        await collect(tiny, Sampling(20))
        finished.append(number)

    async def ask_all() -> None:
        tasks = []
        for number in range(4):
            tasks.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0.02)
        await asyncio.gather(*tasks)

    asyncio.run(ask_all())
    assert finished == [0, 1, 2, 3]


def test_over_its_bound_the_queue_says_busy(tiny_model):
    model = model_of(tiny_model, max_queue=1)
    gate = Gate(model)

    async def crowd() -> None:
        first = asyncio.create_task(collect(model, Sampling(3)))
        await asyncio.to_thread(gate.reached.wait, 20)
        second = asyncio.create_task(collect(model, Sampling(3)))
        await asyncio.sleep(0.05)
        with pytest.raises(EngineBusyError, match="busy") as caught:
            await collect(model, Sampling(3))
        assert caught.value.retry_after_s >= 1
        gate.open.set()
        assert (await first)[-1].finish_reason == "length"
        assert (await second)[-1].finish_reason == "length"
        await collect(model, Sampling(3))
        await model.aclose()

    asyncio.run(crowd())


def test_a_request_cancelled_in_the_queue_never_reaches_the_model(tiny_model):
    model = model_of(tiny_model)
    gate = Gate(model)

    async def cancel() -> None:
        first = asyncio.create_task(collect(model, Sampling(3)))
        await asyncio.to_thread(gate.reached.wait, 20)
        second = asyncio.create_task(collect(model, Sampling(50)))
        await asyncio.sleep(0.05)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.open.set()
        await first
        await model.aclose()

    asyncio.run(cancel())
    assert gate.passes == 3


def test_a_late_answer_times_out_and_frees_the_engine(tiny_model):
    model = model_of(tiny_model, timeout_s=0.2)
    gate = Gate(model)

    async def wait() -> None:
        with pytest.raises(EngineTimeoutError, match=r"0\.2 s"):
            await collect(model, Sampling(50))
        gate.open.set()
        await collect(model, Sampling(1))
        await model.aclose()

    asyncio.run(wait())
    assert gate.passes <= 3


def test_a_slow_reader_gets_what_was_generated_in_time(tiny_model):
    model = model_of(tiny_model, timeout_s=2)

    async def read_late() -> list:
        async with aclosing(model.stream(MESSAGES, Sampling(20))) as stream:
            pieces = [await anext(stream)]
            await asyncio.sleep(2.1)
            pieces += [piece async for piece in stream]
        await model.aclose()
        return pieces

    assert asyncio.run(read_late())[-1].finish_reason == "length"


def test_closing_the_engine_ends_its_thread_and_tells_who_waits(tiny_model):
    model = model_of(tiny_model)
    gate = Gate(model)

    async def close() -> None:
        first = asyncio.create_task(collect(model, Sampling(50)))
        await asyncio.to_thread(gate.reached.wait, 20)
        second = asyncio.create_task(collect(model, Sampling(50)))
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(model.aclose())
        await asyncio.sleep(0.05)
        gate.open.set()
        await closing
        assert (await first)[-1].finish_reason == "cancelled"
        with pytest.raises(EngineUnavailableError):
            await second
        with pytest.raises(EngineUnavailableError, match="closed"):
            await collect(model, Sampling(1))

    asyncio.run(close())
    assert not any(thread.name.startswith("generation") for thread in threading.enumerate())


def test_what_does_not_fit_the_window_is_refused_and_what_just_fits_is_not(tiny):
    prompt = tiny.tokens.count_messages(MESSAGES)
    with pytest.raises(DoesNotFitError, match=f"{prompt} tokens.*{tiny.window}"):
        asyncio.run(collect(tiny, Sampling(tiny.window - prompt + 1)))
    assert asyncio.run(collect(tiny, Sampling(tiny.window - prompt)))[-1].usage.completion_tokens > 0


def test_a_bug_in_the_model_reaches_the_caller_and_leaves_the_engine_usable(tiny, monkeypatch):
    monkeypatch.setattr(tiny._tokens, "decode", lambda ids: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answer(tiny, Sampling(5))
    monkeypatch.undo()
    assert answer(tiny, Sampling(30))


def test_settings_that_cannot_be_met_are_refused(tiny_model, tmp_path):
    with pytest.raises(ConfigError, match="concurrency is 2"):
        model_of(tiny_model, concurrency=2)
    with pytest.raises(ConfigError, match=r"window is 512.*256"):
        model_of(tiny_model, window=512)
    with pytest.raises(ModelError, match="tiny"):
        model_of(tmp_path)


def test_a_chat_without_system_message_is_refused(tiny):
    with pytest.raises(ValueError, match="system message"):
        answer(tiny, Sampling(5), messages=(Message("user", "the pump?"),))


# --- reuse of what was read ---------------------------------------------------------------------


def usage(model, messages, sampling=Sampling(8), adapter=None):  # noqa: B008 - frozen
    return asyncio.run(collect(model, sampling, messages, adapter))[-1].usage


def conversation(model, turns, adapter=None):
    """The messages of each turn: the ones before it, what was answered, and a new question."""
    messages = MESSAGES
    for number in range(turns):
        yield messages
        said = answer(model, Sampling(8), messages, adapter)
        messages = (*messages, Message("assistant", said), Message("user", f"and the valve {number}?"))


@pytest.mark.parametrize("piece", [3, 512])
def test_answers_are_the_same_with_and_without_reuse(tiny_model, make_adapter, monkeypatch, piece):
    monkeypatch.setattr("rag.generation.decoding._PROMPT_PIECE", piece)
    adapters = {"one": str(make_adapter(1)), "two": str(make_adapter(2))}
    keeping, plain = (model_of(tiny_model, adapters=adapters, prefix_cache_mib=mib) for mib in (64, 0))
    picked = random.Random(3)
    reused = 0
    prompts = [messages for _ in range(2) for messages in conversation(plain, 3)]
    prompts += [(MESSAGES[0], Message("user", "the " * n + "valve")) for n in range(6)]
    for _ in range(60):
        messages, adapter = picked.choice(prompts), picked.choice([None, "one", "two"])
        sampling = Sampling(picked.randint(1, 12), temperature=picked.choice([0.0, 0.9]), seed=4)
        got, expected = (collect_text(model, messages, sampling, adapter) for model in (keeping, plain))
        assert got[0] == expected[0]
        assert expected[1].cached_tokens == 0
        reused += got[1].cached_tokens
    assert reused > 500
    for model in (keeping, plain):
        asyncio.run(model.aclose())


def collect_text(model, messages, sampling, adapter):
    pieces = asyncio.run(collect(model, sampling, messages, adapter))
    return "".join(piece.text for piece in pieces), pieces[-1].usage


def test_a_conversation_reads_only_what_is_new(tiny):
    before = 0
    for messages in conversation(tiny, 3):
        used = usage(tiny, messages)
        assert used.cached_tokens >= before
        before = used.prompt_tokens
    fresh = (*MESSAGES[:1], Message("user", "something else"))
    assert 0 < usage(tiny, fresh).cached_tokens < before / 2, "the rules are shared"


def test_the_same_prompt_again_is_read_but_for_its_last_token(tiny):
    first, again = usage(tiny, MESSAGES), usage(tiny, MESSAGES)
    assert first.cached_tokens == 0
    assert again.cached_tokens == again.prompt_tokens - 1


def test_nothing_is_reused_across_adapters(tiny_model, make_adapter):
    model = model_of(tiny_model, adapters={"one": str(make_adapter(1)), "two": str(make_adapter(2))})
    for adapter in (None, "one", "two"):
        assert usage(model, MESSAGES, adapter=adapter).cached_tokens == 0
    for adapter in (None, "one", "two"):
        assert usage(model, MESSAGES, adapter=adapter).cached_tokens > 0
    asyncio.run(model.aclose())


def test_what_a_cancelled_answer_read_is_kept_and_right(tiny):
    expected = answer(tiny, Sampling(30))
    other = (MESSAGES[0], Message("user", "the pump and the valve"))

    async def leave() -> None:
        stream = tiny.stream(other, Sampling(200))
        await anext(stream)
        await stream.aclose()

    asyncio.run(leave())
    assert usage(tiny, other).cached_tokens > 0
    assert answer(tiny, Sampling(30)) == expected


def test_after_a_failing_step_nothing_half_read_is_kept(tiny):
    calls = 0

    def fail(*_) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise torch.OutOfMemoryError("no room")

    expected = usage(tiny, MESSAGES)
    hook = tiny._model.model.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(EngineFaultError, match="out of memory"):
        answer(tiny, Sampling(9))
    hook.remove()
    assert usage(tiny, MESSAGES) == expected, "and what was kept gave its memory back"


# --- adapters -----------------------------------------------------------------------------------


def test_adapters_change_the_answer_and_the_base_stays_as_it_was(tiny_model, make_adapter):
    adapters = {"one": str(make_adapter(1)), "two": str(make_adapter(2))}
    model = model_of(tiny_model, adapters=adapters)
    base = answer(model, Sampling(30))
    one, two = (answer(model, Sampling(30), adapter=name) for name in ("one", "two"))
    assert len({base, one, two}) == 3
    assert answer(model, Sampling(30)) == base
    assert answer(model, Sampling(30), adapter="one") == one
    asyncio.run(model.aclose())


def test_a_schema_is_refused_with_the_way_out(tiny):
    with pytest.raises(NotSupportedError, match=r"JSON schema.*generation\.engine"):
        answer(tiny, Sampling(5, json_schema={"type": "object"}))


def test_an_unknown_adapter_is_named_with_the_known_ones(tiny_model, make_adapter):
    model = model_of(tiny_model, adapters={"one": str(make_adapter(1))})
    with pytest.raises(NotFoundError, match=r"'three'.*one"):
        answer(model, Sampling(5), adapter="three")
    asyncio.run(model.aclose())


def test_an_adapter_of_another_base_is_refused_before_it_touches_the_model(tiny_model, make_adapter, tmp_path):
    renamed, misshapen, broken = (tmp_path / name for name in ("renamed", "misshapen", "broken"))
    shutil.copytree(make_adapter(1), renamed)
    config = json.loads((renamed / "adapter_config.json").read_text())
    (renamed / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "owner/other"}))
    shutil.copytree(make_adapter(1), misshapen)
    from safetensors.torch import load_file, save_file

    weights = load_file(misshapen / "adapter_model.safetensors")
    name = next(key for key in weights if key.endswith("lora_A.weight"))
    save_file(weights | {name: torch.zeros(4, 48)}, misshapen / "adapter_model.safetensors")
    broken.mkdir()
    model = model_of(tiny_model, adapters={"renamed": str(renamed), "misshapen": str(misshapen), "broken": str(broken)})
    base = answer(model, Sampling(30))
    for adapter, reason in (("renamed", "owner/other"), ("misshapen", "does not fit"), ("broken", "cannot be read")):
        with pytest.raises(ModelError, match=reason):
            answer(model, Sampling(5), adapter=adapter)
    assert answer(model, Sampling(30)) == base
    asyncio.run(model.aclose())


def test_adapters_of_a_source_are_loaded_by_what_their_label_stands_for_and_forgotten_when_gone(
    tiny_model, make_adapter
):
    class Source:
        folders: ClassVar = {f"pumps-{seed}": str(make_adapter(seed)) for seed in (1, 2)}
        current = "pumps-1"

        def names(self):
            return [*self.folders, "pumps"]

        def find(self, reference):
            name = self.current if reference == "pumps" else reference
            return Adapter(name, self.folders[name]) if name in self.folders else None

    source = Source()
    model = LocalChatModel(tiny_model, GenerationSettings(model="tiny"), KnownAdapters({}, source))
    one = answer(model, Sampling(30), adapter="pumps")
    source.current = "pumps-2"
    two = answer(model, Sampling(30), adapter="pumps")
    assert one == answer(model, Sampling(30), adapter="pumps-1") != two
    del source.folders["pumps-1"]
    with pytest.raises(NotFoundError, match="'pumps-1'; there are: pumps, pumps-2"):
        answer(model, Sampling(30), adapter="pumps-1")
    source.folders["pumps-3"] = str(make_adapter(3))
    assert answer(model, Sampling(30), adapter="pumps-3") not in (one, two)
    assert model._adapters._loaded == {"pumps-2", "pumps-3"}
    assert answer(model, Sampling(30), adapter="pumps-2") == two
    asyncio.run(model.aclose())

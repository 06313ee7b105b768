"""Adapters on a real vLLM: loaded and evicted as the registry says, refused before loading, never mixed up."""

import asyncio
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import httpx
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from finetune.adapters import AdapterRegistry
from finetune.fitting import Base, read_base
from rag.build import Library
from rag.config import Settings
from rag.errors import EngineError
from rag.generation.local import LocalChatModel
from rag.interfaces import Endpoint, ModelServer
from rag.models import default_cache, resolve
from rag.types import Message, Sampling
from service.api.app import create_app
from service.loading import AdapterLoader
from service.reconciling import Reconciler
from service.registered import registered_adapters, watching

pytestmark = pytest.mark.vllm

MODEL = "SmolLM2-135M-Instruct"
MAX_RANK = 16
"""Of the server that all tests share."""
TOKENS = 12
# Longer than a few blocks of vLLM's prefix cache, which on a CPU have 128 tokens.
RULES = " ".join(f"Rule {number}: valve {number} of the pump opens at {number + 3} bar." for number in range(20))
MESSAGES = (Message("system", RULES), Message("user", "What is a gear pump used for?"))


# --- the server -----------------------------------------------------------------------------------


class Engine(Protocol):
    """What these tests use of the running server."""

    settings: Settings
    supervisor: ModelServer

    @property
    def url(self) -> str: ...

    @property
    def key(self) -> str: ...

    def endpoint(self) -> Endpoint: ...

    def state(self) -> str: ...

    def pids(self) -> list[int]: ...


def ask(engine: Engine, model: str, tokens: int = TOKENS) -> tuple[str, int]:
    """The greedy answer, and how many of the prompt's tokens came from the prefix cache."""
    answer = httpx.post(
        f"{engine.url}/chat/completions",
        json={
            "model": model,
            "messages": [{"role": each.role, "content": each.content} for each in MESSAGES],
            "max_tokens": tokens,
            "temperature": 0,
        },
        headers={"Authorization": f"Bearer {engine.key}"},
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["choices"][0]["message"]["content"], (body["usage"]["prompt_tokens_details"] or {})["cached_tokens"]


def post(engine: Engine, path: str, **body: str) -> httpx.Response:
    return httpx.post(f"{engine.url}/{path}", json=body, headers={"Authorization": f"Bearer {engine.key}"}, timeout=60)


def served(engine: Engine) -> set[str]:
    """Nothing, while the server is away."""
    try:
        return {model.name for model in AdapterLoader(engine).served()}
    except EngineError:
        return set()


# --- adapters -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base() -> Base:
    return read_base(resolve(MODEL, default_cache()), MODEL)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a LoRA on the real base whose random weights change what it says."""

    def make(seed: int, rank: int = 8) -> Path:
        folder = tmp_path_factory.mktemp("trained")
        model = AutoModelForCausalLM.from_pretrained(resolve(MODEL, default_cache()))
        torch.manual_seed(seed)
        lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        with warnings.catch_warnings():
            # peft asks for it by the name that transformers 5 has deprecated.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted = get_peft_model(model, lora)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(0, 0.25)
        adapted.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def folders(trained: Callable[..., Path]) -> dict[str, Path]:
    return {"one": trained(1), "two": trained(2)}


@pytest.fixture(scope="module")
def expected(folders: dict[str, Path]) -> dict[str | None, str]:
    """What peft itself answers, with each adapter and without."""
    settings = Settings.model_validate({"generation": {"adapters": {key: str(each) for key, each in folders.items()}}})

    async def answers() -> dict[str | None, str]:
        model = LocalChatModel(resolve(MODEL, default_cache()), settings.generation)
        try:
            return {
                adapter: "".join([piece.text async for piece in model.stream(MESSAGES, Sampling(TOKENS), adapter)])
                for adapter in (None, *folders)
            }
        finally:
            await model.aclose()

    found = asyncio.run(answers())
    assert len(set(found.values())) == 3, "adapters that answer alike would show little"
    return found


class CountingLoader(AdapterLoader):
    """Remembers what was to be loaded."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.asked_for: list[str] = []

    def load(self, name: str, folder: Path) -> None:
        self.asked_for.append(name)
        super().load(name, folder)


@pytest.fixture
def registry(tmp_path: Path, engine: Engine) -> Iterator[AdapterRegistry]:
    """One whose adapters are gone from the server after the test."""
    registry = AdapterRegistry(tmp_path / "home")
    yield registry
    for manifest in registry.list():
        registry.remove(manifest.name, even_if_current=True)
    Reconciler(registry, AdapterLoader(engine), MODEL, max_rank=MAX_RANK).reconcile()
    assert served(engine) == {MODEL}


# --- what is promised -----------------------------------------------------------------------------


def test_an_adapter_loaded_at_run_time_answers_as_peft_does_and_the_base_as_before(
    engine: Engine, registry: AdapterRegistry, base: Base, folders: dict[str, Path], expected: dict[str | None, str]
) -> None:
    before = ask(engine, MODEL)[0]
    name = registry.register(folders["one"], "one", base).name
    result = Reconciler(registry, AdapterLoader(engine), MODEL, max_rank=MAX_RANK).reconcile()
    assert (result.loaded, result.failed) == ((name,), ())
    assert served(engine) == {MODEL, name}
    assert ask(engine, name)[0] == expected["one"]
    assert ask(engine, MODEL)[0] == before == expected[None]


def test_two_adapters_and_the_base_at_once_answer_as_each_does_alone(
    engine: Engine, registry: AdapterRegistry, base: Base, folders: dict[str, Path], expected: dict[str | None, str]
) -> None:
    names = {None: MODEL} | {label: registry.register(folder, label, base).name for label, folder in folders.items()}
    Reconciler(registry, AdapterLoader(engine), MODEL, max_rank=MAX_RANK).reconcile()
    alone = {label: ask(engine, name)[0] for label, name in names.items()}
    assert alone == expected
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda label: (label, ask(engine, names[label])[0]), [*names, *names]))
    assert together == [(label, alone[label]) for label in [*names, *names]]


def test_unfit_adapters_are_refused_before_loading_and_stop_no_other(
    engine: Engine,
    registry: AdapterRegistry,
    base: Base,
    folders: dict[str, Path],
    trained: Callable[..., Path],
) -> None:
    fit = registry.register(folders["one"], "fit", base).name
    other_base = registry.register(folders["two"], "otherbase", replace(base, weights_hash="0" * 64)).name
    other_type = registry.register(folders["two"], "othertype", replace(base, model_type="qwen2")).name
    high = registry.register(trained(3, rank=2 * MAX_RANK), "high", base).name
    loader = CountingLoader(engine)
    result = Reconciler(registry, loader, MODEL, max_rank=MAX_RANK).reconcile()
    assert loader.asked_for == [fit]
    assert result.loaded == (fit,)
    reasons = {failure.source: failure.reason for failure in result.failed}
    assert reasons.keys() == {other_base, other_type, high}
    assert base.weights_hash[:12] in reasons[other_base]
    assert "qwen2" in reasons[other_type]
    assert "rank 32" in reasons[high]
    assert "16" in reasons[high]
    assert served(engine) == {MODEL, fit}


def test_what_is_no_longer_registered_is_unloaded_and_others_models_stay(
    engine: Engine, registry: AdapterRegistry, base: Base, folders: dict[str, Path], expected: dict[str | None, str]
) -> None:
    name = registry.register(folders["one"], "one", base).name
    assert post(engine, "load_lora_adapter", lora_name="theirs", lora_path=str(folders["two"])).is_success
    try:
        reconciler = Reconciler(registry, AdapterLoader(engine), MODEL, max_rank=MAX_RANK)
        assert reconciler.reconcile().loaded == (name,)
        assert reconciler.reconcile().kept == (name,)
        registry.remove(name)
        assert reconciler.reconcile().unloaded == (name,)
        assert served(engine) == {MODEL, "theirs"}
        assert ask(engine, MODEL)[0] == expected[None]
    finally:
        assert post(engine, "unload_lora_adapter", lora_name="theirs").is_success


def test_the_api_answers_with_a_labels_current_adapter_and_says_which(
    engine: Engine,
    registry: AdapterRegistry,
    base: Base,
    folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    names = [registry.register(folders[label], "pumps", base).name for label in ("one", "two")]
    home, settings, server = tmp_path / "home", engine.settings, engine.supervisor
    library = Library(home, settings, server=server, adapters=registered_adapters(home, settings, server))

    async def ask_api(model: str) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "What is a pump?"}], "max_tokens": TOKENS}
        return await client.post("/v1/chat/completions", json=body, timeout=120)

    async def conversation() -> None:
        registry.promote("pumps", names[0])
        first = (await ask_api("base@pumps")).json()["choices"][0]["message"]
        registry.promote("pumps", names[1])
        second = (await ask_api("base@pumps")).json()["choices"][0]["message"]
        assert [each["domainqa"]["adapter"] for each in (first, second)] == names
        assert first["content"] != second["content"]
        assert (await ask_api(f"base@{names[0]}")).json()["choices"][0]["message"]["content"] == first["content"]
        unknown = await ask_api("base@nobody")
        assert unknown.status_code == 404
        assert all(each in unknown.json()["error"]["message"] for each in ("nobody", "pumps", *names))

    async def run() -> None:
        nonlocal client
        transport = httpx.ASGITransport(create_app(library))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            await conversation()
        await library.aclose()

    client: httpx.AsyncClient
    asyncio.run(run())


def test_the_same_name_for_other_weights_mixes_old_and_new_and_a_name_by_content_does_not(
    engine: Engine,
    registry: AdapterRegistry,
    base: Base,
    folders: dict[str, Path],
    expected: dict[str | None, str],
    tmp_path: Path,
) -> None:
    """vLLM knows cached blocks by the adapter's name and path, whatever weights they were computed with."""
    folder = tmp_path / "reused"
    shutil.copytree(folders["one"], folder)
    assert post(engine, "load_lora_adapter", lora_name="reused", lora_path=str(folder)).is_success
    assert ask(engine, "reused") == (expected["one"], 0)
    assert post(engine, "unload_lora_adapter", lora_name="reused").is_success
    shutil.copytree(folders["two"], folder, dirs_exist_ok=True)
    assert post(engine, "load_lora_adapter", lora_name="reused", lora_path=str(folder)).is_success
    text, cached_tokens = ask(engine, "reused")
    assert post(engine, "unload_lora_adapter", lora_name="reused").is_success
    print(f"same name, other weights: {cached_tokens} stale tokens; {text!r} instead of {expected['two']!r}")  # noqa: T201
    assert cached_tokens >= 256, "blocks of the old weights are used for the new ones: the fault is there"

    reconciler = Reconciler(registry, AdapterLoader(engine), MODEL, max_rank=MAX_RANK)
    for label in ("one", "two"):
        name = registry.register(folders[label], "reused", base).name
        reconciler.reconcile()
        assert ask(engine, name) == (expected[label], 0)
        assert ask(engine, name)[1] >= 256


def test_after_a_restart_of_the_server_the_registry_is_loaded_again(
    engine: Engine,
    registry: AdapterRegistry,
    base: Base,
    folders: dict[str, Path],
    expected: dict[str | None, str],
    tmp_path: Path,
    eventually: Callable[..., object],
) -> None:
    names = {label: registry.register(folder, label, base).name for label, folder in folders.items()}
    everything = {MODEL, *names.values()}
    with watching(registered_adapters(tmp_path / "home", engine.settings, engine.supervisor)):
        eventually(lambda: served(engine) == everything)
        for pid in engine.pids():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: engine.state() != "ok")
        assert engine.url, "waits for the new start"
        eventually(lambda: served(engine) == everything)
        answers = {label: ask(engine, name)[0] for label, name in names.items()}
        assert answers == {label: expected[label] for label in names}
        registry.remove(names["one"])
        eventually(lambda: served(engine) == {MODEL, names["two"]})

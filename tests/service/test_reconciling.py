"""Registry against server, with a server that keeps vLLM's rules for its adapters."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from finetune.adapters import AdapterRegistry
from finetune.fitting import Base
from rag.errors import EngineError, EngineUnavailableError, ModelError
from rag.interfaces import Endpoint
from service import reconciling
from service.loading import AdapterLoader
from service.reconciling import Reconciler
from tests.finetune.workbench import make_adapter, make_base

MODEL = "tiny"


class FakeVllm:
    """vLLM's three addresses over a dictionary of names to folders, and where it is."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.adapters: dict[str, str] = {}
        self.at = Endpoint("http://engine:8000/v1", "secret")
        self.down: str | None = None
        """Why it cannot be asked, to whoever looks it up."""
        self.unreachable = False
        self.fails_on: set[str] = set()
        self.requests: list[str] = []
        self.allows_loading = True

    def endpoint(self) -> Endpoint:
        if self.down is not None:
            raise EngineUnavailableError(self.down)
        return self.at

    def state(self) -> str:
        return self.down or "ok"

    def restart(self) -> None:
        """Everything is forgotten, and the key is another."""
        self.adapters = {}
        self.at = replace(self.at, key=f"{self.at.key}+")

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.unreachable:
            raise httpx.ConnectError("connection refused")
        self.requests.append(request.url.path.removeprefix("/v1/"))
        if request.headers.get("authorization") != f"Bearer {self.at.key}":
            return httpx.Response(401, json={"error": "Unauthorized"})
        if request.url.path == "/v1/models":
            cards = [{"id": MODEL, "root": str(self.base), "parent": None}]
            cards += [{"id": name, "root": root, "parent": MODEL} for name, root in self.adapters.items()]
            return httpx.Response(200, json={"object": "list", "data": cards})
        if not self.allows_loading:
            return httpx.Response(404, json={"error": {"message": "Not Found", "code": 404}})
        body = json.loads(request.content)
        name = body["lora_name"]
        if request.url.path == "/v1/load_lora_adapter":
            if name in self.adapters:
                return self._error(400, f"The lora adapter '{name}' has already been loaded.")
            if name in self.fails_on:
                return self._error(500, "out of memory, says secret")
            self.adapters[name] = body["lora_path"]
        elif name in self.adapters:
            del self.adapters[name]
        else:
            return self._error(404, f"The lora adapter '{name}' cannot be found.")
        return httpx.Response(200, text="Success")

    @staticmethod
    def _error(status: int, message: str) -> httpx.Response:
        return httpx.Response(status, json={"error": {"message": message, "code": status}})


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return make_base(tmp_path / "base")


@pytest.fixture
def vllm(tmp_path: Path, base: Base) -> FakeVllm:
    return FakeVllm(tmp_path / "base")


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "home")


@pytest.fixture
def add(tmp_path: Path, registry: AdapterRegistry, base: Base) -> Callable[..., str]:
    def add(seed: int, base: Base = base, label: str = "a", **adapter: object) -> str:
        folder = tmp_path / f"trained-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        return registry.register(make_adapter(folder, seed, **adapter), label, base).name

    return add


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reconciler(registry: AdapterRegistry, vllm: FakeVllm, clock: Clock) -> Iterator[Reconciler]:
    loader = AdapterLoader(vllm, httpx.MockTransport(vllm.answer))
    reconciler = Reconciler(registry, loader, MODEL, max_rank=2, now=clock)
    yield reconciler
    reconciler.stop()
    loader.close()


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- one comparison -------------------------------------------------------------------------------


def test_what_is_registered_is_loaded_kept_and_unloaded_with_the_registry(
    registry: AdapterRegistry, vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str]
) -> None:
    one, two = sorted([add(1), add(2)])
    first = reconciler.reconcile()
    assert sorted(first.loaded) == [one, two]
    assert vllm.adapters == {name: str(registry.folder(name).resolve()) for name in (one, two)}
    assert sorted(reconciler.reconcile().kept) == [one, two]
    registry.remove(one)
    assert reconciler.reconcile().unloaded == (one,)
    assert vllm.adapters.keys() == {two}


def test_models_and_adapters_of_others_are_never_touched(
    vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str]
) -> None:
    theirs = f"a-{'0' * 12}"
    vllm.adapters = {"theirs": "/elsewhere/theirs", theirs: f"/elsewhere/{theirs}"}
    name = add(1)
    assert reconciler.reconcile().unloaded == ()
    assert vllm.adapters.keys() == {"theirs", theirs, name}
    assert "unload_lora_adapter" not in vllm.requests


def test_a_name_that_another_model_has_is_a_failure_and_stays_theirs(
    vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str]
) -> None:
    name = add(1)
    vllm.adapters[name] = "/elsewhere"
    result = reconciler.reconcile()
    assert [(each.source, "/elsewhere" in each.reason) for each in result.failed] == [(name, True)]
    assert vllm.adapters[name] == "/elsewhere"


def test_each_unfit_adapter_is_refused_unloaded_with_its_reason_and_the_fit_one_is_served(
    registry: AdapterRegistry, vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str], base: Base
) -> None:
    fit = add(1)
    unfit = {
        add(2, replace(base, weights_hash="0" * 64)): base.weights_hash[:12],
        add(3, replace(base, model_type="qwen2")): "of type qwen2",
        add(4, rank=3): "rank 3 is above the engine's limit of 2",
        add(5, use_dora=True): "DoRA",
        add(6): "were changed after it was registered",
    }
    changed = registry.folder(list(unfit)[-1]) / "adapter_model.safetensors"
    changed.chmod(0o644)
    changed.write_bytes(changed.read_bytes() + b" ")
    result = reconciler.reconcile()
    assert result.loaded == (fit,)
    reasons = {failure.source: failure.reason for failure in result.failed}
    assert reasons.keys() == unfit.keys()
    assert {name: unfit[name] in reasons[name] for name in unfit} == dict.fromkeys(unfit, True)
    assert vllm.requests.count("load_lora_adapter") == 1
    assert reconciler.problems() == reasons


def test_without_the_bases_files_its_name_decides(
    vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str], base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "cached", lambda reference, cache: None)
    vllm.base = Path("owner/tiny")
    named, other = add(1), add(2, replace(base, reference="owner/other"), base_model_name_or_path="other")
    result = reconciler.reconcile()
    assert result.loaded == (named,)
    assert [(each.source, "made for owner/other" in each.reason) for each in result.failed] == [(other, True)]


def test_a_server_that_fails_one_adapter_still_gets_the_others_and_the_key_is_not_told(
    vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str], clock: Clock
) -> None:
    bad, good = add(1), add(2)
    vllm.fails_on = {bad}
    result = reconciler.reconcile()
    assert result.loaded == (good,)
    assert "out of memory, says ***" in result.failed[0].reason
    assert reconciler.reconcile().failed == result.failed
    assert vllm.requests.count("load_lora_adapter") == 2, "not tried again at once"
    clock.now += 61
    vllm.fails_on = set()
    assert reconciler.reconcile().loaded == (bad,)
    assert reconciler.problems() == {}


def test_a_server_that_loads_nothing_at_run_time_is_told_what_it_needs(
    vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str]
) -> None:
    add(1)
    vllm.allows_loading = False
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in reconciler.reconcile().failed[0].reason


def test_a_server_without_adapters_is_asked_for_none(
    registry: AdapterRegistry, vllm: FakeVllm, add: Callable[..., str]
) -> None:
    name = add(1)
    reconciler = Reconciler(
        registry, AdapterLoader(vllm, httpx.MockTransport(vllm.answer)), MODEL, refusal="started without adapters"
    )
    assert [(each.source, each.reason) for each in reconciler.reconcile().failed] == [
        (name, "started without adapters")
    ]
    assert vllm.requests == ["models"]


def test_a_server_that_cannot_be_asked_fails_all_and_is_forgiven(
    vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str]
) -> None:
    names = {add(1), add(2)}
    vllm.down = "starting, 3 s"
    assert {(each.source, each.reason) for each in reconciler.reconcile().failed} == {
        (name, "starting, 3 s") for name in names
    }
    vllm.down, vllm.unreachable = None, True
    assert all("cannot be reached" in each.reason for each in reconciler.reconcile().failed)
    vllm.unreachable = False
    assert set(reconciler.reconcile().loaded) == names


def test_a_damaged_manifest_is_reported_and_its_adapter_stays_loaded(
    registry: AdapterRegistry, vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str]
) -> None:
    name = add(1)
    reconciler.reconcile()
    (registry.folder(name) / "manifest.json").unlink()
    result = reconciler.reconcile()
    assert [each.source for each in result.failed] == [name]
    assert vllm.adapters.keys() == {name}


def test_a_reason_is_logged_once(
    reconciler: Reconciler, add: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    add(1, rank=3)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            reconciler.reconcile()
    assert len([record for record in caplog.records if "is not served" in record.message]) == 1


# --- asking ---------------------------------------------------------------------------------------


def test_what_is_asked_for_is_loaded_first_and_then_costs_nothing(
    registry: AdapterRegistry, vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str]
) -> None:
    manifest = registry.get(add(1))
    reconciler.require(manifest)
    assert vllm.adapters.keys() == {manifest.name}
    asked = len(vllm.requests)
    reconciler.require(manifest)
    assert len(vllm.requests) == asked
    vllm.restart()
    reconciler.require(manifest)
    assert vllm.adapters.keys() == {manifest.name}


def test_asking_for_what_cannot_be_had_says_why(
    registry: AdapterRegistry, vllm: FakeVllm, reconciler: Reconciler, add: Callable[..., str]
) -> None:
    unfit, failing = registry.get(add(1, rank=3)), registry.get(add(2))
    vllm.fails_on = {failing.name}
    with pytest.raises(ModelError, match="rank 3"):
        reconciler.require(unfit)
    with pytest.raises(EngineUnavailableError, match="out of memory"):
        reconciler.require(failing)
    vllm.fails_on = set()
    reconciler.require(failing)
    vllm.down = "starting, 3 s"
    with pytest.raises(EngineError, match="starting, 3 s"):
        reconciler.require(failing)
    vllm.down = None
    registry.remove(failing.name)
    reconciler.reconcile()
    with pytest.raises(EngineUnavailableError, match="no longer registered"):
        reconciler.require(failing)


# --- watching -------------------------------------------------------------------------------------


def test_watching_follows_the_registry_and_restarts(
    registry: AdapterRegistry,
    vllm: FakeVllm,
    reconciler: Reconciler,
    add: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciling, "_LOOK_S", 0.01)
    reconciler.start()
    name = add(1)
    until(lambda: name in vllm.adapters)
    vllm.down = "restarting"
    vllm.restart()
    until(lambda: reconciler.problems() == {name: "restarting"})
    vllm.down = None
    until(lambda: name in vllm.adapters)
    registry.remove(name)
    until(lambda: not vllm.adapters)
    reconciler.stop()
    reconciler.stop()
    other = add(2)
    time.sleep(0.05)
    assert other not in vllm.adapters


def test_a_restart_that_nobody_tells_of_is_seen_within_seconds_and_by_waking_at_once(
    vllm: FakeVllm,
    reconciler: Reconciler,
    add: Callable[..., str],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciling, "_LOOK_S", 0.01)
    name = add(1)
    reconciler.start()
    until(lambda: name in vllm.adapters)
    vllm.adapters = {}
    clock.now += 5
    until(lambda: name in vllm.adapters)
    vllm.adapters = {}
    reconciler.wake()
    until(lambda: name in vllm.adapters)


def test_an_error_does_not_end_the_watch(
    registry: AdapterRegistry,
    vllm: FakeVllm,
    reconciler: Reconciler,
    add: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciling, "_LOOK_S", 0.01)
    answer, failures = vllm.answer, []

    def broken(request: httpx.Request) -> httpx.Response:
        if len(failures) < 2:
            failures.append(request)
            raise RuntimeError("a bug")
        return answer(request)

    reconciler._loader = AdapterLoader(vllm, httpx.MockTransport(broken))
    name = add(1)
    reconciler.start()
    until(lambda: name in vllm.adapters)

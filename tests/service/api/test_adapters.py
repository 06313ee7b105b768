"""Registered adapters through the API: the registry's changes are seen at once, reasons reach the client."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from finetune.adapters import AdapterRegistry
from finetune.fitting import Base
from rag.build import Library
from rag.config import Settings
from rag.fakes import FakeEmbedder, ScriptedModel
from service import registered
from service.api.app import create_app
from service.registered import registered_adapters
from tests.finetune.workbench import make_adapter, make_base


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Base:
    """What the settings' model is."""
    monkeypatch.setattr(registered, "resolve", lambda reference, cache: tmp_path / "base")
    return make_base(tmp_path / "base")


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "home")


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., object]:
    @asynccontextmanager
    async def open_api(model: ScriptedModel) -> AsyncIterator[httpx.AsyncClient]:
        settings, home = Settings(), tmp_path / "home"
        adapters = registered_adapters(home, settings)
        library = Library(home, settings, embedder=FakeEmbedder(), chat_model=model, adapters=adapters)
        transport = httpx.ASGITransport(create_app(library))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
            yield client
        await library.aclose()

    return open_api


async def ask(client: httpx.AsyncClient, model: str, **more: object) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "why?"}], **more}
    return await client.post("/v1/chat/completions", json=body)


@pytest.mark.anyio
async def test_a_label_is_asked_listed_moved_and_told(
    registry: AdapterRegistry, base: Base, opened: Callable, tmp_path: Path
) -> None:
    model = ScriptedModel("yes")
    async with opened(model) as client:
        one, two = (
            registry.register(make_adapter(tmp_path / f"trained-{seed}", seed), "pumps", base).name for seed in (1, 2)
        )
        listed = {each["id"] for each in (await client.get("/v1/models")).json()["data"]}
        assert {f"rag@{one}", f"rag@{two}"} <= listed
        assert "rag@pumps" not in listed
        waiting = await ask(client, "base@pumps")
        assert waiting.status_code == 404
        assert f"domainqa adapters promote pumps NAME` with one of: {one}, {two}" in waiting.text
        for name in (one, two):
            registry.promote("pumps", name)
            answer = (await ask(client, "base@pumps")).json()["choices"][0]["message"]["domainqa"]
            assert (answer["adapter"], answer["strategy"]) == (name, f"base@{name}")
        assert "rag@pumps" in {each["id"] for each in (await client.get("/v1/models")).json()["data"]}
        registry.rollback("pumps")
        streamed = await ask(client, "base@pumps", stream=True)
        assert f'"adapter":"{one}"' in streamed.text
        assert model.adapters == [one, two, one]
        registry.remove(two)
        gone = await ask(client, f"base@{two}")
        assert gone.status_code == 404
        assert gone.json()["error"]["code"] == "not_found"
        assert f"there are: pumps, {one}" in gone.json()["error"]["message"]


@pytest.mark.anyio
async def test_an_adapter_that_does_not_fit_is_refused_with_the_reason_and_no_longer_listed(
    registry: AdapterRegistry, base: Base, opened: Callable, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    other = make_base(tmp_path / "other", seed=7)
    name = registry.register(make_adapter(tmp_path / "trained", 1), "pumps", other).name
    registry.promote("pumps", name)
    model = ScriptedModel("yes")
    async with opened(model) as client:
        answer = await ask(client, "base@pumps")
        assert answer.status_code == 500
        assert other.weights_hash[:12] in answer.json()["error"]["message"]
        assert base.weights_hash[:12] in answer.json()["error"]["message"]
        listed = {each["id"] for each in (await client.get("/v1/models")).json()["data"]}
        assert not [each for each in listed if "@" in each]
        assert (await ask(client, "base")).status_code == 200
    assert model.adapters == [None]

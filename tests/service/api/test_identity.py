"""The door: who is let through, with what rights, how often; and that a refusal tells nothing."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rag.errors import CatalogError, EngineUnavailableError
from rag.types import TextDelta
from service.api.app import create_app

pytestmark = pytest.mark.anyio
PATH = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "Which torque?"}]}


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_without_any_key_this_machine_may_do_everything(client_for, scripts):
    async with client_for(scripts.library()) as client:
        for path in ("/v1/models", "/metrics", "/readyz", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
        # What OpenAI's clients send because they must.
        assert (await client.get("/v1/models", headers=bearing("none"))).status_code == 200


async def test_a_key_made_while_it_runs_closes_the_door_at_once(client_for, scripts, issue, tmp_path):
    library = scripts.library()
    library.home = tmp_path
    async with client_for(library) as client:
        assert (await client.get("/v1/models")).status_code == 200
        key = issue(library)
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/v1/models", headers=bearing(key))).status_code == 200
        library.catalog.keys.held.clear()
        assert (await client.get("/v1/models")).status_code == 401, "and nothing opens it again"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
async def test_beyond_loopback_keys_are_demanded_even_where_there_are_none(client_for, scripts, host):
    async with client_for(scripts.library(), host=host) as client:
        assert (await client.get("/v1/models")).status_code == 401
        alive = await client.get("/healthz", headers={"Host": "any.example"})
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})


async def test_with_a_key_the_hosts_name_and_page_do_not_matter(client_for, scripts, issue):
    library = scripts.library()
    key = issue(library)
    headers = {**bearing(key), "Host": "answers.example", "Origin": "https://answers.example"}
    async with client_for(library) as client:
        assert (await client.post(PATH, json=ASK, headers=headers)).status_code == 200
        assert (await client.get("/", headers={"Host": "answers.example"})).status_code == 200
        assert (await client.get("/static/app.js", headers={"Host": "answers.example"})).status_code == 200


async def test_open_mode_answers_no_other_machine_whatever_host_it_names(scripts):
    transport = httpx.ASGITransport(create_app(scripts.library()), client=("192.0.2.1", 4000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        assert (await client.get("/v1/models")).status_code == 403


async def test_every_refusal_is_the_same(client_for, scripts, issue):
    library = scripts.library()
    good = issue(library)
    now = datetime.now(UTC)
    attempts = [
        {},
        bearing(""),
        bearing("none"),
        bearing(good[:-1] + ("A" if good[-1] != "A" else "B")),
        bearing(f"dqa_{'0' * 12}_{good[17:]}"),
        bearing(issue(library, revoked_at=now)),
        bearing(issue(library, expires_at=now - timedelta(seconds=1))),
        {"Authorization": good},
        {"Authorization": f"Basic {good}"},
        {"Authorization": f"Bearer {good} {good}"},
        {"X-Api-Key": good},
    ]
    async with client_for(library) as client:
        answers = [await client.get("/v1/models", headers=headers) for headers in attempts]
        answers.append(await client.get("/nowhere"))
        answers.append(await client.get(f"/v1/models?api_key={good}"))
        twice = [("Authorization", f"Bearer {good}"), ("Authorization", "Bearer none")]
        answers.append(await client.get("/v1/models", headers=twice))
        assert (await client.get("/v1/models", headers={"authorization": f"bearer  {good}"})).status_code == 200
    assert {each.status_code for each in answers} == {401}
    assert len({each.content for each in answers}) == 1
    assert {each.headers["www-authenticate"] for each in answers} == {"Bearer"}
    error = answers[0].json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")


async def test_a_body_is_not_read_for_whoever_has_no_key(client_for, scripts, issue):
    library = scripts.library()
    issue(library)
    read = 0

    async def body():
        nonlocal read
        read += 1
        yield b"{}"

    async with client_for(library) as client:
        response = await client.post(PATH, content=body())
    assert (response.status_code, read) == (401, 0)
    assert not library.answerer.asked


async def test_a_revocation_holds_at_once(client_for, scripts, issue):
    library = scripts.library()
    key = issue(library)
    [row] = library.catalog.keys.list()
    async with client_for(library) as client:
        assert (await client.get("/v1/models", headers=bearing(key))).status_code == 200
        library.catalog.keys.add(replace(row, revoked_at=datetime.now(UTC)))
        assert (await client.get("/v1/models", headers=bearing(key))).status_code == 401


@pytest.mark.parametrize(
    ("role", "tenant", "metrics"),
    [("reader", "default", 403), ("editor", "default", 403), ("admin", "default", 200), ("admin", "acme", 403)],
)
async def test_how_the_service_is_doing_is_the_operators(client_for, scripts, issue, role, tenant, metrics):
    library = scripts.library()
    library.ready = {"catalog": "ok", "index": "the index of 'secret plans' is broken"}
    key = issue(library, role, tenant=tenant)
    async with client_for(library) as client:
        assert (await client.get("/metrics", headers=bearing(key))).status_code == metrics
        ready = await client.get("/readyz", headers=bearing(key))
    assert ready.status_code == 503
    assert ready.json()["parts"]["catalog"] == "ok"
    assert ("secret plans" in ready.text) == (metrics == 200)


async def test_requests_beyond_the_limit_are_refused_for_that_key_alone(client_for, scripts, issue):
    library = scripts.library()
    limited, other = issue(library, requests_per_minute=2), issue(library)
    async with client_for(library) as client:
        codes = [(await client.get("/v1/models", headers=bearing(limited))).status_code for _ in range(2)]
        refused = await client.get("/v1/models", headers=bearing(limited))
        assert (await client.get("/v1/models", headers=bearing(other))).status_code == 200
    assert codes == [200, 200]
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert "2 requests per minute" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_counted_as_the_model_did(client_for, scripts, issue, stream):
    library = scripts.library()  # each answer: 100 tokens read, 12 written
    key = issue(library, tokens_per_minute=200)
    async with client_for(library) as client:
        body = {**ASK, "stream": stream}
        answers = [await client.post(PATH, json=body, headers=bearing(key)) for _ in range(3)]
        verbatim = await client.post(PATH, json={**ASK, "model": "extractive"}, headers=bearing(key))
        search = await client.post("/v1/search", json={"query": "x"}, headers=bearing(key))
    assert [each.status_code for each in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
    # 24 tokens of debt at 200 a minute.
    assert 6 <= int(answers[2].headers["retry-after"]) <= 8
    assert (verbatim.status_code, search.status_code) == (200, 200), "they cost no tokens"


async def test_a_question_that_no_engine_read_costs_nothing(client_for, scripts, issue):
    library = scripts.library([EngineUnavailableError("down")])
    key = issue(library, tokens_per_minute=10)
    async with client_for(library) as client:
        codes = [(await client.post(PATH, json=ASK, headers=bearing(key))).status_code for _ in range(3)]
    assert codes == [503] * 3


async def test_hanging_up_before_the_end_is_not_free(scripts, issue):
    library = scripts.library([TextDelta("x"), 30.0])
    key = issue(library, tokens_per_minute=1000)
    app = create_app(library)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.post(PATH, json=ASK, headers=bearing(key))
        refused = await client.post(PATH, json=ASK, headers=bearing(key))
    assert refused.status_code == 429


async def test_refusals_are_counted_and_nothing_tells_whose(client_for, scripts, issue):
    library = scripts.library()
    admin = issue(library, "admin", name="xyzzy-name")
    limited = issue(library, tenant="xyzzy-tenant", collections=frozenset({"xyzzy"}), requests_per_minute=1)
    async with client_for(library) as client:
        await client.get("/v1/models")
        await client.get("/v1/models", headers=bearing("dqa_xyzzy"))
        for _ in range(2):
            await client.get("/v1/models", headers=bearing(limited))
        text = (await client.get("/metrics", headers=bearing(admin))).text
    got = {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert got["domainqa_authentication_failures_total", ("missing",)] == 1
    assert got["domainqa_authentication_failures_total", ("invalid",)] == 1
    assert got["domainqa_rate_limited_total", ("requests",)] == 1
    for word in ("xyzzy", admin[4:16], limited[4:16], "acme"):
        assert word not in text


async def test_what_the_catalog_cannot_tell_is_refused(client_for, scripts):
    def broken():
        raise CatalogError("the catalog cannot be used")

    library = scripts.library()
    library.catalog.keys.exist = broken
    async with client_for(library) as client:
        assert (await client.get("/v1/models")).status_code == 500
        assert (await client.get("/healthz")).status_code == 200
    assert not library.searched

"""Search, documents, lists and health: what they say is what the library says."""

import asyncio
import json
import threading

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.errors import IndexStateError

pytestmark = pytest.mark.anyio
DOCUMENT = "/v1/collections/default/documents/doc-1"


async def test_models_lists_strategies_with_the_configured_one_first(client_for, scripts):
    async with client_for(scripts.library()) as client:
        listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    names = [each["id"] for each in listed["data"]]
    assert names == ["rag", "base", "extractive", "stuffed", "base@pumps", "rag@pumps"]
    assert {each["object"] for each in listed["data"]} == {"model"}


async def test_collections(client_for, scripts):
    async with client_for(scripts.library()) as client:
        listed = (await client.get("/v1/collections")).json()
    assert [each["name"] for each in listed["data"]] == ["archive", "default"]
    assert listed["data"][0]["dimension"] == 384


async def test_search_gives_hits_with_their_place(client_for, scripts):
    library = scripts.library()
    async with client_for(library) as client:
        found = (await client.post("/v1/search", json={"query": "torque", "top_k": 3})).json()
        await client.post("/v1/search", json={"query": "torque", "collection": "archive"})
    assert library.searched == [("torque", "default", 3), ("torque", "archive", library.settings.retrieval.top_k)]
    [hit] = found["hits"]
    assert hit["text"] == scripts.document.text[hit["start"] : hit["end"]] == scripts.passage
    assert (hit["document"], hit["document_id"], hit["title"], hit["page"]) == (
        "pumps/zp-40.md",
        "doc-1",
        "ZP-40 manual",
        1,
    )
    assert hit["score"] == 0.9
    assert hit["channels"]["lexical"] == {"rank": 2, "score": 8.5, "normalised": 0.8}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "query"),
        ({"query": ""}, 400, "query"),
        ({"query": "x", "top_k": 0}, 400, "top_k"),
        ({"query": "x", "top_k": 1000}, 400, "top_k"),
        ({"query": "x", "topk": 5}, 400, "topk"),
        (b'{"query": "\\ud800"}', 400, "query"),
        ({"query": "x", "collection": "nowhere"}, 404, None),
    ],
)
async def test_wrong_searches_are_refused(client_for, scripts, body, status, param):
    async with client_for(scripts.library()) as client:
        content = body if isinstance(body, bytes) else json.dumps(body)
        response = await client.post("/v1/search", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    assert response.json()["error"]["param"] == param


async def test_a_damaged_index_says_how_to_mend_it(client_for, scripts):
    library = scripts.library()

    def broken(*_: object) -> None:
        raise IndexStateError("the index is damaged; run `domainqa reindex`")

    library.search = broken
    async with client_for(library) as client:
        response = await client.post("/v1/search", json={"query": "x"})
    assert response.status_code == 500
    assert "reindex" in response.json()["error"]["message"]


async def test_a_whole_document(client_for, scripts):
    async with client_for(scripts.library()) as client:
        found = (await client.get(DOCUMENT)).json()
    assert found["text"] == scripts.document.text
    assert (found["start"], found["end"], found["length"]) == (0, len(found["text"]), len(found["text"]))
    assert [each["heading_path"] for each in found["sections"]] == [["Maintenance"], ["Maintenance", "Storage"]]
    assert [each["number"] for each in found["pages"]] == [1, 2]
    assert found["document"] == "pumps/zp-40.md"


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 20_000), st.integers(0, 20_000), st.integers(0, 5_000))
def test_a_window_is_verbatim_and_holds_the_span(client_for, scripts, start, length, around):
    async def fetch() -> dict[str, object]:
        async with client_for(scripts.library()) as client:
            span = {"start": start, "end": start + length, "around": around}
            return (await client.get(DOCUMENT, params=span)).json()

    found = asyncio.run(fetch())
    text = scripts.document.text
    assert (
        found["text"] == text[found["start"] : found["end"]] == text[max(0, start - around) : start + length + around]
    )
    for part in (*found["sections"], *found["pages"]):
        assert part["start"] < found["end"]
        assert part["end"] > found["start"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{DOCUMENT}?start=5&end=2", 400),
        (f"{DOCUMENT}?start=-1", 400),
        (f"{DOCUMENT}?around=5", 400),
        (f"{DOCUMENT}?start=99999999999999999999999", 400),
        ("/v1/collections/default/documents/doc-2", 404),
        ("/v1/collections/nowhere/documents/doc-1", 404),
    ],
)
async def test_wrong_documents_are_refused(client_for, scripts, path, status):
    async with client_for(scripts.library()) as client:
        response = await client.get(path)
    assert response.status_code == status
    assert response.json()["error"]["message"]


async def test_health_and_readiness(client_for, scripts):
    library = scripts.library()
    async with client_for(library) as client:
        assert (await client.get("/healthz")).json()["status"] == "ok"
        ready = await client.get("/readyz")
        library.ready = {"catalog": "ok", "engine": "weights are missing"}
        unready = await client.get("/readyz")
        alive = await client.get("/healthz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert (unready.status_code, unready.json()["status"]) == (503, "not ready")
    assert unready.json()["parts"]["engine"] == "weights are missing"
    assert alive.status_code == 200


async def test_a_blocking_search_does_not_block_the_loop(client_for, scripts):
    library = scripts.library()
    release = threading.Event()
    inside = threading.Semaphore(0)
    at_once = [0, 0]  # now, most
    lock = threading.Lock()
    original = library.search

    def slow(*args: object) -> object:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        inside.release()
        release.wait(10)
        with lock:
            at_once[0] -= 1
        return original(*args)

    library.search = slow
    limit = library.settings.server.threads
    async with client_for(library) as client, anyio.create_task_group() as group:
        try:
            for _ in range(limit + 3):
                group.start_soon(lambda: client.post("/v1/search", json={"query": "x"}))
            for _ in range(limit):
                assert await anyio.to_thread.run_sync(inside.acquire, True, 10)
            with anyio.fail_after(5):
                assert (await client.get("/healthz")).status_code == 200
                assert (await client.get("/readyz")).status_code == 200
        finally:
            release.set()
    assert at_once[1] == limit

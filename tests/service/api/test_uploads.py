"""Uploads, collections, documents and jobs without anybody who runs the jobs: statuses, bounds and what stays."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from rag.build import Library
from rag.catalog.jobs import Job
from rag.config import JobSettings, Settings
from rag.fakes import FakeEmbedder, ScriptedModel
from service.api import uploads
from service.api.app import create_app
from service.api.identity import Principal, principal_of

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PATH = "/v1/collections/default/documents"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    settings = Settings(
        jobs=JobSettings(max_file_mb=0.001, max_upload_mb=0.002, max_files=3, max_queued=2, max_uploads=1)
    )
    library = Library(tmp_path / "home", settings, embedder=FakeEmbedder(), chat_model=ScriptedModel("ok"))
    library.create_collection("default")
    return library


@pytest.fixture
def app(library: Library):
    return create_app(library)


@pytest.fixture
async def client(app) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as client:
        yield client


def files(*named: tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", each) for each in named]


def left(library: Library) -> list[str]:
    return [path.name for path in (library.home / "spool").rglob("*") if path.parent.name in ("jobs", "incoming")]


async def test_an_upload_is_on_the_disk_before_its_job_is_seen(client, library) -> None:
    response = await client.post(PATH, files=files(("a.txt", b"red"), ("b/c.txt", b"blue")))
    assert response.status_code == 202
    made = response.json()
    assert (made["state"], made["files"]) == ("queued", {"total": 2, "done": 0, "failed": 0})
    assert response.headers["location"] == f"/v1/jobs/{made['id']}"
    spooled = library.home / "spool" / "jobs" / made["id"]
    assert [path.read_bytes() for path in sorted(spooled.iterdir())] == [b"red", b"blue"]
    read = (await client.get(response.headers["location"])).json()
    assert [each["document"] for each in read["documents"]] == ["a.txt", "b/c.txt"]
    assert [each["id"] for each in (await client.get("/v1/jobs")).json()["data"]] == [made["id"]]


@pytest.mark.parametrize(
    ("upload", "status", "code"),
    [
        ([("a.txt", b"x" * 1001)], 413, "too_large"),
        ([("a.txt", b"x" * 900), ("b.txt", b"x" * 900), ("c.txt", b"x" * 900)], 413, "too_large"),
        ([(f"{number}.txt", b"x") for number in range(4)], 413, "too_large"),
        ([("../a.txt", b"x")], 422, "invalid_file_name"),
        ([("a\u202etxt.exe", b"x")], 422, "invalid_file_name"),
        ([("a.txt", b"x"), ("a.txt", b"y")], 422, "invalid_file_name"),
    ],
)
async def test_what_is_refused_leaves_nothing(client, library, upload, status, code) -> None:
    response = await client.post(PATH, files=files(*upload))
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert left(library) == []
    assert (await client.get("/v1/jobs")).json()["data"] == []


async def test_what_is_no_upload_is_refused(client, library) -> None:
    assert (await client.post(PATH, json={})).status_code == 415
    assert (await client.post(PATH, content=b"x", headers={"content-type": "multipart/form-data"})).status_code == 415
    cut = {"content-type": "multipart/form-data; boundary=x"}
    assert (await client.post(PATH, content=b"--x", headers=cut)).status_code == 400
    assert (await client.post(PATH, content=b"--x--", headers=cut)).status_code == 422
    assert (await client.post(PATH, files={"file": (None, b"x")})).status_code == 422
    assert (await client.post("/v1/collections/none/documents", files=files(("a", b"x")))).status_code == 404
    assert left(library) == []


async def test_only_uploads_may_be_larger_than_other_requests(client) -> None:
    body = b"x" * 1_000_100
    assert (await client.post("/v1/search", content=body)).status_code == 413
    assert (await client.post(PATH, content=body)).status_code == 415
    assert (await client.post(PATH, content=body + body)).status_code == 413


async def test_the_queue_is_bounded(client, library) -> None:
    for name in ("a", "b"):
        assert (await client.post(PATH, files=files((name, b"x")))).status_code == 202
    refused = await client.post(PATH, files=files(("c", b"x")))
    assert refused.status_code == 429
    unread = await client.post(PATH, content=b"", headers={"content-type": "multipart/form-data; boundary=x"})
    assert unread.status_code == 429, "refused before anything is received"
    assert int(refused.headers["retry-after"]) > 0
    assert len(left(library)) == 2


async def test_uploads_at_once_are_bounded_and_a_client_that_leaves_frees_its_place(client, library) -> None:
    going = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nsome'
        going.set()
        await asyncio.sleep(600)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    slow = asyncio.ensure_future(client.post(PATH, content=slowly(), headers=headers))
    await going.wait()
    assert (await client.post(PATH, files=files(("b", b"x")))).status_code == 429
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    assert left(library) == []
    assert (await client.post(PATH, files=files(("b", b"x")))).status_code == 202


async def test_an_upload_that_stalls_is_ended(client, library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "STALLED_S", 0.2)

    async def stalling() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nsome'
        await asyncio.sleep(600)

    request = client.build_request(
        "POST", PATH, content=stalling(), headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert (await client.send(request)).status_code == 408
    assert left(library) == []


async def test_collections_are_made_listed_and_deleted(client, library) -> None:
    made = await client.post("/v1/collections", json={"name": "archive"})
    assert (made.status_code, made.json()["name"]) == (201, "archive")
    assert (await client.post("/v1/collections", json={"name": "archive"})).status_code == 409
    assert (await client.post("/v1/collections", json={"name": "../x"})).status_code == 400
    assert [each["name"] for each in (await client.get("/v1/collections")).json()["data"]] == ["archive", "default"]
    with library.catalog.writer_lock(library.catalog.collection("archive")):
        assert (await client.delete("/v1/collections/archive")).status_code == 409
    assert (await client.delete("/v1/collections/archive")).json() == {"id": "archive", "deleted": True}
    assert (await client.delete("/v1/collections/archive")).status_code == 404


async def test_a_collection_is_not_deleted_under_a_running_job(client, library) -> None:
    job = (await client.post(PATH, files=files(("a", b"x")))).json()
    library.catalog.job_queue.take_turn()
    refused = await client.delete("/v1/collections/default")
    assert refused.status_code == 409
    assert job["id"] in refused.json()["error"]["message"]


async def test_documents_are_paged_and_removed(client, library, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text(f"This is {name}.")
    (folder / "broken.heic").write_bytes(b"\0\0\0\x18ftypheic")
    library.ingest([folder])
    first = (await client.get(PATH, params={"limit": 2})).json()
    assert ([each["document"] for each in first["data"]], first["has_more"]) == (["a.txt", "b.txt"], True)
    rest = (await client.get(PATH, params={"limit": 2, "after": first["data"][1]["id"]})).json()
    assert ([each["document"] for each in rest["data"]], rest["has_more"]) == (["c.txt"], False)
    failed = (await client.get(PATH, params={"failed": True})).json()["data"]
    assert failed == [{"object": "failure", "document": "broken.heic", "reason": failed[0]["reason"]}]
    assert "image" in failed[0]["reason"]
    one = first["data"][0]["id"]
    assert (await client.get(f"{PATH}/{one}")).json()["text"] == "This is a."
    assert (await client.delete(f"{PATH}/{one}")).json() == {"id": one, "deleted": True}
    assert (await client.delete(f"{PATH}/{one}")).status_code == 404
    assert (await client.get(f"{PATH}/{one}")).status_code == 404


async def test_jobs_are_cancelled_while_they_wait(client, library) -> None:
    job = (await client.post(PATH, files=files(("a", b"x")))).json()
    cancelled = (await client.post(f"/v1/jobs/{job['id']}/cancel")).json()
    assert (cancelled["state"], cancelled["cancelling"]) == ("cancelled", False)
    assert (await client.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 409
    assert (await client.get("/v1/jobs/job_x")).status_code == 404
    assert (await client.post("/v1/jobs/job_x/cancel")).status_code == 404
    assert (await client.get("/v1/jobs/job_x/events")).status_code == 404


@pytest.mark.parametrize(
    "stranger", [Principal(tenant="other"), Principal(collections=frozenset({"archive"}))], ids=["tenant", "key"]
)
async def test_what_is_others_is_not_there(app, client, library, stranger: Principal) -> None:
    library.catalog.create_tenant("other")
    job = (await client.post(PATH, files=files(("a", b"x")))).json()
    app.dependency_overrides[principal_of] = lambda: stranger
    for response in (
        await client.get(f"/v1/jobs/{job['id']}"),
        await client.post(f"/v1/jobs/{job['id']}/cancel"),
        await client.get(f"/v1/jobs/{job['id']}/events"),
        await client.get(PATH),
        await client.post(PATH, files=files(("b", b"x"))),
        await client.delete(f"{PATH}/x"),
        await client.delete("/v1/collections/default"),
    ):
        assert response.status_code == 404
        assert "archive" not in json.dumps(response.json())
    assert (await client.get("/v1/jobs")).json()["data"] == []


async def test_roles(app, client, library) -> None:
    requests = {
        "reader": [("GET", PATH), ("GET", "/v1/jobs"), ("GET", "/v1/conversations")],
        "editor": [("POST", PATH), ("DELETE", f"{PATH}/x"), ("POST", "/v1/jobs/x/cancel")],
        "admin": [("POST", "/v1/collections"), ("DELETE", "/v1/collections/none")],
    }
    ranks = list(requests)
    for rank, role in enumerate(ranks):
        app.dependency_overrides[principal_of] = lambda role=role: Principal(role=role)
        for needed, asked in requests.items():
            for method, path in asked:
                response = await client.request(method, path)
                assert (response.status_code == 403) == (ranks.index(needed) > rank), (role, method, path)


async def test_a_watcher_is_told_of_the_end(client, library) -> None:
    job = (await client.post(PATH, files=files(("a", b"x")))).json()

    async def cancel() -> Job:
        await asyncio.sleep(0.5)
        library.catalog.jobs.cancel(job["id"])
        return library.catalog.jobs.get(job["id"])

    watching = asyncio.ensure_future(client.get(f"/v1/jobs/{job['id']}/events"))
    ended = await cancel()
    text = (await watching).text
    assert text.count("event: progress") == 1
    assert f"id: {ended.revision}\nevent: end\n" in text

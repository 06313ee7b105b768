"""Request ids in and out, and a log that says who asked what route, never what was asked."""

import json
import logging

import pytest

from rag.errors import EngineFaultError
from service.api.logs import logging_as

pytestmark = pytest.mark.anyio

SECRET = "the colour of the director's car"
ASKING = {"messages": [{"role": "user", "content": SECRET}]}


def quiet(_: str) -> None: ...


async def test_the_clients_id_comes_back(client_for, scripts):
    async with client_for(scripts.library()) as client:
        for path, status in (("/v1/models", 200), ("/nowhere", 404)):
            response = await client.get(path, headers={"X-Request-Id": "abc-1:2.3"})
            assert (response.status_code, response.headers["x-request-id"]) == (status, "abc-1:2.3")
        refused = await client.get("/v1/models", headers={"X-Request-Id": "abc", "Host": "evil.example"})
        assert (refused.status_code, refused.headers["x-request-id"]) == (403, "abc")
        stream = await client.post(
            "/v1/chat/completions", json=ASKING | {"stream": True}, headers={"X-Request-Id": "s"}
        )
        assert stream.headers["x-request-id"] == "s"


@pytest.mark.parametrize("wanted", ["", "a b", "x" * 101, 'a"b', "a\\nb"])
async def test_an_id_that_will_not_do_is_replaced(client_for, scripts, wanted):
    async with client_for(scripts.library()) as client:
        ids = [(await client.get("/healthz", headers={"X-Request-Id": wanted})).headers["x-request-id"] for _ in "12"]
    assert len(set(ids)) == 2
    assert wanted not in ids


async def test_a_json_line_for_each_request_without_a_word_of_it(client_for, scripts, capsys):
    library = scripts.library(scripts.steps_of(scripts.cited), [EngineFaultError("the engine died")])
    with logging_as("json", True, quiet) as say:
        async with client_for(library) as client:
            await client.post("/v1/chat/completions", json=ASKING, headers={"X-Request-Id": "one"})
            await client.post("/v1/chat/completions", json=ASKING, headers={"X-Request-Id": "two"})
            await client.get("/healthz")
            await client.get(f"/v1/collections/default/documents/{SECRET}")
            say("ready")
    out, err = capsys.readouterr()
    assert out == ""
    assert SECRET not in err
    lines = [json.loads(line) for line in err.splitlines()]
    first, warning, second, document, ready = lines
    assert (first["method"], first["route"], first["status"], first["strategy"], first["request_id"]) == (
        "POST", "/v1/chat/completions", 200, "rag", "one",
    )  # fmt: skip
    assert first["seconds"] >= 0
    assert (warning["level"], warning["request_id"]) == ("warning", "two")
    assert (second["status"], second["request_id"]) == (502, "two")
    assert document["route"] == "/v1/collections/{collection}/documents/{document_id}"
    assert (ready["message"], ready["level"]) == ("ready", "info")


async def test_a_bug_keeps_its_traceback_in_one_line(client_for, scripts, capsys):
    with logging_as("json", False, quiet):
        async with client_for(scripts.library([RuntimeError("odd")])) as client:
            await client.post("/v1/chat/completions", json=ASKING)
    [line] = capsys.readouterr().err.splitlines()
    assert "RuntimeError: odd" in json.loads(line)["traceback"]


async def test_plain_lines_and_none(client_for, scripts, capsys):
    for log_requests in (True, False):
        with logging_as("text", log_requests, quiet):
            async with client_for(scripts.library()) as client:
                await client.get("/v1/models", headers={"X-Request-Id": "one"})
    [line] = capsys.readouterr().err.splitlines()
    assert "GET /v1/models 200" in line
    assert line.endswith(" one")


def test_what_was_set_up_before_is_there_afterwards():
    def state():
        loggers = [logging.getLogger(name) for name in ("", "service", "service.api.requests")]
        return [(each.handlers[:], each.level, each.propagate) for each in loggers]

    before = state()
    for kind in ("json", "text"):
        with logging_as(kind, True, quiet):
            assert state() != before
        assert state() == before

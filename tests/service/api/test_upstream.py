"""A client that goes away takes the request to the engine with it: measured at a model server that watches its end."""

import asyncio
import importlib.util
import json
import socket
import time
from pathlib import Path

import httpx
import pytest

from rag.build import Library
from rag.config import AnsweringSettings, GenerationSettings, ServerSettings, Settings
from rag.fakes import FakeEmbedder
from rag.generation.openai_server import OpenAIChatModel


def _load(path: Path):
    # Test folders are no packages, so a file elsewhere is loaded by its path.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fake = _load(Path(__file__).parents[2] / "rag" / "generation" / "model_server.py")
CLOSED_WITHIN_S = 0.2
QUESTION = {"model": "base", "messages": [{"role": "user", "content": "Which torque?"}]}


@pytest.fixture(scope="module")
def fresh_server():
    with fake.serving() as fresh:
        yield fresh


@pytest.fixture
def server(fresh_server):
    return fresh_server()


@pytest.fixture
def service(server, tmp_path, running):
    """The service over that server; gives its address."""
    generation = GenerationSettings(engine="openai", model=fake.MODEL, base_url=server.url, retries=0)
    settings = Settings(
        generation=generation,
        answering=AnsweringSettings(strategy="base"),
        server=ServerSettings(max_concurrent_answers=2, max_waiting=1, circuit_failures=2, circuit_open_s=0.3),
    )
    model = OpenAIChatModel(generation, environment={})
    with running(Library(tmp_path, settings, embedder=FakeEmbedder(), chat_model=model)) as url:
        yield url


def endless(first: bytes | None, ends: list[float]):
    """Says this much and no more, watches its connection, and notes when it was closed."""

    async def respond(server, request):
        async def body():
            try:
                if first:
                    yield first
                await asyncio.Event().wait()
            finally:
                ends.append(time.monotonic())
                server.ended.set()

        return fake.StreamingResponse(body(), media_type="text/event-stream")

    return respond


def ask_and_leave(url: str, *, stream: bool, asked: list[object]) -> float:
    """Hangs up once the engine was asked; gives the time of that."""
    host, port = httpx.URL(url).host, httpx.URL(url).port
    body = json.dumps(QUESTION | {"stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        deadline = time.monotonic() + 5
        while not asked:
            assert time.monotonic() < deadline, "the engine was never asked"
            time.sleep(0.01)
        time.sleep(0.2)
        return time.monotonic()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("said", ["a word", "nothing"])
def test_the_upstream_connection_closes_within_200_ms(server, service, stream, said):
    ends: list[float] = []
    server.script = [endless(fake.chunk("The ") if said == "a word" else None, ends)]
    left = ask_and_leave(service, stream=stream, asked=server.asked)
    assert server.ended.wait(5)
    print(f"stream={stream}, after {said}: upstream closed {1000 * (ends[0] - left):.0f} ms after the client left")  # noqa: T201
    assert ends[0] - left < CLOSED_WITHIN_S
    running = "domainqa_answers_running 0.0"
    assert running in httpx.get(f"{service}/metrics").text


def test_overload_at_a_real_server_loses_nothing(server, service):
    server.script = [fake.says(*fake.ANSWER, pause_s=0.05)]

    async def crowd() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=service, timeout=20) as client:
            return await asyncio.gather(*(client.post("/v1/chat/completions", json=QUESTION) for _ in range(10)))

    responses = asyncio.run(crowd())
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) == len(server.asked) >= 3
    assert all(response.json()["usage"]["prompt_tokens"] == 12 for response in responses if response.is_success)


def test_an_engine_that_fails_opens_the_circuit_and_is_not_asked_any_more(server, service):
    server.script = [fake.fails(500, "the GPU fell off")]
    with httpx.Client(base_url=service, timeout=20) as client:
        statuses = [client.post("/v1/chat/completions", json=QUESTION).status_code for _ in range(4)]
        started = time.monotonic()
        client.post("/v1/chat/completions", json=QUESTION)
        refused_s = time.monotonic() - started
        asked = len(server.asked)
        server.script = [fake.says(*fake.ANSWER)]
        time.sleep(0.3)
        again = client.post("/v1/chat/completions", json=QUESTION)
    assert statuses == [502, 502, 503, 503]
    assert asked == 2
    assert refused_s < 0.2
    assert again.json()["choices"][0]["message"]["content"] == "Hello"
    assert again.json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 8}

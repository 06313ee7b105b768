"""Flow control before a real vLLM: what its metrics say when clients leave, come in crowds, or the service stops."""

import asyncio
import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from rag.build import Library
from rag.config import AnsweringSettings, GenerationSettings, ServerSettings, Settings
from rag.fakes import FakeEmbedder
from rag.generation.openai_server import OpenAIChatModel

pytestmark = pytest.mark.vllm
MODEL = "SmolLM2-135M-Instruct"
CLOSED_WITHIN_S = 0.2
IDLE_WITHIN_S = 30.0
"""A step takes a tenth of a second, or seconds where the machine is busy with other things: steps are what count."""
STEPS_LEFT = 3
"""The one under way when the client leaves, and those that pass between reading the metrics and leaving."""
LONG = "Repeat for ever: " + "pump valve " * 60
"""The model takes it up and finds no end."""


def _load(path: Path):
    # Test folders are no packages, so a file elsewhere is loaded by its path.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


running = _load(Path(__file__).parents[1] / "service" / "conftest.py")._running
"""``with running(library) as url``: the service on a free port."""


class Relay:
    """Passes bytes to the engine and back, and notes when the service closed each of its connections."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.closed_at: list[float] = []
        self._stopped = threading.Event()
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        self._listener.settimeout(0.1)
        threads = []
        while not self._stopped.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._pass, args=(near,))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join(5)

    def _pass(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._target) as far:
            while not self._stopped.is_set():
                ready, _, _ = select.select([near, far], [], [], 0.1)
                for source, sink in ((near, far), (far, near)):
                    if source not in ready:
                        continue
                    try:
                        data = source.recv(65536)
                    except ConnectionError:
                        data = b""
                    if not data:
                        if source is near:
                            self.closed_at.append(time.monotonic())
                        return
                    sink.sendall(data)

    def close(self) -> None:
        self._stopped.set()
        self._accepting.join(10)
        self._listener.close()


@pytest.fixture
def relay(engine) -> Iterator[Relay]:
    url = httpx.URL(engine.url)
    made = Relay((url.host, url.port))
    try:
        yield made
    finally:
        made.close()


def settings_for(url: str, **server) -> Settings:
    return Settings(
        generation=GenerationSettings(
            engine="openai", model=MODEL, base_url=url, window=4096, concurrency=4, max_answer_tokens=400
        ),
        answering=AnsweringSettings(strategy="base"),
        server=ServerSettings(**server),
    )


@pytest.fixture
def serve(engine, tmp_path: Path) -> Callable[..., object]:
    """``with serve(url, **server_settings) as address``."""

    @contextmanager
    def serving(url: str, **server) -> Iterator[str]:
        settings = settings_for(url, **server)
        model = OpenAIChatModel(settings.generation, environment={"DOMAINQA_ENGINE_API_KEY": engine.key})
        with running(Library(tmp_path, settings, embedder=FakeEmbedder(), chat_model=model)) as address:
            yield address

    return serving


def wait_for(engine, name: str, value: float, within_s: float) -> float:
    """Seconds until the engine's metric has this value."""
    started = time.monotonic()
    while engine.metric(name) != value:
        assert time.monotonic() - started < within_s, f"{name} is {engine.metric(name)}, not {value}"
        time.sleep(0.02)
    return time.monotonic() - started


def asking(text: str, **more: object) -> dict[str, object]:
    return {"model": "base", "messages": [{"role": "user", "content": text}], **more}


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_leaves_the_engine_idle(engine, relay, serve, stream):
    body = json.dumps(asking(LONG, stream=stream)).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    wait_for(engine, "vllm:num_requests_running", 0, IDLE_WITHIN_S)
    with serve(f"http://127.0.0.1:{relay.port}/v1") as address:
        url = httpx.URL(address)
        with socket.create_connection((url.host, url.port)) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_for(engine, "vllm:num_requests_running", 1, 20)
            time.sleep(0.5)
            assert engine.metric("vllm:num_requests_running") == 1
            tokens = engine.metric("vllm:generation_tokens_total")
            known = len(relay.closed_at)
            left = time.monotonic()
        idle_s = wait_for(engine, "vllm:num_requests_running", 0, IDLE_WITHIN_S)
        assert len(relay.closed_at) == known + 1
        closed_s = relay.closed_at[-1] - left
        print(f"stream={stream}: upstream closed after {1000 * closed_s:.0f} ms, engine idle after {idle_s:.2f} s")  # noqa: T201
        assert closed_s < CLOSED_WITHIN_S
        time.sleep(0.5)
        assert engine.metric("vllm:generation_tokens_total") - tokens <= STEPS_LEFT, "nothing is generated for nobody"
        assert "domainqa_answers_running 0.0" in httpx.get(f"{address}/metrics").text


def test_an_overload_is_answered_or_refused_and_nothing_is_lost(engine, serve):
    before = engine.metric("vllm:request_success_total")

    async def crowd(address: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=address, timeout=120) as client:
            return await asyncio.gather(
                *(
                    client.post(
                        "/v1/chat/completions",
                        json=asking(f"What is valve {number}?", max_tokens=8, stream=number % 2 == 0),
                    )
                    for number in range(12)
                )
            )

    with serve(engine.url, max_concurrent_answers=2, max_waiting=4) as address:
        responses = asyncio.run(crowd(address))
    answered = [response for response in responses if response.status_code == 200]
    refused = [response for response in responses if response.status_code == 429]
    print(f"12 clients on 2 places and a queue of 4: {len(answered)} answered, {len(refused)} refused")  # noqa: T201
    assert len(answered) + len(refused) == 12
    assert len(answered) >= 6
    assert refused
    assert all(int(response.headers["retry-after"]) >= 1 for response in refused)
    assert all("[DONE]" in response.text or response.json()["usage"]["completion_tokens"] for response in answered)
    assert engine.metric("vllm:request_success_total") - before == len(answered)


# A process of its own, for signals belong to a process's main thread.
PROGRAM = """
import os, sys
from pathlib import Path
from rag.build import Library
from rag.config import AnsweringSettings, GenerationSettings, ServerSettings, Settings
from rag.fakes import FakeEmbedder
from service.api.serving import serve

url, drain_s, home = sys.argv[1:]
settings = Settings(
    generation=GenerationSettings(engine="openai", model="SmolLM2-135M-Instruct", base_url=url, window=4096),
    answering=AnsweringSettings(strategy="base"),
    server=ServerSettings(drain_s=float(drain_s)),
)
library = Library(Path(home), settings, embedder=FakeEmbedder())
serve(library, "127.0.0.1", 0, on_ready=lambda address: print(address, flush=True))
"""


@pytest.mark.parametrize(
    ("drain_s", "max_tokens", "ends_with"), [("30", 12, "[DONE]"), ("0.5", 400, '"code":"stopping"}}')]
)
def test_after_sigterm_a_stream_ends_or_is_cut_and_the_engine_is_idle(engine, tmp_path, drain_s, max_tokens, ends_with):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, engine.url, drain_s, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"DOMAINQA_ENGINE_API_KEY": engine.key},
    )
    with process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            body = asking(LONG, stream=True, max_tokens=max_tokens)
            with httpx.stream("POST", f"{address}v1/chat/completions", json=body, timeout=60) as response:
                lines = response.iter_lines()
                while '"content":"' not in next(lines).replace('"content":""', ""):
                    pass
                process.send_signal(signal.SIGTERM)
                stopped = time.monotonic()
                *_, last = [line for line in lines if line]
            process.wait(20)
            took_s = time.monotonic() - stopped
        finally:
            process.kill()
    print(f"drain of {drain_s} s: the process ended {took_s:.1f} s after SIGTERM")  # noqa: T201
    assert last.replace(" ", "").endswith(ends_with)
    wait_for(engine, "vllm:num_requests_running", 0, IDLE_WITHIN_S)

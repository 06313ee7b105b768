"""Our supervisor and a real vLLM: it serves through the model and the whole API, and comes back when killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from rag.errors import EngineUnavailableError
from rag.generation.tokens import LocalTokenCounter
from service.engine.identity import identity_of
from service.engine.logfile import last_lines
from service.engine.record import EngineFolder
from service.engine.running import RunningEngine

pytestmark = pytest.mark.vllm

MANUAL = """# Gear pump ZP-40

## Maintenance

The gear oil is changed every 2000 operating hours. The casing bolts are tightened to 42 Nm.
The shaft seal is replaced when it leaks more than ten drops per hour.
"""
QUESTION = "How often is the gear oil changed?"


def domainqa(engine, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.cli.main", "--home", str(engine.home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


@dataclass
class Service:
    url: str
    process: subprocess.Popen[str]

    def ask(self, question: str, **fields: object) -> httpx.Response:
        body = {"model": "rag", "messages": [{"role": "user", "content": question}], "max_tokens": 24} | fields
        return httpx.post(f"{self.url}v1/chat/completions", json=body, timeout=120)

    def ready(self) -> dict[str, str]:
        parts: dict[str, str] = httpx.get(f"{self.url}readyz", timeout=30).json()["parts"]
        return parts


@pytest.fixture(scope="module")
def service(engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """``domainqa serve`` in the engine's home, over a folder of one manual; it takes the engine that runs."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "pump.md").write_text(MANUAL, "utf-8")
    ingested = domainqa(engine, "ingest", str(folder), "--json")
    assert ingested.returncode == 0, ingested.stderr
    command = [sys.executable, "-m", "service.cli.main", "--home", str(engine.home), "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told: list[str] = []
        reading = threading.Thread(target=lambda: told.extend(process.stderr))
        reading.start()
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), told
            yield Service(url, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            reading.join(10)
    assert process.returncode == 0, told
    assert any("using the engine that runs at" in line for line in told)
    # It stops what it started, and that was not this engine.
    assert engine.supervisor.state() == "ok"


def test_it_is_ready_and_its_log_is_kept_without_the_key(engine) -> None:
    assert engine.supervisor.state() == "ok"
    log = "\n".join(last_lines(EngineFolder.of(engine.home).log, 10_000))
    assert "domainqa: starting" in log
    assert "Application startup complete" in log
    assert engine.key not in log
    status = domainqa(engine, "engine", "status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["base_url"] == engine.url
    assert engine.key not in status.stdout
    assert RunningEngine(engine.home, engine.settings.generation.model).endpoint() == engine.endpoint()
    without = httpx.get(f"{engine.url}/models", timeout=30)
    assert without.status_code == 401


def test_the_model_streams_counts_and_knows_its_window(engine) -> None:
    model = engine.chat_model()

    async def ask() -> None:
        pieces = await engine.generate(model, "What is the capital of France?")
        text = "".join(piece.text for piece in pieces)
        assert "Paris" in text
        assert len(pieces) > 2
        usage = pieces[-1].usage
        assert usage is not None
        assert usage.completion_tokens <= 12
        assert usage.cached_tokens is not None
        assert model.window == engine.settings.engine.max_model_len
        assert not isinstance(model.tokens, LocalTokenCounter)
        assert model.tokens.exact
        await model.aclose()

    asyncio.run(ask())


def test_the_api_answers_from_the_documents_streamed_or_not(engine, service: Service) -> None:
    assert service.ready()["engine"] == "ok"
    whole = service.ask(QUESTION).json()
    message = whole["choices"][0]["message"]
    assert "2000" in message["content"]
    assert message["domainqa"]["citations"][0]["document"] == "pump.md"
    assert whole["usage"]["prompt_tokens"] > 20
    body = {"model": "rag", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 24, "stream": True}
    with httpx.stream("POST", f"{service.url}v1/chat/completions", json=body, timeout=120) as stream:
        events = [line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert text == message["content"]


def test_ask_uses_the_running_engine(engine, service: Service) -> None:
    asked = domainqa(engine, "ask", QUESTION, "--max-tokens", "24", "--json")
    assert asked.returncode == 0, asked.stderr
    assert "2000" in json.loads(asked.stdout)["answer"]


def test_killed_in_the_middle_of_a_stream_it_is_told_started_again_and_answers(
    engine, service: Service, eventually
) -> None:
    old, group = engine.endpoint(), engine.pids()
    restarts = engine.supervisor.record().restarts
    leader = engine.supervisor.record().engine.pid
    assert leader in group
    body = {
        "model": "base",
        "messages": [{"role": "user", "content": "Tell a long story about a pump and its valves."}],
        "max_tokens": 800,
        "stream": True,
    }
    events: list[str] = []
    with httpx.stream("POST", f"{service.url}v1/chat/completions", json=body, timeout=120) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                events.append(line.removeprefix("data: "))
            if len(events) == 5:
                os.kill(leader, signal.SIGKILL)
    assert stream.status_code == 200
    error = json.loads(events[-1])["error"]
    assert error["code"] == "engine_unavailable"
    assert "broke off in the middle of the answer" in error["message"]
    assert "[DONE]" not in events

    eventually(lambda: not any(identity_of(pid) for pid in group))
    eventually(lambda: service.ready()["engine"].startswith("restarting after it died"))
    with pytest.raises(EngineUnavailableError, match="restarting after it died"):
        engine.endpoint()
    began = time.monotonic()
    refused = service.ask("What is a pump?", model="base")
    assert (refused.status_code, time.monotonic() - began < 5) == (503, True)
    assert int(refused.headers["Retry-After"]) >= 1
    assert "restarting after it died" in refused.json()["error"]["message"]

    new = engine.supervisor.wait_ready(400)
    assert new.key != old.key
    assert engine.supervisor.record().restarts == restarts + 1
    eventually(lambda: service.ready()["engine"] == "ok")
    # The circuit breaker may wait a moment before it lets a question through again.
    eventually(lambda: service.ask(QUESTION).status_code == 200)
    assert any("killed by SIGKILL" in note for note in engine.notes)


def test_a_second_engine_on_this_home_is_refused(engine) -> None:
    up = domainqa(engine, "engine", "up")
    assert (up.returncode, up.stdout) == (1, "")
    assert up.stderr.startswith(f"error: the engine already runs: SmolLM2-135M-Instruct at {engine.url}")


def test_ask_says_how_to_start_an_engine_where_none_runs(engine, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli.main", "--home", str(tmp_path), "--profile", "vllm-cpu"]
    asked = subprocess.run([*command, "ask", "what?"], capture_output=True, text=True, timeout=120, check=False)
    assert asked.returncode == 1
    assert "`domainqa engine up`" in asked.stderr

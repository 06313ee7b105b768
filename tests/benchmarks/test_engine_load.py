"""64 clients at once on ``domainqa serve --profile vllm-cpu``, and a ``kill -9`` of its engine in the middle.

Every request must end: answered; refused with 429 or 503 and the time to come back; or, where the engine died or was
too slow under it, with an error that says so (502, 503 or 504, or an error event in a stream). None may hang, and no
connection may break. Each client asks the next question at once, or after the time it was told to wait.
"""

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from rag.config import EngineSettings
from rag.errors import ConfigError
from rag.evaluation.questions import read_questions
from service.engine import installation
from service.engine.record import EngineFolder

pytestmark = [pytest.mark.benchmark, pytest.mark.vllm]

ROOT = Path(__file__).parents[2]
QUESTIONS = ROOT / "data" / "sample" / "questions.jsonl"
CLIENTS = 64
LOAD_S = 150.0
KILL_AFTER_S = 30.0
DEADLINE_S = 60.0
GRACE_S = 20.0
"""Beyond the service's deadline; a request that takes longer hangs."""
LONGEST_WAIT_S = 15.0
"""A client that is told to wait longer comes back after this all the same: more load, not less."""
MAX_TOKENS = 24

KINDS = [("rag", True), ("base", True), ("rag", False), ("base", False)]
"""Strategy, and whether it is streamed."""
ENDED_WELL = ("answered", "refused 429", "refused 503", "error event in the stream", "failed 502", "failed 504")


@dataclass(frozen=True, slots=True)
class Outcome:
    what: str
    seconds: float
    asked_at: float
    retry_after_s: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    url: str
    home: Path

    def kill_engine(self) -> int:
        record = EngineFolder.of(self.home).read()
        assert record is not None
        assert record.engine is not None, f"the engine is {record.words()}"
        os.kill(record.engine.pid, signal.SIGKILL)
        return record.engine.pid

    def restarts(self) -> int:
        record = EngineFolder.of(self.home).read()
        assert record is not None
        return record.restarts

    async def until_ready(self, client: httpx.AsyncClient, within_s: float) -> float:
        started = time.monotonic()
        while time.monotonic() - started < within_s:
            if (await client.get("/readyz", timeout=60)).status_code == 200:
                return time.monotonic() - started
            await asyncio.sleep(0.5)
        raise AssertionError(f"the service was not ready within {within_s:g} s")


@pytest.fixture
def service(tmp_path: Path, sample_documents: Path) -> Iterator[Service]:
    try:
        installation.find(EngineSettings())
    except ConfigError as error:
        pytest.skip(f"no vLLM here ({error}); `make vllm` installs it")
    command = [sys.executable, "-m", "service.cli.main", "--home", str(tmp_path), "--profile", "vllm-cpu"]
    environment = os.environ | {
        "DOMAINQA_ENGINE__PORT": "0",
        "DOMAINQA_SERVER__REQUEST_DEADLINE_S": f"{DEADLINE_S:g}",
    }
    subprocess.run([*command, "ingest", str(sample_documents)], check=True, capture_output=True, cwd=ROOT)
    with (tmp_path / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=environment,
        )
    assert process.stdout is not None
    try:
        url = next((word for line in process.stdout for word in line.split() if word.startswith("http://")), None)
        assert url is not None, (tmp_path / "serve.log").read_text()
        yield Service(url.rstrip("/"), tmp_path)
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


# --- one request --------------------------------------------------------------------------------


async def ask(client: httpx.AsyncClient, question: str, strategy: str, stream: bool) -> Outcome:
    body = {
        "model": strategy,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": MAX_TOKENS,
        "stream": stream,
    }
    started = time.monotonic()

    def ended(what: str, retry_after_s: float = 0.0, detail: str = "") -> Outcome:
        return Outcome(what, time.monotonic() - started, started, retry_after_s, detail)

    try:
        async with asyncio.timeout(DEADLINE_S + GRACE_S):
            async with client.stream("POST", "/v1/chat/completions", json=body, timeout=None) as response:
                text = (await response.aread()).decode()
    except TimeoutError:
        return ended("HUNG")
    except httpx.HTTPError as error:
        return ended("CONNECTION BROKE", detail=repr(error))
    status = response.status_code
    if status == 200:
        return ended(*_streamed(text) if stream else _whole(text))
    if not (json.loads(text).get("error") or {}).get("message"):
        return ended(f"{status} WITHOUT AN ERROR", detail=text[:200])
    if status in (429, 503):
        retry_after = response.headers.get("retry-after", "")
        if not retry_after.isdigit() or int(retry_after) < 1:
            return ended(f"{status} WITHOUT A TIME TO COME BACK", detail=text[:200])
        return ended(f"refused {status}", float(retry_after))
    return ended(f"failed {status}", detail=text[:200])


def _whole(text: str) -> tuple[str, float, str]:
    choice = json.loads(text)["choices"][0]
    complete = choice["finish_reason"] in ("stop", "length") and "domainqa" in choice["message"]
    return ("answered", 0.0, "") if complete else ("INCOMPLETE", 0.0, text[:200])


def _streamed(text: str) -> tuple[str, float, str]:
    events = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    if events and events[-1] == "[DONE]" and any(json.loads(event).get("domainqa") for event in events[:-1]):
        return "answered", 0.0, ""
    last = json.loads(events[-1]) if events and events[-1] != "[DONE]" else {}
    if last.get("error", {}).get("message"):
        return "error event in the stream", 0.0, last["error"]["message"][:200]
    return "STREAM ENDED WITHOUT A WORD", 0.0, text[-200:]


# --- all of them --------------------------------------------------------------------------------


async def crowd(service: Service) -> tuple[list[Outcome], float, Outcome]:
    """All outcomes, when the engine was killed, and one question more after the restart."""
    questions = [item.question for item in read_questions(QUESTIONS) if item.split == "dev" and item.language == "en"]
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=service.url, limits=limits) as client:
        print(f"\nready after {await service.until_ready(client, 600):.0f} s")
        work = zip(cycle(questions), cycle(KINDS), strict=False)
        outcomes: list[Outcome] = []
        ends = time.monotonic() + LOAD_S

        async def one_client() -> None:
            while time.monotonic() < ends:
                question, (strategy, stream) = next(work)
                outcome = await ask(client, question, strategy, stream)
                outcomes.append(outcome)
                if outcome.retry_after_s:
                    await asyncio.sleep(min(outcome.retry_after_s, LONGEST_WAIT_S, max(0, ends - time.monotonic())))

        clients = [asyncio.create_task(one_client()) for _ in range(CLIENTS)]
        await asyncio.sleep(KILL_AFTER_S)
        killed = service.kill_engine()
        killed_at = time.monotonic()
        print(f"engine {killed} killed")
        await asyncio.gather(*clients)
        print(f"load over; ready again {await service.until_ready(client, 600):.0f} s later")
        after = await ask(client, questions[0], "base", False)
    return outcomes, killed_at, after


def test_every_request_is_answered_or_refused_cleanly(service):
    outcomes, killed_at, after = asyncio.run(crowd(service))
    table = defaultdict(list)
    for outcome in outcomes:
        table[outcome.what].append(outcome)
    print(
        f"\n{CLIENTS} clients for {LOAD_S:.0f} s, engine killed after {KILL_AFTER_S:.0f} s: {len(outcomes)} requests\n"
    )
    print(
        "| outcome | before the kill | after it | median s | p95 s | longest s |\n| --- | --- | --- | --- | --- | --- |"
    )
    for what, group in sorted(table.items()):
        times = sorted(outcome.seconds for outcome in group)
        early = sum(outcome.asked_at + outcome.seconds < killed_at for outcome in group)
        print(
            f"| {what} | {early} | {len(group) - early} | {statistics.median(times):.1f} "
            f"| {times[int(len(times) * 0.95)]:.1f} | {times[-1]:.1f} |"
        )
    for outcome in outcomes:
        if outcome.what not in ENDED_WELL:
            print(outcome)
    assert set(table) <= set(ENDED_WELL)
    assert table["answered"]
    assert table["refused 429"], "64 clients were no overload"
    assert service.restarts() == 1
    assert after.what == "answered"

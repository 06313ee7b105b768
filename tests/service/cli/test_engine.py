"""``domainqa engine`` and ``serve`` as programs, with a small Python server in vLLM's place."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.engine.identity import identity_of
from service.engine.record import EngineFolder

pytestmark = pytest.mark.integration  # dozens of processes of ours

FAKE = Path(__file__).parents[1] / "engine" / "fake_server.py"
SERVICE = """
from rag.build import Library
from rag.fakes import FakeEmbedder
from service.cli.main import main
from service.cli.session import Session
def open_library(home, settings, progress, server):
    return Library(home, settings, embedder=FakeEmbedder(), server=server)
main(Session(open_library=open_library, provide_models=lambda *_: None))
"""


class Programs:
    """Runs commands in a home of its own; what still runs at the end is ended."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.model = folder / "model"
        self.model.mkdir()
        (self.model / "config.json").write_text("{}", "utf-8")
        self.folder = EngineFolder.of(self.home)
        self._started: list[subprocess.Popen[str]] = []

    def configure(self, **environment: str) -> None:
        variables = ", ".join(f"{name} = {json.dumps(value)}" for name, value in environment.items())
        command = json.dumps([sys.executable, str(FAKE), "{port}", "{name}"])
        text = f"""
            generation = {{engine = "vllm", model = {json.dumps(str(self.model))}, window = 2048, retries = 0}}
            [engine]
            port = 0
            command = {command}
            environment = {{{variables}}}
            stop_timeout_s = 3
            first_restart_wait_s = 0.1
            max_quick_deaths = 2
        """
        (self.home / "domainqa.toml").write_text(text, "utf-8")

    def start(self, *arguments: str, program: str | None = None) -> subprocess.Popen[str]:
        code = ["-c", program] if program is not None else ["-m", "service.cli.main"]
        process = subprocess.Popen(
            [sys.executable, *code, *arguments, "--home", str(self.home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def engine_pid(self) -> int:
        record = self.folder.read()
        assert record is not None
        assert record.engine is not None
        return record.engine.pid

    def end(self) -> None:
        self.run("engine", "down")
        for process in self._started:
            if process.poll() is None:
                process.terminate()
                process.communicate(timeout=30)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Programs]:
    for name in ("DOMAINQA_HOME", "DOMAINQA_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = Programs(tmp_path)
    made.configure()
    yield made
    made.end()


def eventually(function: Callable[[], object], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not function():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def test_up_stays_until_it_is_told_to_stop(programs: Programs) -> None:
    process = programs.start("engine", "up")
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    code, out, _ = programs.run("engine", "status", "--json")
    told = json.loads(out)
    assert code == 0
    assert told == told | {"state": "ready", "detail": "ok", "base_url": url, "owner": "engine up", "restarts": 0}
    pid = programs.engine_pid()
    assert told["engine_pid"] == pid
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert identity_of(pid) is None
    assert programs.run("engine", "status") == (1, "not running\n", "")


def test_detached_it_goes_on_and_down_ends_it(programs: Programs) -> None:
    code, out, err = programs.run("engine", "up", "--detach")
    assert code == 0, err
    pid = programs.engine_pid()
    assert httpx.get(out.strip().removesuffix("v1") + "health").status_code == 200
    again = programs.run("engine", "up", "--detach")
    assert again[:2] == (0, out)
    assert "the engine runs already" in again[2]
    assert programs.engine_pid() == pid
    code, _, err = programs.run("engine", "up")
    assert code == 1
    assert err.splitlines()[-1].startswith("error: the engine already runs")
    port = out.strip().removesuffix("/v1").rpartition(":")[2]
    assert programs.run("engine", "logs", "--lines", "1")[1].endswith(f"serving {programs.model} on {port}\n")
    code, _, err = programs.run("engine", "down")
    assert (code, err.splitlines()[-1]) == (0, "the engine has stopped")
    assert identity_of(pid) is None
    assert "not running" in programs.run("engine", "down")[2]


@pytest.mark.parametrize("options", [[], ["--detach"]])
def test_a_start_that_fails_is_told_with_the_servers_words(programs: Programs, options: list[str]) -> None:
    programs.configure(FAKE_FAULT="dies at once")
    code, out, err = programs.run("engine", "up", *options)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "ValueError: the weights are upside down" in last
    code, out, _ = programs.run("engine", "status")
    assert code == 1
    assert "given up" in out or out == "not running\n"
    assert "upside down" in programs.run("engine", "logs")[1]


def test_another_profiles_engine_is_refused(programs: Programs) -> None:
    (programs.home / "domainqa.toml").unlink()
    code, _, err = programs.run("engine", "up", "--profile", "starter")
    assert code == 1
    assert "generation.engine is 'local' in the profile starter" in err
    assert "--profile vllm-cpu" in err


def test_without_vllm_it_says_how_to_get_it(programs: Programs) -> None:
    text = (programs.home / "domainqa.toml").read_text("utf-8")
    lines = [line for line in text.splitlines() if "command" not in line]
    (programs.home / "domainqa.toml").write_text("\n".join([*lines, "python = '/nowhere/python'"]), "utf-8")
    code, _, err = programs.run("engine", "up")
    assert code == 1
    assert "engine.python is /nowhere/python" in err
    assert "make vllm" in err


def test_ask_says_how_to_start_one(programs: Programs) -> None:
    code, _, err = programs.run("ask", "what?")
    assert code == 1
    assert "start it with `domainqa engine up`" in err


def ready(url: str) -> str:
    parts: dict[str, str] = httpx.get(f"{url}readyz", timeout=10).json()["parts"]
    return parts["engine"]


def test_serve_starts_it_tells_how_it_does_and_stops_it(programs: Programs) -> None:
    programs.configure(FAKE_SLOWNESS_S="3")
    process = programs.start("serve", "--port", "0", program=SERVICE)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert ready(url).startswith("starting, ")
    body = {"model": "base", "messages": [{"role": "user", "content": "What?"}]}
    refused = httpx.post(f"{url}v1/chat/completions", json=body, timeout=20)
    assert refused.status_code == 503, refused.text
    assert int(refused.headers["Retry-After"]) > 0
    assert "starting, " in refused.json()["error"]["message"]
    eventually(lambda: ready(url) == "ok")
    first = programs.engine_pid()
    os.kill(first, signal.SIGKILL)
    eventually(lambda: ready(url).startswith("restarting after it died"))
    eventually(lambda: ready(url) == "ok")
    second = programs.engine_pid()
    code, _, err = programs.run("engine", "down")
    assert code == 1
    assert f"belongs to the running `domainqa serve` (process {process.pid})" in err
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert [identity_of(pid) for pid in (first, second)] == [None, None]


def test_serve_takes_the_engine_that_runs_and_leaves_it(programs: Programs) -> None:
    assert programs.run("engine", "up", "--detach")[0] == 0
    pid = programs.engine_pid()
    process = programs.start("serve", "--port", "0", program=SERVICE)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    eventually(lambda: ready(url) == "ok")
    assert programs.engine_pid() == pid
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert identity_of(pid) is not None
    assert programs.run("engine", "down")[0] == 0

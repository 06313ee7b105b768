"""Engines that are small Python servers, in homes of their own."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rag.config import EngineSettings
from service.engine.command import Hardware, Plan
from service.engine.supervisor import Observers, Supervisor

FAKE = Path(__file__).with_name("fake_server.py")
QUICK = {
    "port": 0,
    "first_restart_wait_s": 0.05,
    "longest_restart_wait_s": 0.4,
    "stop_timeout_s": 3.0,
    "start_timeout_s": 20.0,
}


class Engines:
    """``engines(FAULT)`` supervises a fake server; ``notes`` is what they told. All are stopped at the end."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.notes: list[str] = []
        self.progress: list[str] = []
        self._made: list[Supervisor] = []

    def plan(self, environment: dict[str, str] | None = None, **settings: Any) -> Plan:
        command = [sys.executable, str(FAKE), "{port}", "{name}"]
        engine = EngineSettings(**(QUICK | {"command": command, "environment": environment or {}} | settings))
        return Plan(engine, "fake-model", Path("/nowhere"), Path(sys.executable), Hardware("other"))

    def __call__(
        self,
        fault: str = "",
        *,
        home: Path | None = None,
        owner: str = "engine up",
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> Supervisor:
        plan = self.plan((environment or {}) | ({"FAKE_FAULT": fault} if fault else {}), **settings)
        observers = Observers(self.notes.append, lambda progress: self.progress.append(str(progress)))
        supervisor = Supervisor(home or self.home, plan, owner, observers)
        self._made.append(supervisor)
        return supervisor

    def stop(self) -> None:
        for supervisor in self._made:
            supervisor.stop()


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engines]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = Engines(tmp_path / "home")
    yield made
    made.stop()


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Waits until the function returns something true, and returns that."""

    def wait(function: Callable[[], Any], within_s: float = 15.0) -> Any:
        deadline = time.monotonic() + within_s
        while not (value := function()):
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.02)
        return value

    return wait

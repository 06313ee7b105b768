"""What a home keeps about its engine: a state file, the key, the lock, the log. Written whole or not at all."""

import json
import os
import secrets
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rag.errors import StateError
from service.engine.identity import ProcessIdentity

EngineState = Literal["starting", "ready", "restarting", "failed", "stopped"]
Owner = Literal["engine up", "serve"]


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """Who runs the engine, where, and how it does. ``since`` is when ``state`` began, in seconds of Unix time.

    ``engine`` leads the process group of the server; ``reason`` says why it isn't ready, in words.
    """

    state: EngineState
    since: float
    owner: Owner
    supervisor: ProcessIdentity
    host: str
    port: int
    model: str
    fingerprint: str
    engine: ProcessIdentity | None = None
    restarts: int = 0
    reason: str | None = None

    @property
    def base_url(self) -> str:
        return base_url(self.host, self.port)

    def words(self) -> str:
        """``ok``, or why it isn't, for people."""
        seconds = max(0.0, time.time() - self.since)
        match self.state:
            case "ready":
                return "ok"
            case "starting":
                return f"{'restarting after it died' if self.restarts else 'starting'}, {seconds:.0f} s"
            case "restarting":
                return f"restarting after it died: {self.reason}"
            case "failed":
                return f"given up: {self.reason}"
            case "stopped":
                return "stopped"


def base_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


@dataclass(frozen=True, slots=True)
class EngineFolder:
    """``HOME/engine``, for its owner's eyes only."""

    path: Path

    @staticmethod
    def of(home: Path) -> "EngineFolder":
        return EngineFolder(home / "engine")

    @property
    def log(self) -> Path:
        return self.path / "engine.log"

    @property
    def supervisor_log(self) -> Path:
        """What a detached supervisor says."""
        return self.path / "supervisor.log"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def read(self) -> EngineRecord | None:
        """``None`` where no engine was ever started."""
        try:
            content = json.loads((self.path / _STATE).read_text("utf-8"))
            return _record(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StateError(f"{self.path / _STATE} cannot be read ({error}); remove it if no engine runs") from error

    def write(self, record: EngineRecord) -> None:
        self._replace(_STATE, json.dumps(asdict(record), indent=1))

    def end_leftovers(self) -> None:
        """Kill an engine that nobody sees to: both its supervisor and its guardian were killed. Hold the lock."""
        try:
            record = self.read()
        except StateError:
            return  # of a state that cannot be read no process can be told; the next write mends it
        if record is not None and record.engine is not None:
            record.engine.signal(signal.SIGKILL, group=True)

    def new_key(self) -> str:
        """A fresh secret, in a file that nobody but its owner can read."""
        key = secrets.token_urlsafe(32)
        self._replace(_KEY, key)
        return key

    def key(self) -> str | None:
        try:
            return (self.path / _KEY).read_text("ascii")
        except FileNotFoundError:
            return None

    def forget_key(self) -> None:
        (self.path / _KEY).unlink(missing_ok=True)

    def _replace(self, name: str, content: str) -> None:
        staged = self.path / f".{name}-{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        staged.replace(self.path / name)


_STATE = "state.json"
_KEY = "key"


def _record(content: Mapping[str, object]) -> EngineRecord:
    values = dict(content)
    for name in ("supervisor", "engine"):
        identity = values[name]
        if isinstance(identity, dict):
            values[name] = ProcessIdentity(**identity)
    return EngineRecord(**values)  # type: ignore[arg-type]  # our own file; a key too many or too few is a TypeError

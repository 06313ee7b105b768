"""A real server in a process of its own, that can be killed and started again on the same home."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

PROGRAM = Path(__file__).parent / "programs.py"
ROOT = Path(__file__).parents[3]
DEADLINE_S = 300.0


class Server:
    """``kill`` is ``kill -9``; ``start`` after it goes on with the same home."""

    def __init__(self, home: Path, settings: dict[str, object]) -> None:
        self.home = home
        self._settings = settings
        self.process: subprocess.Popen[str] | None = None
        self.client: httpx.Client

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(PROGRAM), "serve", str(self.home), json.dumps(self._settings)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        url = self.process.stdout.readline().strip()
        assert url, "the server did not start"
        self.client = httpx.Client(base_url=url, timeout=DEADLINE_S)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._close()

    def _close(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.wait()
        self.process.stdout.close()
        self.client.close()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(DEADLINE_S)
            self.process.kill()
            self._close()

    # --- what clients do ---

    def collection(self, name: str = "default") -> None:
        assert self.client.post("/v1/collections", json={"name": name}).status_code == 201

    def upload(self, collection: str = "default", **texts: str) -> str:
        files = [("file", (f"{name}.txt", text.encode())) for name, text in texts.items()]
        response = self.client.post(f"/v1/collections/{collection}/documents", files=files)
        assert response.status_code == 202, response.text
        return response.json()["id"]

    def job(self, job_id: str) -> dict[str, object]:
        return self.client.get(f"/v1/jobs/{job_id}").json()

    def until(self, job_id: str, *states: str) -> dict[str, object]:
        deadline = time.monotonic() + DEADLINE_S
        while (job := self.job(job_id))["state"] not in states:
            assert time.monotonic() < deadline, job
            time.sleep(0.05)
        return job

    def ended(self, job_id: str) -> dict[str, object]:
        return self.until(job_id, "done", "failed", "cancelled")

    def sources(self, collection: str = "default") -> list[str]:
        data = self.client.get(f"/v1/collections/{collection}/documents").json()["data"]
        return [each["document"] for each in data]

    def workers(self) -> list[int]:
        """Of this home."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes()
                of_home = f"DOMAINQA_INGEST_HOME={self.home}\0".encode() in (entry / "environ").read_bytes()
                if of_home and command.endswith(b"programs.py\0work\0") and b"guardian" not in command:
                    found.append(int(entry.name))
        return found


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """Parametrised indirectly with settings of the section `jobs`."""
    made = Server(tmp_path / "home", getattr(request, "param", {}))
    made.start()
    yield made
    made.stop()

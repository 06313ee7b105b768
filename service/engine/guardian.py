"""Runs one engine, writes its log, and sees to it that nothing of it outlives whoever started us.

``python -m service.engine.guardian --log FILE --max-log-bytes N --stop-timeout S -- COMMAND...``

stdin is a pipe from the supervisor: when it closes, because the supervisor wants so or because it died, the engine's
process group gets SIGTERM, and SIGKILL after the timeout. stdout tells the engine's pid, once. The exit code is the
engine's. A process of its own, because a supervisor that is killed can do nothing more, and because a thread that
starts a child with a parent-death signal must never end before it. Knows nothing of vLLM, and imports little: it
stands in memory as long as the engine does.
"""

import argparse
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from service.engine.logfile import RotatingLog, begin_run

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINGER_S = 3.0
_POLL_S = 0.05
_SECRET = "VLLM_API_KEY"  # noqa: S105 - the variable's name


class Guardian:
    """One engine, from its start to the end of its last process."""

    def __init__(self, command: Sequence[str], log: RotatingLog, stop_timeout_s: float) -> None:
        self._log = log
        self._stop_timeout_s = stop_timeout_s
        self._deadline: float | None = None
        self._wakeup, waking = os.pipe()
        os.set_blocking(waking, False)
        os.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        # Handlers that do nothing: the signal's number comes through the pipe.
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        _adopt_orphans()
        parent = os.getpid()
        self._engine = subprocess.Popen(  # noqa: S603 - the operator's own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: _end_with(parent),  # no threads here
        )
        self.pid = self._engine.pid

    def run(self) -> int:
        """Until the engine and all that it started have ended. Returns its exit code, as Popen has it."""
        assert self._engine.stdout is not None
        output = self._engine.stdout.fileno()
        os.set_blocking(output, False)
        with selectors.DefaultSelector() as selector:
            for descriptor in (output, 0, self._wakeup):
                selector.register(descriptor, selectors.EVENT_READ)
            while self._engine.poll() is None:
                left_s = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
                for key, _ in selector.select(left_s):
                    match key.fd:
                        case self._wakeup:
                            received = os.read(self._wakeup, 4096)
                            if set(received) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
                                self._begin_to_stop()
                        case 0:
                            if not os.read(0, 4096):
                                selector.unregister(0)
                                self._begin_to_stop()
                        case _:
                            if not self._copy(output):
                                selector.unregister(output)
                if self._deadline is not None and time.monotonic() >= self._deadline:
                    self._signal(signal.SIGKILL)
        self._end_the_rest()
        while self._copy(output):
            pass
        self._log.close()
        return self._engine.returncode

    def _begin_to_stop(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._stop_timeout_s
            self._signal(signal.SIGTERM)

    def _copy(self, output: int) -> bool:
        """Move what is there into the log. False at the end of the output, or where nothing is there just now."""
        try:
            data = os.read(output, 65536)
        except BlockingIOError:
            return False
        self._log.write(data)
        return bool(data)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _end_the_rest(self) -> None:
        """Workers whose server is gone: asked, then killed, also those that left the group."""
        self._signal(signal.SIGTERM)
        deadline = min(self._deadline or float("inf"), time.monotonic() + _LINGER_S)
        while _reap() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        while True:
            self._signal(signal.SIGKILL)
            for pid in _children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not _reap():
                return
            time.sleep(_POLL_S)


def _reap() -> bool:
    """Bury the dead among our children. True while there are others; the engine's orphans are ours on Linux."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def _children() -> list[int]:
    own = os.getpid()
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            if int(entry.read_text("utf-8", "replace").rpartition(")")[2].split()[1]) == own:
                found.append(int(entry.parent.name))
    return found


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _end_with(parent: int) -> None:
    """In the engine's process, before it becomes the engine: should we be killed, it gets SIGTERM."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--max-log-bytes", type=int, required=True)
    parser.add_argument("--stop-timeout", type=float, required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    log = RotatingLog(given.log, given.max_log_bytes, os.environ.get(_SECRET, ""))
    begin_run(log, given.command)
    try:
        guardian = Guardian(given.command, log, given.stop_timeout)
    except OSError as error:
        log.write(f"{given.command[0]} cannot be started: {error}\n".encode())
        log.close()
        sys.exit(127)
    sys.stdout.write(f"{guardian.pid}\n")
    sys.stdout.flush()
    code = guardian.run()
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()

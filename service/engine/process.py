"""One run of the engine: started under a guardian, asked whether it lives, stopped with all that it started."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.engine.identity import ProcessIdentity, identity_of

_MARGIN_S = 5.0


class EngineProcess:
    """A running engine. Blocking; whoever starts one calls ``stop``, and where it is killed the guardian sees to it."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        max_log_bytes: int,
        stop_timeout_s: float,
        locks: Sequence[int] = (),
    ) -> None:
        """``locks`` are descriptors that the guardian holds open as long as anything of the engine lives."""
        self._stop_timeout_s = stop_timeout_s
        # -P: the guardian's modules are ours, never the working folder's.
        guardian = [sys.executable, "-P", "-m", "service.engine.guardian"]
        options = ["--log", str(log), "--max-log-bytes", str(max_log_bytes), "--stop-timeout", str(stop_timeout_s)]
        self._guardian = subprocess.Popen(  # noqa: S603
            [*guardian, *options, "--", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            pass_fds=tuple(locks),
            start_new_session=True,
        )
        assert self._guardian.stdout is not None
        with self._guardian.stdout as told:
            line = told.readline().strip()
        self.identity: ProcessIdentity | None = identity_of(int(line)) if line else None
        """Of the leader of the engine's process group; ``None`` where it has ended at once."""

    def poll(self) -> int | None:
        """The exit code, or ``None`` while it runs: 128 and a signal's number where it was killed by one."""
        return self._guardian.poll()

    def stop(self) -> int:
        """SIGTERM to the group, SIGKILL after the timeout; returns when nothing of it is left. May be called twice."""
        if self._guardian.stdin is not None and not self._guardian.stdin.closed:
            self._guardian.stdin.close()
        try:
            code = self._guardian.wait(self._stop_timeout_s + _MARGIN_S)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            code = self._guardian.wait()
        if code < 0 and self.identity is not None:
            # The guardian itself was killed, and leaves its engine no more than a SIGTERM.
            self.identity.signal(signal.SIGKILL, group=True)
        return code


def exit_words(code: int) -> str:
    """An exit code for people."""
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        return f"killed by {signal.Signals(number).name}"
    return f"exit code {code}"

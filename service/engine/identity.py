"""Which process a number means: a pid is given again to others, a pid and its start time are not."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """``started`` is comparable for equality only: on Linux the boot and the clock ticks since it."""

    pid: int
    started: str

    def is_alive(self) -> bool:
        """Whether this very process still runs. A zombie has ended."""
        return identity_of(self.pid) == self

    def signal(self, number: int, *, group: bool = False) -> bool:
        """Signal it, or its whole process group, unless the pid is another's by now. False where it is gone."""
        if not self.is_alive():
            return False
        try:
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def identity_of(pid: int) -> ProcessIdentity | None:
    """``None`` where no process has this number, or one that has ended."""
    started = _started_on_linux(pid) if sys.platform == "linux" else _started_elsewhere(pid)
    return ProcessIdentity(pid, started) if started is not None else None


def own_identity() -> ProcessIdentity:
    own = identity_of(os.getpid())
    assert own is not None
    return own


def _started_on_linux(pid: int) -> str | None:
    try:
        # The name, in parentheses, may hold anything, also spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{boot}:{ticks}"


def _started_elsewhere(pid: int) -> str | None:
    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)  # noqa: S603, S607
    state, _, started = done.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()

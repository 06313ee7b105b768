"""Locks that end with the processes that hold them, so that no engine runs twice on one home or one port."""

import fcntl
import os
import tempfile
from pathlib import Path

from rag.errors import StateError


class OsLock:
    """An advisory lock on a file. A child that inherits ``descriptor`` holds it too, until both have closed it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take it unless another process, or another object in this one, has it."""
        assert self.descriptor is None
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self.descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go of our hold. A child's lasts until it ends: its engine may still have the port."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def is_held(path: Path) -> bool:
    """Whether any process holds it at this moment."""
    if not path.is_file():
        return False
    lock = OsLock(path)
    taken = lock.try_acquire()
    lock.release()
    return not taken


def port_lock(port: int) -> OsLock:
    """One place for each port and user of this machine, whatever the home.

    The kernel alone doesn't see to it: for seconds a server that starts has bound its port without listening, and
    then another may bind it as well.
    """
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"domainqa-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise StateError(f"{folder} belongs to another user; remove it, or set XDG_RUNTIME_DIR")
    return OsLock(folder / f"engine-{port}.lock")

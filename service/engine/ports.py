"""The engine's port: one engine for each, of this user, and nobody else's."""

import socket

from rag.errors import ConfigError
from service.engine.locking import OsLock, port_lock


class EnginePort:
    """Holds the port's lock between ``take`` and ``release``; the number stays the same as long as it is held."""

    def __init__(self, host: str, wanted: int) -> None:
        """``wanted`` 0 takes a free one."""
        self._host = host
        self._wanted = wanted
        self._lock: OsLock | None = None
        self.number = wanted

    @property
    def descriptor(self) -> int | None:
        """Of the lock, for a child that is to hold it too."""
        return self._lock.descriptor if self._lock is not None else None

    def take(self) -> None:
        """Hold it, and see that nobody listens on it. Raises ``ConfigError`` where it is taken."""
        if self._lock is None:
            self.number = self._wanted or _free(self._host)
            lock = port_lock(self.number)
            if not lock.try_acquire():
                raise self._taken("the port of an engine in another home")
            self._lock = lock
        if _is_listened_on(self._host, self.number):
            self.release()
            raise self._taken("taken by another program")

    def release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _taken(self, by: str) -> ConfigError:
        return ConfigError(
            f"engine.port {self.number} on {self._host} is {by}; "
            "stop that one, or set another engine.port (0 takes a free one)"
        )


def _free(host: str) -> int:
    with socket.create_server((host, 0), family=_family(host)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _is_listened_on(host: str, port: int) -> bool:
    # With SO_REUSEADDR, which create_server sets, connections that are about to end are no hindrance.
    try:
        socket.create_server((host, port), family=_family(host)).close()
    except OSError:
        return True
    return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET

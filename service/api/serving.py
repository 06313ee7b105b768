"""Runs the API on a port of this machine until it is told to stop. Prints nothing."""

import contextlib
import math
import socket
from collections.abc import Callable

import uvicorn

from rag.build import Library
from rag.errors import ConfigError
from service import discretion
from service.api.app import check_bind, create_app
from service.jobs.runner import JobRunner
from service.keys import valid_keys_exist

CUT_S = 5
"""After the drain: how long answers that were cut may take to tell their clients."""
BACKLOG = 128


def bind(host: str, port: int, *, has_keys: bool = False) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ``ConfigError`` before anything heavy is loaded.

    Beyond loopback only with ``has_keys``: there is a valid key.
    """
    check_bind(host, has_keys=has_keys)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise ConfigError(
            f"cannot listen on {host} port {port}: {reason}; stop what uses it or choose another with --port"
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where the page is."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve(
    library: Library,
    host: str,
    port: int,
    *,
    listener: socket.socket | None = None,
    on_ready: Callable[[str], None] | None = None,
    runner: JobRunner | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then stop listening, let running answers end within ``server.drain_s``, cut the
    others with an error that says so, and close the library.

    ``listener`` is a socket from ``bind`` when the caller took the port before; ``on_ready`` is told the page's
    address once requests are answered. ``runner`` runs the jobs meanwhile.
    """
    discretion.keep()
    with listener or bind(host, port, has_keys=valid_keys_exist(library.catalog.keys, library.home)) as taken:
        app = create_app(library, host=host, runner=runner)
        drain_s = library.settings.server.drain_s
        config = uvicorn.Config(
            app,
            # Its limit on what comes before a request's body holds, whatever else is installed.
            http="h11",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=math.ceil(drain_s) + CUT_S,
        )
        server = _Server(config, on_ready, url_of(taken), lambda: app.state.flow.stop(drain_s))
        # uvicorn raises it again after its graceful end; stopping was what was asked for.
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[taken])


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        on_ready: Callable[[str], None] | None,
        url: str,
        on_stop: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self._on_ready = on_ready
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready(self._url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

"""The API application: routes, guards and error bodies around one ``Library``."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from rag.build import Library
from rag.errors import ConfigError
from service.api import errors
from service.api.chat import chat_routes
from service.api.counting import Counting
from service.api.documents import document_routes
from service.api.flow import Flow
from service.api.guarding import LOOPBACK_NAMES, Guard
from service.api.health import health_routes
from service.api.metrics import Metrics, metric_routes
from service.api.models import model_routes
from service.api.page import install_page
from service.api.requests import Requests
from service.api.search import search_routes
from service.api.threads import Threads
from service.registered import watching

HEARTBEAT_S = 3.0


def create_app(library: Library, heartbeat_s: float = HEARTBEAT_S) -> FastAPI:
    """The application. Its shutdown closes the library; ``state.flow`` is what to stop before it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with watching(library.adapters.source):
            yield
        await library.aclose()

    settings = library.settings
    # The interactive API pages load their scripts from elsewhere; openapi.json stays.
    app = FastAPI(title="domainqa", version=version("domainqa"), lifespan=lifespan, docs_url=None, redoc_url=None)
    threads = Threads(settings.server.threads)
    metrics = Metrics()
    app.state.flow = flow = Flow(library.answerer, settings, metrics)
    app.include_router(chat_routes(flow, settings.answering.strategy, heartbeat_s))
    app.include_router(model_routes(library, threads))
    app.include_router(search_routes(library, threads))
    app.include_router(document_routes(library, threads))
    app.include_router(health_routes(library, flow.circuit))
    app.include_router(metric_routes(metrics))
    install_page(app)
    errors.install(app)
    app.add_middleware(Guard, hosts=(*LOOPBACK_NAMES, _in_header(settings.server.host)))
    app.add_middleware(Counting, metrics=metrics)
    app.add_middleware(Requests)
    return app


def check_bind(host: str) -> None:
    """Refuse to listen where others can reach us: this version has no keys. Raises ``ConfigError``."""
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"server.host is {host!r}, which other machines may reach, and this version has no access keys;"
            " use 127.0.0.1, ::1 or localhost"
        )


def _in_header(host: str) -> str:
    """A host as browsers write it in the Host header."""
    return f"[{host}]" if ":" in host else host

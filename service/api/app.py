"""The API application: routes, guards and error bodies around one ``Library``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from importlib.metadata import version

from fastapi import FastAPI

from rag.build import Library
from rag.errors import ConfigError
from service.api import errors
from service.api.buckets import Buckets
from service.api.chat import chat_routes
from service.api.collections import collection_routes
from service.api.conversations import conversation_routes
from service.api.counting import Counting
from service.api.documents import document_routes
from service.api.exposition import metric_routes
from service.api.feedback import feedback_routes
from service.api.flow import Flow
from service.api.guarding import MAX_BODY_BYTES, Guard
from service.api.health import health_routes
from service.api.identity import Door
from service.api.jobs import job_routes
from service.api.metrics import Metrics
from service.api.models import model_routes
from service.api.origins import Origins, is_loopback
from service.api.page import install_page
from service.api.requests import Requests
from service.api.search import search_routes
from service.api.threads import Threads
from service.api.uploads import upload_routes
from service.conversations import Conversing
from service.jobs.runner import JobRunner
from service.keys import Pepper, Verifier
from service.registered import watching

HEARTBEAT_S = 3.0


def create_app(
    library: Library,
    heartbeat_s: float = HEARTBEAT_S,
    host: str | None = None,
    runner: JobRunner | None = None,
) -> FastAPI:
    """The application. Its shutdown closes the library; ``state.flow`` is what to stop before it.

    ``host`` is what it will listen on, the configured one when left out. Beyond loopback keys are always demanded.
    ``runner`` is started and ended with it. Without one jobs are taken, and wait for another process to run them.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with watching(library.adapters.source), runner or nullcontext():
            yield
        await library.aclose()

    settings = library.settings
    # The interactive API pages load their scripts from elsewhere; openapi.json stays.
    app = FastAPI(title="domainqa", version=version("domainqa"), lifespan=lifespan, docs_url=None, redoc_url=None)
    threads = Threads(settings.server.threads)
    metrics = Metrics()
    buckets = Buckets()
    app.state.flow = flow = Flow(library.answerer, settings, metrics, buckets)
    if runner is not None:
        metrics.watch_jobs(runner)
    wake = _nobody if runner is None else runner.wake
    app.include_router(chat_routes(flow, Conversing(library, threads), settings.answering.strategy, heartbeat_s))
    app.include_router(model_routes(library, threads))
    app.include_router(search_routes(library, threads))
    app.include_router(collection_routes(library, threads))
    app.include_router(document_routes(library, threads))
    app.include_router(upload_routes(library, wake))
    app.include_router(job_routes(library, threads, wake, lambda: flow.stopping, heartbeat_s))
    app.include_router(conversation_routes(library, threads))
    app.include_router(feedback_routes(library, threads))
    app.include_router(health_routes(library, flow.circuit))
    app.include_router(metric_routes(metrics))
    install_page(app)
    errors.install(app)
    bound = settings.server.host if host is None else host
    verifier = Verifier(library.catalog.keys, Pepper(library.home))
    origins = Origins(bound) if is_loopback(bound) else None
    # The last one added is the outermost.
    app.add_middleware(Door, verifier=verifier, origins=origins, buckets=buckets, metrics=metrics)
    # What frames the files in the body counts too.
    app.add_middleware(Guard, max_upload_bytes=int(settings.jobs.max_upload_mb * 1_000_000) + MAX_BODY_BYTES)
    app.add_middleware(Counting, metrics=metrics)
    app.add_middleware(Requests)
    return app


def check_bind(host: str, *, has_keys: bool = False) -> None:
    """Refuse to listen where others can reach us while no key can be demanded of them. Raises ``ConfigError``."""
    if not has_keys and not is_loopback(host):
        raise ConfigError(
            f"server.host is {host!r}, which other machines may reach, and there are no access keys that are valid; "
            "make one with `domainqa keys create --name NAME --role reader`, or listen on 127.0.0.1, ::1 or localhost"
        )


def _nobody() -> None: ...

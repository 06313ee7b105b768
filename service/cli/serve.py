"""``domainqa serve``: the API and the page, until it is told to stop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import engine, output, session
from service.cli.waiting import Waiting

if TYPE_CHECKING:
    from rag.build import Library
    from service.engine.supervisor import Supervisor


def serve(
    ctx: typer.Context,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="HOST", help="Address to listen on; beyond this machine only with keys [server.host]."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", "-p", metavar="PORT", min=0, max=65535, help="0 takes a free one [server.port]."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Try configuration, address and models, then stop.")] = False,
) -> None:
    """Serve the page and the API. Once there are access keys, they are demanded."""
    # Brings the web framework; the port is taken before models are loaded.
    from service.api import serving
    from service.jobs.runner import JobRunner

    own = session.of(ctx)
    settings = own.settings()
    host = settings.server.host if host is None else host
    port = settings.server.port if port is None else port
    with serving.bind(host, port, has_keys=_has_keys(own)) as listener, _engine(own) as supervisor:
        own.provide(chat=True)
        library = _ready_library(own, supervisor)
        if check:
            try:
                if supervisor is not None:
                    supervisor.wait_ready()
            finally:
                asyncio.run(library.aclose())
            output.print_text(f"ready to serve at {serving.url_of(listener)}")
            return
        runner = JobRunner(library.home, library.settings, library.catalog)
        serving.serve(library, host, port, listener=listener, on_ready=_announce, runner=runner)


def _has_keys(own: session.Session) -> bool:
    from rag.catalog import Catalog
    from service.keys import valid_keys_exist

    with Catalog.open(own.home_folder()) as catalog:
        return valid_keys_exist(catalog.keys, catalog.home)


@contextmanager
def _engine(own: session.Session) -> Iterator["Supervisor | None"]:
    """The engine that the settings want started, starting, until the block ends. The page is there meanwhile."""
    if own.settings().generation.engine != "vllm":
        yield None
        return
    from service.engine.supervisor import Observers, Supervisor

    plan = engine.plan_of(own)
    engine.end_on_sigterm()
    observers = Observers(output.note, engine.Progress(output.note, moving=False))
    with Supervisor(own.home_folder(), plan, "serve", observers) as supervisor:
        yield supervisor


def _ready_library(own: session.Session, server: "Supervisor | None") -> "Library":
    """With its models loaded, so that the first question doesn't wait for them."""
    with Waiting("opening the library") as waiting:
        library = own.open(waiting.say, server)
        try:
            library.warm_up()
        except BaseException:
            asyncio.run(library.aclose())
            raise
    return library


def _announce(url: str) -> None:
    output.print_text(url)
    output.note("Ctrl-C stops the service")

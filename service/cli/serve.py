"""``domainqa serve``: the API and the page, until it is told to stop."""

import asyncio
from collections.abc import Callable, Iterator
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
    from service.api import logs, serving
    from service.jobs.runner import JobRunner

    own = session.of(ctx)
    settings = own.settings()
    host = settings.server.host if host is None else host
    port = settings.server.port if port is None else port
    with (
        serving.bind(host, port, has_keys=_has_keys(own)) as listener,
        logs.logging_as(settings.server.log_format, settings.server.log_requests, output.note) as say,
        _engine(own, say) as supervisor,
    ):
        own.provide(chat=True)
        library = _ready_library(own, supervisor, None if settings.server.log_format == "text" else say)
        if check:
            try:
                if supervisor is not None:
                    supervisor.wait_ready()
            finally:
                asyncio.run(library.aclose())
            output.print_text(f"ready to serve at {serving.url_of(listener)}")
            return
        runner = JobRunner(library.home, library.settings, library.catalog)
        serving.serve(library, host, port, listener=listener, on_ready=lambda url: _announce(url, say), runner=runner)


def _has_keys(own: session.Session) -> bool:
    from rag.catalog import Catalog
    from service.keys import valid_keys_exist

    with Catalog.open(own.home_folder()) as catalog:
        return valid_keys_exist(catalog.keys, catalog.home)


@contextmanager
def _engine(own: session.Session, say: Callable[[str], None]) -> Iterator["Supervisor | None"]:
    """The engine that the settings want started, starting, until the block ends. The page is there meanwhile."""
    if own.settings().generation.engine != "vllm":
        yield None
        return
    from service.engine.supervisor import Observers, Supervisor

    plan = engine.plan_of(own)
    engine.end_on_sigterm()
    observers = Observers(say, engine.Progress(say, moving=False))
    with Supervisor(own.home_folder(), plan, "serve", observers) as supervisor:
        yield supervisor


def _ready_library(own: session.Session, server: "Supervisor | None", say: Callable[[str], None] | None) -> "Library":
    """With its models loaded, so that the first question doesn't wait for them."""
    with Waiting("opening the library" if say is None else None) as waiting:
        library = own.open(say or waiting.say, server)
        try:
            library.warm_up()
        except BaseException:
            asyncio.run(library.aclose())
            raise
    return library


def _announce(url: str, say: Callable[[str], None]) -> None:
    output.print_text(url)
    say("Ctrl-C stops the service")

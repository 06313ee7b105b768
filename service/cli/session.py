"""What a command line says once for every command: home, configuration, profile, network or not.

A command takes its ``Session`` from the context and opens its library with it. Tests put a session into the context
that opens another library and provides no models.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from service.cli import output

if TYPE_CHECKING:  # too slow to import for a help text
    from rag.build import Library
    from rag.config import Settings
    from rag.interfaces import ModelServer
    from rag.layers import Layer

OFFLINE = "DOMAINQA_OFFLINE"


class OpenLibrary(Protocol):
    def __call__(
        self, home: Path, settings: "Settings", progress: Callable[[str], None], server: "ModelServer | None"
    ) -> "Library": ...


class ProvideModels(Protocol):
    def __call__(self, references: Sequence[str], offline: bool) -> None: ...


def open_library(
    home: Path, settings: "Settings", progress: Callable[[str], None], server: "ModelServer | None"
) -> "Library":
    from rag.build import Library
    from service.registered import registered_adapters

    adapters = registered_adapters(home, settings, server)
    return Library(home, settings, server=server, adapters=adapters, progress=progress)


def provide_models(references: Sequence[str], offline: bool) -> None:
    from service.cli.fetching import provide

    provide(references, offline)


@dataclass(slots=True)
class Session:
    """``None`` takes the default: the environment's, the configuration file's, the profile's."""

    open_library: OpenLibrary = open_library
    provide_models: ProvideModels = provide_models
    home: Path | None = None
    config: Path | None = None
    profile: str | None = None
    offline: bool = False

    def home_folder(self) -> Path:
        from rag.config import default_home

        return self.home.expanduser() if self.home is not None else default_home()

    def settings(self) -> "Settings":
        from rag.config import load_settings

        return load_settings(self.home_folder(), config=self.config, profile=self.profile)

    def layers(self) -> "tuple[Layer, ...]":
        from rag.layers import read_layers

        return read_layers(self.home_folder(), config=self.config, profile=self.profile)

    def is_offline(self) -> bool:
        return self.offline or os.environ.get(OFFLINE, "").lower() not in ("", "0", "false", "no")

    def models(self, *, embedder: bool = True, chat: bool = True) -> list[str]:
        """The models that these settings load, in this process or in an engine that we start."""
        settings = self.settings()
        references = [settings.embedding.model] if embedder else []
        if embedder and settings.reranking.model is not None:
            references.append(settings.reranking.model)
        if chat and settings.generation.engine in ("local", "vllm"):
            references.append(settings.generation.model)
        return references

    def provide(self, *, embedder: bool = True, chat: bool = False) -> None:
        """Fetch what is missing of the models that a command needs, or say how to get them when offline."""
        self.provide_models(self.models(embedder=embedder, chat=chat), self.is_offline())

    def running_engine(self) -> "ModelServer | None":
        """The engine that another process runs for this home, where the settings want one of ours."""
        settings = self.settings()
        if settings.generation.engine != "vllm":
            return None
        from service.engine.running import RunningEngine

        return RunningEngine(self.home_folder(), settings.generation.model)

    def open(
        self,
        progress: Callable[[str], None] = output.note,
        server: "ModelServer | None" = None,
        adapters: Mapping[str, str] | None = None,
    ) -> "Library":
        """The library of this home. Whoever opens it awaits its ``aclose``.

        ``server`` is the engine that the caller runs itself; else the one that another process runs is used.
        ``adapters`` are names to folders beside those of the settings.
        """
        settings = self.settings()
        if adapters:
            generation = settings.generation.model_copy(
                update={"adapters": {**settings.generation.adapters, **adapters}}
            )
            settings = settings.model_copy(update={"generation": generation})
        return self.open_library(self.home_folder(), settings, progress, server or self.running_engine())

    @contextmanager
    def library(
        self, progress: Callable[[str], None] = output.note, adapters: Mapping[str, str] | None = None
    ) -> Iterator["Library"]:
        """The library for commands that stream nothing; ``adapters`` as for ``open``."""
        library = self.open(progress, adapters=adapters)
        try:
            yield library
        finally:
            asyncio.run(library.aclose())


def of(ctx: typer.Context) -> Session:
    """The session of this command line."""
    return ctx.ensure_object(Session)


def remember(ctx: typer.Context, param: typer.CallbackParam, value: Path | str | bool | None) -> None:
    """Called for each global option before the command and again after it; one that isn't given says nothing."""
    if value and param.name is not None:
        setattr(of(ctx), param.name, value)


def profile_names(incomplete: str) -> list[str]:
    from rag.layers import profile_names

    return [name for name in profile_names() if name.startswith(incomplete)]


GLOBAL_OPTIONS = ("home", "config", "profile", "offline")
"""They stand before the command or after it."""

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="FOLDER",
        help="Where documents and indexes are kept; DOMAINQA_HOME, else ~/.domainqa, when left out.",
        callback=remember,
        expose_value=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration file; domainqa.toml in the home when left out.",
        callback=remember,
        expose_value=False,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Models and settings to start from; DOMAINQA_PROFILE, else starter, when left out.",
        callback=remember,
        autocompletion=profile_names,
        expose_value=False,
    ),
]
Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        help="Fetch no models from the network; so does DOMAINQA_OFFLINE=1.",
        callback=remember,
        expose_value=False,
    ),
]

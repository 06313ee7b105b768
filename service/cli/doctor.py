"""``domainqa doctor``: is everything there, and does it fit together? Mends nothing, loads no model."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

import typer
from rich.text import Text

from rag.errors import DomainQAError
from rag.models import default_cache
from service.cli import fetching, output, session
from service.cli.options import JsonOutput

if TYPE_CHECKING:
    from rag.config import Settings

_LIBRARIES = ("torch", "transformers", "sentence-transformers", "peft", "tantivy", "kreuzberg", "sqlalchemy", "fastapi")
_FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}

State = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at, what was found, and whether that is well."""

    name: str
    found: str
    state: State = "ok"


def doctor(ctx: typer.Context, as_json: JsonOutput = False) -> None:
    """Check versions, models, catalog and indexes."""
    checks = list(_checks(session.of(ctx)))
    healthy = not any(check.state == "error" for check in checks)
    if as_json:
        output.print_json(
            {
                "healthy": healthy,
                "checks": [{"name": each.name, "found": each.found, "state": each.state} for each in checks],
            }
        )
    else:
        _print(checks)
    if not healthy:
        raise typer.Exit(1)


def _checks(own: session.Session) -> Iterator[Check]:
    yield Check("domainqa", version("domainqa"))
    yield Check("Python", platform.python_version())
    for name in _LIBRARIES:
        yield _library(name)
    yield _faiss()
    yield Check("home", str(own.home_folder()))
    try:
        settings = own.settings()
    except DomainQAError as error:
        yield Check("configuration", str(error), "error")
        return
    yield Check("profile", settings.profile)
    if settings.generation.engine == "openai":
        yield Check("engine", f"{settings.generation.model} at {settings.generation.base_url}")
    elif settings.generation.engine == "vllm":
        yield _engine(own, settings)
    cache = default_cache()
    for reference in own.models():
        if fetching.missing([reference], cache):
            yield Check(f"model {reference}", "not fetched yet; run `domainqa models fetch`", "warning")
        else:
            yield Check(f"model {reference}", "there")
    yield from _state_of_home(own)


def _engine(own: session.Session, settings: "Settings") -> Check:
    from service.engine import installation

    server = own.running_engine()
    assert server is not None
    try:
        if settings.engine.command:
            program = settings.engine.command[0]
        else:
            found = installation.find(settings.engine)
            program = f"{found.package} {found.version} of {found.python}"
        return Check("engine", f"{program}; {server.state()}")
    except DomainQAError as error:
        return Check("engine", str(error), "error")


def _library(name: str) -> Check:
    try:
        return Check(name, version(name))
    except PackageNotFoundError:
        return Check(name, "not installed; install domainqa again", "error")


def _faiss() -> Check:
    """All flavours install the same module, so a second one overwrites the first."""
    installed = {}
    for name in _FAISS:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    found = ", ".join(f"{name} {number}" for name, number in installed.items())
    if len(installed) == 1:
        return Check("faiss", found)
    if not installed:
        return Check("faiss", "not installed; install domainqa[faiss-cpu] or domainqa[faiss-gpu]", "error")
    return Check("faiss", f"{found} overwrite each other; uninstall all of them and install one", "error")


def _state_of_home(own: session.Session) -> Iterator[Check]:
    from rag.catalog import CATALOG_FILE

    if not (own.home_folder() / CATALOG_FILE).exists():
        # Opening the library would make one.
        yield Check("catalog", "none yet; `domainqa ingest PATH` makes it", "warning")
        return
    try:
        with own.library() as library:
            collections = library.collections()
            yield Check("catalog", f"{len(collections)} collections")
            for collection in collections:
                if collection.embedding_model != library.settings.embedding.model:
                    yield Check(
                        f"collection {collection.name}",
                        f"embedded with {collection.embedding_model}, but the profile says "
                        f"{library.settings.embedding.model}; run `domainqa reindex {collection.name}`",
                        "error",
                    )
            for finding in library.check():
                name = "home" if finding.collection is None else f"collection {finding.collection}"
                state: State = "warning" if finding.harmless else "error"
                yield Check(name, f"{finding.what}; mend it with `{finding.command}`", state)
    except DomainQAError as error:
        yield Check("catalog", str(error), "error")


def _print(checks: list[Check]) -> None:
    console = output.stdout()
    width = max(len(check.name) for check in checks)
    for check in checks:
        line = Text(f"{check.state:<8}", style=_STYLES[check.state])
        line.append(f"{output.name(check.name):<{width}}  {output.one_line(check.found)}", style="default")
        console.print(line, soft_wrap=True)

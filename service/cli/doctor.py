"""``domainqa doctor``: is everything there, and does it fit together? Mends nothing, loads no model."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from rag.errors import DomainQAError
from rag.models import default_cache
from service.cli import checks, fetching, output, session
from service.cli.checks import Check
from service.cli.options import JsonOutput

if TYPE_CHECKING:
    from rag.config import Settings

_LIBRARIES = ("torch", "transformers", "sentence-transformers", "peft", "tantivy", "kreuzberg", "sqlalchemy", "fastapi")
_FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def doctor(ctx: typer.Context, as_json: JsonOutput = False) -> None:
    """Check the whole installation, and say what mends what is wrong.

    Versions, models, engine, room on the disk, permissions, adapters, catalog and indexes.
    """
    found = list(_checks(session.of(ctx)))
    healthy = not any(check.state == "error" for check in found)
    if as_json:
        output.print_json(
            {
                "healthy": healthy,
                "checks": [
                    {"name": each.name, "found": each.found, "state": each.state, "mend": each.mend} for each in found
                ],
            }
        )
    else:
        _print(found)
    if not healthy:
        raise typer.Exit(1)


def _checks(own: session.Session) -> Iterator[Check]:
    yield Check("domainqa", version("domainqa"))
    yield Check("Python", platform.python_version())
    for name in _LIBRARIES:
        yield _library(name)
    yield _faiss()
    yield from checks.home_checks(own)
    try:
        settings = own.settings()
    except DomainQAError as error:
        yield Check("configuration", str(error), "error")
        return
    yield Check("profile", settings.profile)
    yield _ocr(settings)
    if settings.generation.engine == "openai":
        yield Check("engine", f"{settings.generation.model} at {settings.generation.base_url}")
    elif settings.generation.engine == "vllm":
        yield _engine(own, settings)
    cache = default_cache()
    for reference in own.models():
        if fetching.missing([reference], cache):
            yield Check(f"model {reference}", "not fetched yet", "warning", "domainqa models fetch")
        else:
            yield Check(f"model {reference}", "there")
    yield from checks.adapter_checks(own, settings)
    yield from checks.catalog_checks(own)


def _ocr(settings: "Settings") -> Check:
    from rag.documents.recognition import MISSING, installed_languages

    languages = ", ".join(installed_languages())
    if not settings.parsing.ocr:
        return Check("OCR", "off (parsing.ocr): images and scanned pages are not read")
    if not languages:
        return Check("OCR", f"there is none, so images and scanned pages are not read; {MISSING}", "warning")
    return Check("OCR", f"Tesseract's data: {languages}")


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
        return Check("faiss", "not installed", "error", "pip install 'domainqa[faiss-cpu]'")
    return Check("faiss", f"{found} overwrite each other; uninstall all of them and install one", "error")


def _print(found: list[Check]) -> None:
    console = output.stdout()
    width = max(len(check.name) for check in found)
    for check in found:
        told = check.found if check.mend is None else f"{check.found}; run `{check.mend}`"
        line = Text(f"{check.state:<8}", style=_STYLES[check.state])
        line.append(f"{output.name(check.name):<{width}}  {output.one_line(told)}", style="default")
        console.print(line, soft_wrap=True)

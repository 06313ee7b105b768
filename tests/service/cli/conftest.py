"""Commands in this process, over a library that the test brings along."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.main import app
from service.cli.session import Session


@dataclass
class Cli:
    """``run("ask", "...")`` in a home of its own. ``asked_for`` lists the models that commands wanted there."""

    home: Path
    library: object = None
    asked_for: list[str] = field(default_factory=list)
    offline: list[bool] = field(default_factory=list)

    def __call__(self, *arguments: str, input: str | None = None) -> Result:
        def provide(references: list[str], offline: bool) -> None:
            self.asked_for.extend(references)
            self.offline.append(offline)

        session = Session(
            open_library=lambda home, settings, progress, server: self.library, provide_models=provide, home=self.home
        )
        # Without catching: a bug's traceback is worth more than its exit code.
        return CliRunner().invoke(app, list(arguments), input=input, obj=session, catch_exceptions=False)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name in ("DOMAINQA_HOME", "DOMAINQA_PROFILE", "DOMAINQA_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return Cli(tmp_path)

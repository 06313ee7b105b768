"""A service in a process of its own, over fakes for the models, as other programs' clients meet it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rag.build import Library
from rag.config import Settings
from rag.fakes import FakeEmbedder

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "tests" / "service" / "scripted_domainqa.py"
BOLTS = "The casing bolts of the gear pump are tightened to 42 Nm."
QUESTION = "How much are the casing bolts of the gear pump tightened?"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """``url``, ``quote``, ``question``."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "files").mkdir()
    (folder / "files" / "pump.md").write_text(f"# Gear pump\n\n## Torque\n\n{BOLTS}\n")
    library = Library(folder / "home", Settings(), embedder=FakeEmbedder())
    library.ingest([folder / "files"])
    library.catalog.close()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "DOMAINQA_HOME": str(folder / "home"),
        "DOMAINQA_EMBEDDING__MODEL": FakeEmbedder.model,
    }
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, PROGRAM, "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            text=True,
        ) as process,
    ):
        try:
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), (folder / "log").read_text()
            yield SimpleNamespace(url=url.rstrip("/"), quote=BOLTS, question=QUESTION)
        finally:
            process.terminate()
            process.wait(30)

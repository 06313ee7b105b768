import json
from pathlib import Path

import pytest

from rag.build import Library
from rag.config import Settings
from rag.fakes import FakeEmbedder

pytestmark = pytest.mark.integration


@pytest.fixture
def saved(cli) -> Path:
    (cli.home / "pump.md").write_text("# Pump\n\nThe bolts are blue.\n")
    files, cli.home = cli.home / "pump.md", cli.home / "home"
    library = Library(cli.home, Settings(), embedder=FakeEmbedder())
    library.ingest([files])
    library.catalog.close()
    result = cli("backup", str(cli.home.parent / "saved.tar"), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["members"], report["indexes"], report["skipped"]) == (1, False, [])
    assert report["bytes"] == Path(report["file"]).stat().st_size
    return Path(report["file"])


def test_what_came_back_is_told(cli, saved: Path) -> None:
    new = str(cli.home.parent / "new")
    report = json.loads(cli("restore", str(saved), "--home", new, "--json").stdout)
    assert (report["home"], report["set_aside"]) == (new, None)
    assert report["collections"] == [{"name": "default", "chunks": 1, "reason": None}]


def test_refusals_are_one_line(cli, saved: Path) -> None:
    for arguments in (
        ["backup", str(saved)],
        ["backup", str(cli.home.parent / "no" / "folder.tar")],
        ["restore", str(saved)],
        ["restore", str(cli.home.parent / "missing.tar"), "--force"],
    ):
        result = cli(*arguments)
        assert (result.exit_code, result.stdout) == (1, ""), arguments
        assert result.stderr.splitlines()[-1].startswith("error: ")
    assert "--force" in cli("restore", str(saved)).stderr


def test_a_folder_takes_it_under_the_time(cli, saved: Path) -> None:
    report = json.loads(cli("backup", str(saved.parent), "--json").stdout)
    assert Path(report["file"]).parent == saved.parent
    assert Path(report["file"]).name.startswith("domainqa-2")

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rag.ingestion import IngestProgress
from rag.syncing import Sync
from rag.types import Failure, IngestReport, WithheldRemoval
from service.cli.progress import IngestDisplay

REPORT = IngestReport(
    added=3,
    updated=1,
    unchanged=2,
    removed=0,
    failed=(Failure("a\x1b[2J/b\n.pdf", "it is encrypted:\nremove the password"),),
    chunks=41,
    seconds=2.5004,
    seconds_by_step={"parsing": 0.5, "embedding": 1.9},
)


@dataclass
class Ingests:
    """A library that reports what it is told to."""

    report: IngestReport = REPORT
    asked: list[tuple[list[Path], str]] = field(default_factory=list)
    options: list[tuple[Sync | None, tuple[str, ...]]] = field(default_factory=list)
    synced: list[Path] = field(default_factory=list)
    closed: bool = False

    @property
    def catalog(self) -> "Ingests":
        return self

    def collection(self, name: str, tenant: str) -> str:
        return name

    def synced_folders(self, collection: str) -> list[Path]:
        return self.synced

    def ingest(self, paths, collection, on_progress, *, tenant="default", sync=None, passwords=()):
        self.asked.append((list(paths), collection))
        self.options.append((sync, passwords))
        for done in range(4):
            on_progress(IngestProgress(done, 3, 10 * done, "manual.pdf"))
        return self.report

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def ingest(cli, tmp_path: Path):
    cli.library = Ingests()
    return lambda *options: cli("ingest", str(tmp_path), *options)


def test_json_is_the_contract_s_object_and_nothing_else(cli, ingest, tmp_path: Path) -> None:
    result = ingest("--json", "--collection", "pumps")
    assert result.exit_code == 0, "unreadable files don't make an ingest fail"
    assert json.loads(result.stdout) == {
        "added": 3,
        "updated": 1,
        "unchanged": 2,
        "removed": 0,
        "failed": [{"source": "a\x1b[2J/b\n.pdf", "reason": "it is encrypted:\nremove the password"}],
        "chunks": 41,
        "seconds": 2.5,
    }
    assert cli.library.asked == [([tmp_path], "pumps")]
    assert cli.library.closed
    assert cli.asked_for == ["all-MiniLM-L6-v2"]


def test_people_get_counts_and_every_failure_on_a_line(ingest) -> None:
    result = ingest()
    counts, heading, failure = result.stdout.splitlines()
    assert counts == "3 added, 1 updated, 2 unchanged, 0 removed, 1 failed; 41 chunks in 2.5 s"
    assert heading == "Could not be read:"
    assert failure == "  a\\x1b[2J/b\\n.pdf: it is encrypted: remove the password"


def test_strict_makes_unreadable_files_an_error_and_still_reports(cli, ingest) -> None:
    result = ingest("--strict", "--json")
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)["failed"]) == 1
    cli.library = Ingests(IngestReport(1, 0, 0, 0, (), 1, 0.1))
    assert ingest("--strict").exit_code == 0


def test_syncing_is_asked_for_and_a_withheld_removal_is_an_error(cli, ingest, tmp_path: Path) -> None:
    assert ingest().exit_code == 0
    assert cli.library.options == [(None, ())]
    ingest("--sync", "--allow-mass-removal")
    assert cli.library.options[-1] == (Sync(allow_mass_removal=True), ())
    cli.library = Ingests(IngestReport(1, 0, 2, 0, (), 1, 0.1, withheld=(WithheldRemoval("/mnt/x", 57, 60),)))
    result = ingest("--sync", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["withheld"] == [{"folder": "/mnt/x", "missing": 57, "documents": 60}]
    assert result.stderr.splitlines()[-1].startswith("error: 57 of 60 documents of /mnt/x have lost their file; none")


def test_sync_without_a_path_takes_the_folders_synced_before(cli, ingest, tmp_path: Path) -> None:
    result = cli("ingest", "--sync")
    assert (result.exit_code, "no synced folders" in result.stderr) == (1, True)
    cli.library.synced = [tmp_path]
    assert cli("ingest", "--sync").exit_code == 0
    assert cli.library.asked == [([tmp_path], "default")]
    cli.library.synced = [tmp_path / "unmounted"]
    result = cli("ingest", "--sync")
    assert (result.exit_code, "is not there; mount it" in result.stderr) == (1, True)
    assert cli("ingest").exit_code == 2


def test_passwords_come_from_a_file_one_a_line(cli, ingest, tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("one\n two \n\n")
    assert ingest("--password-file", str(tmp_path / "passwords")).exit_code == 0
    assert cli.library.options == [(None, ("one", " two "))]
    result = ingest("--password-file", str(tmp_path / "nowhere"))
    assert (result.exit_code, "cannot be read" in result.stderr) == (1, True)


def test_a_path_that_is_not_there_is_told_before_models_are_fetched(cli, tmp_path: Path) -> None:
    result = cli("ingest", str(tmp_path), str(tmp_path / "no\x1bwhere"))
    assert result.exit_code == 1
    assert result.stderr == f"error: there is no file or folder {tmp_path}/no\\x1bwhere\n"
    assert cli.asked_for == []


def test_progress_goes_to_stderr_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with IngestDisplay(line_every_s=0) as display:
        display.note("loading all-MiniLM-L6-v2")
        display.update(IngestProgress(0, 800, 0, ""))
        display.update(IngestProgress(200, 800, 50, "pumps/zp\x1b-40.pdf"))
    out, err = capsys.readouterr()
    assert out == ""
    note, first, second = err.splitlines()
    assert note == "loading all-MiniLM-L6-v2"
    assert first.startswith("0 of 800 documents, 0 chunks")
    assert second.startswith("200 of 800 documents, 50 chunks, ")
    assert "chunks/s, about " in second
    assert second.endswith("at pumps/zp\\x1b-40.pdf")


def test_plain_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with IngestDisplay(line_every_s=3600) as display:
        for done in range(100):
            display.update(IngestProgress(done, 100, done, "x"))
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    with IngestDisplay() as display:
        display.note("loading")
        display.update(IngestProgress(1, 4, 10, "a.pdf"))
        display.update(IngestProgress(3, 4, 30, "[bold]b[/bold].pdf"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/4" in err
    assert "chunks/s" in err
    assert "[bold]b[/bold].pdf" in err

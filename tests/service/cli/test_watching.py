import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event

import pytest

from rag.errors import CatalogError, UsageError
from rag.types import IngestReport
from service.cli.progress import IngestDisplay
from service.cli.watching import watch_changes, watch_folders

NOTHING = IngestReport(0, 0, 3, 0, (), 0, 0.1)
SOMETHING = IngestReport(1, 0, 3, 0, (), 2, 0.1)


class Rounds:
    """Reports or raises in turn, and counts."""

    def __init__(self, *results: IngestReport | Exception | type[BaseException]) -> None:
        self._results = list(results)
        self.done = 0

    def __call__(self) -> IngestReport:
        result = self._results[self.done]
        self.done += 1
        if isinstance(result, IngestReport):
            return result
        raise result


def watch(rounds: Rounds, *changes: set[str]) -> list[IngestReport]:
    reports: list[IngestReport] = []

    def watching(folders: Sequence[Path], stop: Event) -> Iterator[Iterable[str]]:
        return iter(changes)

    with IngestDisplay() as display:
        watch_folders([Path("folder")], rounds, display, reports.append, watching)
    return reports


def test_every_change_is_a_round_and_only_what_did_something_is_told() -> None:
    rounds = Rounds(NOTHING, NOTHING, SOMETHING, NOTHING)
    assert watch(rounds, set(), set(), {"a"}, set(), {"b"}, set()) == [NOTHING, SOMETHING]
    assert rounds.done == 4, "one at the start, one for what changed during it, one for each change"


def test_a_round_that_fails_is_told_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    rounds = Rounds(NOTHING, NOTHING, CatalogError("another ingest is running"), SOMETHING)
    assert watch(rounds, set(), {"a"}, set(), set()) == [NOTHING, SOMETHING]
    assert "warning: another ingest is running; trying again" in capsys.readouterr().err


def test_an_error_of_the_first_round_ends_it() -> None:
    with pytest.raises(UsageError):
        watch(Rounds(UsageError("no folder")), {"a"})


def test_ctrl_c_in_a_round_ends_it_cleanly(capsys: pytest.CaptureFixture[str]) -> None:
    rounds = Rounds(NOTHING, KeyboardInterrupt)
    assert watch(rounds, {"a"}, {"b"}) == [NOTHING]
    assert "no longer watching" in capsys.readouterr().err


@pytest.mark.integration
def test_real_files_that_change_while_a_round_runs_are_one_more_round(tmp_path: Path) -> None:
    stop = Event()
    seen = watch_changes([tmp_path], stop)
    threading.Timer(1.0, lambda: (tmp_path / "a.txt").write_text("x")).start()
    first = {Path(path).name for _, path in next(seen)}
    assert first == {"a.txt"}
    for name in ("b.txt", "c.txt"):
        (tmp_path / name).write_text("x")
    time.sleep(0.5)
    assert {Path(path).name for _, path in next(seen)} == {"b.txt", "c.txt"}
    stop.set()
    assert list(seen) == []

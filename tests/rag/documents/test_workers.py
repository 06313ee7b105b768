"""Parsing in processes of its own: bounds, deaths, and what the run sees of them."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rag.config import ParsingSettings
from rag.documents import workers
from rag.documents.parsing import InProcessParser
from rag.documents.workers import ParsingWorkers, WorkerPool
from rag.errors import SourceError, StateError

pytestmark = pytest.mark.integration

Make = Callable[..., ParsingWorkers]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[ParsingWorkers] = []

    def start(passwords: tuple[str, ...] = (), **settings: float) -> ParsingWorkers:
        made.append(ParsingWorkers(ParsingSettings.model_validate(settings), passwords))
        return made[-1]

    yield start
    for each in made:
        each.close()


def write(folder: Path, name: str, text: str = "The gear oil must be changed every year.") -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder / name


def children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "rag.documents.worker" in each.cmdline()]


def test_it_reads_what_the_parser_in_process_reads_and_starts_when_needed(tmp_path: Path, make: Make) -> None:
    parser = make(workers=2)
    assert children() == []
    path = write(tmp_path, "a.md", "# Oil\n\nChange it every year.")
    assert parser.parse(path, "a.md") == InProcessParser().parse(path, "a.md")
    [worker] = children()
    parser.parse(path, "a.md")
    assert children() == [worker], "one that is idle is used again"
    with pytest.raises(SourceError, match=r"the file is empty \(0 bytes\)"):
        parser.parse(write(tmp_path, "b.md", ""), "b.md")
    assert children() == [worker], "a file that is refused costs no process"
    parser.close()
    assert children() == []
    with pytest.raises(SourceError, match="the run was ended"):
        parser.parse(path, "a.md")


def test_a_pool_outlives_the_run_that_used_it(tmp_path: Path) -> None:
    pool = WorkerPool()
    try:
        for _ in range(2):
            parser = ParsingWorkers(ParsingSettings(workers=1), pool=pool)
            parser.warm_up()
            started = children()
            assert len(started) == 1
            parser.parse(write(tmp_path, "a.txt"), "a.txt")
            parser.close()
            assert children() == started
    finally:
        pool.close()
    assert children() == []


def test_a_file_that_takes_too_long_is_named_with_the_bound_and_the_next_one_is_read(
    tmp_path: Path, make: Make
) -> None:
    parser = make(workers=1, timeout_s=5)
    good = write(tmp_path, "a.txt")
    parser.parse(good, "a.txt")
    fifo = tmp_path / "b.txt"  # nobody ever writes to it
    os.mkfifo(fifo)
    with pytest.raises(SourceError, match=r"more than the 5 seconds of parsing\.timeout_s"):
        parser.parse(fifo, "b.txt")
    assert children() == []
    # A process of its own has the imports in its time, which is not the file's.
    assert parser.parse(good, "a.txt").document.source == "a.txt"


def test_a_file_that_takes_too_much_memory_is_named_with_the_bound(tmp_path: Path, make: Make) -> None:
    parser = make(workers=1, memory_mb=256)
    rows = "".join(f"<tr><td>{number}</td><td>{number * 7}</td></tr>" for number in range(2_000_000))
    path = write(tmp_path, "a.html", f"<html><table>{rows}</table></html>")
    with pytest.raises(SourceError, match=r"MB of memory; parsing\.memory_mb allows 256"):
        parser.parse(path, "a.html")
    assert parser.parse(write(tmp_path, "b.txt"), "b.txt").document.source == "b.txt"


def test_a_reader_that_dies_is_told_with_its_signal(tmp_path: Path, make: Make) -> None:
    parser = make(workers=1)
    parser.parse(write(tmp_path, "a.txt"), "a.txt")
    os.mkfifo(tmp_path / "b.txt")
    [worker] = children()
    threading.Timer(0.3, lambda: os.kill(worker.pid, signal.SIGSEGV)).start()
    with pytest.raises(SourceError, match="the file broke its reader: the process died of SIGSEGV"):
        parser.parse(tmp_path / "b.txt", "b.txt")


def test_closing_ends_what_is_at_work(tmp_path: Path, make: Make) -> None:
    parser = make(workers=1)
    parser.parse(write(tmp_path, "a.txt"), "a.txt")
    os.mkfifo(tmp_path / "b.txt")
    raised: list[str] = []

    def parse() -> None:
        try:
            parser.parse(tmp_path / "b.txt", "b.txt")
        except SourceError as error:
            raised.append(str(error))

    thread = threading.Thread(target=parse)
    thread.start()
    time.sleep(0.3)
    parser.close()
    thread.join(20)
    assert len(raised) == 1
    assert children() == []


def test_a_process_that_cannot_start_says_so_and_how_to_do_without(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StateError, match=r"ended with 1; set parsing\.workers = 0"):
        make(workers=1).parse(write(tmp_path, "a.txt"), "a.txt")


def test_several_threads_get_a_process_each_up_to_the_number(tmp_path: Path, make: Make) -> None:
    parser = make(workers=2)
    paths = [write(tmp_path, f"{number}.txt") for number in range(6)]
    sources: list[str] = []
    threads = [
        threading.Thread(target=lambda some=some: sources.extend(parser.parse(p, p.name).document.source for p in some))
        for some in (paths[:3], paths[3:])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(sources) == [path.name for path in paths]
    assert len(children()) == 2


def test_the_number_of_processes_leaves_cores_to_the_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in ((1, 2), (2, 2), (8, 4), (64, 4)):
        monkeypatch.setattr(workers.os, "cpu_count", lambda cores=cores: cores)
        assert ParsingWorkers(ParsingSettings()).parallel == expected


def test_nothing_that_reads_office_files_is_loaded_by_whoever_starts_them() -> None:
    import subprocess

    program = "import rag.documents.workers, sys, json; print(json.dumps([m for m in sys.modules if 'kreuzberg' in m]))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment)
    assert json.loads(done.stdout) == []

import threading
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.logfile import RotatingLog, before, begin_run, follow, last_lines, last_lines_of_run
from service.engine.words import plain, telling


@settings(deadline=None)
@given(
    st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=80), max_size=60),
    st.integers(20, 2000),
)
def test_the_log_never_outgrows_its_bound(tmp_path_factory, lines: list[str], max_bytes: int) -> None:
    path = tmp_path_factory.mktemp("log") / "engine.log"
    log = RotatingLog(path, max_bytes)
    for line in lines:
        log.write(f"{line}\n".encode())
        files = [file for file in (path, before(path)) if file.exists()]
        assert sum(file.stat().st_size for file in files) <= max_bytes
    log.close()


def test_the_newest_lines_are_kept_in_order(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = RotatingLog(path, 4000)
    for number in range(1000):
        log.write(f"line {number}\n".encode())
    log.close()
    kept = last_lines(path, 10_000)
    assert kept == [f"line {number}" for number in range(1000 - len(kept), 1000)]
    assert 200 < len(kept) < 500
    assert last_lines(path, 300) == kept[-300:]
    assert last_lines(path, 0) == []
    # A second run goes on with the file.
    again = RotatingLog(path, 4000)
    again.write(b"line 1000\n")
    again.close()
    assert last_lines(path, 2) == ["line 999", "line 1000"]


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), max_size=8))
def test_a_secret_is_masked_however_the_pipe_cuts_it(tmp_path_factory, cuts: list[int]) -> None:
    path = tmp_path_factory.mktemp("log") / "engine.log"
    log = RotatingLog(path, 10_000, "hunter2hunter2")
    text = b"the key is hunter2hunter2, hunter2hunter2\nand no more"
    for cut in cuts:
        log.write(text[:cut])
        text = text[cut:]
    log.write(text)
    log.close()
    assert last_lines(path, 5) == ["the key is ***, ***", "and no more"]


def test_a_line_without_an_end_is_bounded_and_keeps_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = RotatingLog(path, 10**6, "hunter2hunter2")
    for _ in range(40):
        log.write(b"x" * 5000 + b"hunter2hunter2")
        assert len(log._pending) <= 64 * 1024
    log.close()
    assert b"hunter2" not in path.read_bytes()


def test_progress_bars_and_colours_become_plain_lines(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = RotatingLog(path, 10_000)
    log.write(b"\rLoading:  50%\rLoading: 100%\n\x1b[1;36m(APIServer)\x1b[0;0m hello\x07\n\n")
    log.close()
    assert last_lines(path, 5) == ["Loading:  50%", "Loading: 100%", "(APIServer) hello"]


def test_the_last_run_is_told_from_those_before(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = RotatingLog(path, 10_000)
    for run in ("first", "second"):
        begin_run(log, ["python", "a b"])
        log.write(f"{run} run\n".encode())
    log.close()
    assert last_lines(path, 10)[2:] == ["domainqa: starting python 'a b'", "second run"]
    assert last_lines_of_run(path, 10) == ["second run"]
    assert last_lines_of_run(path, 1) == ["second run"]
    assert last_lines_of_run(tmp_path / "none", 3) == []


def test_following_sees_every_line_through_rotations(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = RotatingLog(path, 2000)
    log.write(b"before\n")
    ended = threading.Event()
    seen: list[str] = []
    reading = threading.Thread(target=lambda: seen.extend(follow(path, lambda: not ended.is_set())))
    reading.start()
    time.sleep(0.1)
    for number in range(150):
        log.write(f"line {number}\n".encode())
        time.sleep(0.005)
    ended.set()
    reading.join(10)
    log.close()
    assert before(path).is_file()
    assert seen == [f"line {number}" for number in range(150)]


def test_an_errors_line_is_found_among_what_says_nothing() -> None:
    lines = [
        "(APIServer pid=12) INFO 11-24 05:00:00 [api_server.py:1] vLLM API server version 0.32.0",
        "(EngineCore pid=13) ERROR 11-24 05:00:01 [core.py:9]   File \"x.py\", line 3, in y",
        "(EngineCore pid=13) ERROR 11-24 05:00:01 [core.py:9] ValueError: max_model_len is too large",
        "(APIServer pid=12) RuntimeError: Engine core initialization failed. See root cause above. Failed: {}",
    ]  # fmt: skip
    assert telling(lines) == "ValueError: max_model_len is too large"
    assert telling(["usage: api_server.py", "api_server.py: error: unrecognized arguments: --x"]).endswith("--x")
    assert telling(["one", "two", "", "three"]) == "two | three"
    assert telling([]) == ""
    assert plain(lines[0]) == "vLLM API server version 0.32.0"
    assert len(telling(["Error: " + "x" * 5000])) <= 400

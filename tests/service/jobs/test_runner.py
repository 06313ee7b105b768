"""Who watches the ingest process: with processes that do nothing but end."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rag.catalog import Catalog
from rag.catalog.jobs import Job
from rag.config import ConversationSettings, JobSettings, Settings
from rag.fakes import FakeEmbedder
from rag.types import Answer, Turn, Usage
from service.jobs.runner import JobRunner

pytestmark = pytest.mark.integration

ANSWER = Answer(
    "Red.",
    False,
    "rag",
    "m",
    (),
    (),
    (),
    True,
    None,
    "stop",
    Usage(),
    {},
    turn=Turn("Which oil?", "Which oil?", "Red."),
)


@pytest.fixture
def catalog(tmp_path: Path):
    with Catalog.open(tmp_path) as catalog:
        catalog.create_collection("default", FakeEmbedder())
        yield catalog


def ending_with(code: int, mark: Path) -> list[str]:
    """Takes a turn, as a real one would, and ends."""
    program = f"""
import os, pathlib, sys
from rag.catalog import Catalog
with Catalog.open(pathlib.Path(os.environ["DOMAINQA_INGEST_HOME"])) as catalog:
    catalog.job_queue.take_turn()
with open({str(mark)!r}, "a") as file:
    file.write("x")
sys.exit({code})
"""
    return [sys.executable, "-c", program]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def add(catalog: Catalog) -> Job:
    return catalog.jobs.add("job_1", catalog.collection("default"), [("a.txt", 1)], 10)


def test_a_process_that_dies_before_it_reads_anything_fails_the_job_and_says_where_to_look(
    tmp_path: Path, catalog: Catalog
) -> None:
    add(catalog)
    mark = tmp_path / "mark"
    with JobRunner(tmp_path, Settings(), catalog, ending_with(3, mark)) as runner:
        until(lambda: catalog.jobs.get("job_1").ended)
        assert runner.deaths == 3
    job = catalog.jobs.get("job_1")
    assert job.state == "failed"
    assert "exit code 3" in str(job.error)
    assert str(tmp_path / "ingest" / "ingest.log") in str(job.error)
    assert mark.read_text() == "xxx"


def test_nothing_is_started_without_a_job(tmp_path: Path, catalog: Catalog) -> None:
    mark = tmp_path / "mark"
    with JobRunner(tmp_path, Settings(), catalog, ending_with(0, mark)):
        time.sleep(1)
    assert not mark.exists()


def test_of_two_services_on_one_home_one_runs_the_jobs_and_the_other_takes_over(
    tmp_path: Path, catalog: Catalog
) -> None:
    marks = tmp_path / "one", tmp_path / "two"
    with JobRunner(tmp_path, Settings(), catalog, ending_with(0, marks[1])) as second:
        with JobRunner(tmp_path, Settings(), catalog, ending_with(0, marks[0])) as first:
            until(lambda: (tmp_path / "locks" / "jobs.lock").exists())
            add(catalog)
            for runner in (first, second):
                runner.wake()
            until(lambda: any(mark.exists() for mark in marks))
            assert sum(mark.exists() for mark in marks) == 1
        until(lambda: marks[1].exists())


def test_what_has_had_its_time_goes_at_the_start(tmp_path: Path, catalog: Catalog) -> None:
    for name in ("old", "new"):
        catalog.conversations.add_turn(f"conv_{name}", f"turn_{name}", "default", ANSWER, new=True)
    ended = catalog.jobs.cancel(add(catalog).id)
    stale = datetime(2020, 1, 1, tzinfo=UTC).isoformat(timespec="microseconds")
    with catalog._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE conversations SET updated_at = ? WHERE id = 'conv_old'", (stale,))
        connection.exec_driver_sql("UPDATE jobs SET ended_at = ?", (stale,))
    settings = Settings(conversations=ConversationSettings(retention_days=1), jobs=JobSettings(keep_days=1))
    with JobRunner(tmp_path, settings, catalog, ["false"]):
        until(lambda: len(catalog.conversations.page()) == 1)
        until(lambda: catalog.jobs.page() == [])
    assert [each.id for each in catalog.conversations.page()] == ["conv_new"]
    assert ended.ended


def test_without_a_limit_conversations_stay(tmp_path: Path, catalog: Catalog) -> None:
    catalog.conversations.add_turn("conv_old", "turn_old", "default", ANSWER, new=True)
    with catalog._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE conversations SET updated_at = '2020-01-01T00:00:00.000000+00:00'")
    with JobRunner(tmp_path, Settings(), catalog, ["false"]):
        time.sleep(1)
    assert len(catalog.conversations.page()) == 1

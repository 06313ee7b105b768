"""The queue's order, what a death or a restart leaves, and that nothing is counted twice."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rag.catalog import CATALOG_FILE, Catalog
from rag.catalog.jobs import Job
from rag.errors import BusyError, ConflictError, NotFoundError
from rag.fakes import FakeEmbedder
from rag.types import Collection


@pytest.fixture
def catalog(tmp_path: Path):
    with Catalog.open(tmp_path) as catalog:
        yield catalog


def collection_of(catalog: Catalog, tenant: str = "default") -> Collection:
    catalog.create_tenant(tenant)
    return catalog.create_collection("default", FakeEmbedder(), tenant)


def add(catalog: Catalog, collection: Collection, job_id: str, files: int = 1, size: int = 1) -> Job:
    named = [(f"{job_id}-{number}.txt", size) for number in range(files)]
    return catalog.jobs.add(job_id, collection, named, max_queued=100)


def test_tenants_take_turns_and_within_one_the_oldest_job_is_first(catalog: Catalog) -> None:
    one, two, three = (collection_of(catalog, tenant) for tenant in ("one", "two", "three"))
    for name in ("a1", "a2", "a3"):
        add(catalog, one, name)
    add(catalog, two, "b1")
    add(catalog, three, "c1")
    turns = [job.id for _ in range(6) if (job := catalog.job_queue.take_turn()) is not None]
    assert sorted(turns[:3]) == ["a1", "b1", "c1"]
    assert turns[3:] == turns[:3]
    catalog.job_queue.end(catalog.jobs.get("b1", "two"), "done")
    turns = [job.id for _ in range(4) if (job := catalog.job_queue.take_turn()) is not None]
    assert sorted(turns[:2]) == sorted(turns[2:]) == ["a1", "c1"]
    add(catalog, two, "b2")
    later = [job.id for _ in range(3) if (job := catalog.job_queue.take_turn()) is not None]
    assert "b2" in later[:1], "who was served longest ago is next"


def test_a_job_put_aside_lets_others_through(catalog: Catalog) -> None:
    collection = collection_of(catalog)
    first, second = add(catalog, collection, "a"), add(catalog, collection, "b")
    taken = catalog.job_queue.take_turn(excluding=[first.number])
    assert taken is not None
    assert taken.id == second.id
    assert catalog.job_queue.take_turn(excluding=[first.number, second.number]) is None


def test_the_queue_of_a_tenant_is_bounded_and_jobs_under_way_do_not_count(catalog: Catalog) -> None:
    one, two = collection_of(catalog), collection_of(catalog, "two")
    for job_id in ("a", "b"):
        catalog.jobs.add(job_id, one, [("x", 1)], max_queued=2)
    with pytest.raises(BusyError):
        catalog.jobs.add("c", one, [("x", 1)], max_queued=2)
    catalog.jobs.add("d", two, [("x", 1)], max_queued=2)
    assert catalog.job_queue.take_turn() is not None
    assert catalog.job_queue.take_turn() is not None
    catalog.jobs.add("c", one, [("x", 1)], max_queued=2)


def test_files_are_taken_some_at_a_time_and_a_suspect_alone(catalog: Catalog) -> None:
    job = add(catalog, collection_of(catalog), "a", files=5, size=10)
    queue = catalog.job_queue
    assert [file.position for file in queue.some_files(job, 3, 1000)] == [0, 1, 2]
    assert [file.position for file in queue.some_files(job, 5, 25)] == [0, 1]
    assert [file.position for file in queue.some_files(job, 5, 1)] == [0], "one at least"
    assert queue.begin_file(job, 0)
    queue.record_death(2, "died")
    assert [file.position for file in queue.some_files(job, 5, 1000)] == [0]
    queue.finish_files(job, {0: None}, 3)
    assert [file.position for file in queue.some_files(job, 5, 1000)] == [1, 2, 3, 4]


def test_a_death_blames_the_file_begun_last_and_the_second_one_fails_it(catalog: Catalog) -> None:
    job = add(catalog, collection_of(catalog), "a", files=4)
    queue = catalog.job_queue
    for position in (0, 1, 2):
        assert queue.begin_file(job, position)
    assert queue.record_death(2, "died") == []
    files = catalog.jobs.files(job)
    assert [(file.state, file.suspect, file.deaths) for file in files] == [
        ("waiting", True, 0),
        ("waiting", True, 0),
        ("waiting", True, 1),
        ("waiting", False, 0),
    ]
    assert queue.begin_file(job, 2)
    ((failed_job, failed),) = queue.record_death(2, "died")
    assert (failed_job.id, failed.position, failed.state, failed.reason) == ("a", 2, "failed", "died")
    assert (failed_job.files_failed, failed_job.files_done, failed_job.current) == (1, 0, None)
    assert queue.record_death(2, "nothing was read") == []


def test_a_restart_blames_a_file_only_when_it_was_alone_and_often(catalog: Catalog) -> None:
    job = add(catalog, collection_of(catalog), "a", files=2)
    queue = catalog.job_queue
    queue.begin_file(job, 0)
    for _ in range(2):
        assert queue.recover(2) == []
        queue.begin_file(job, 0)
    ((_, failed),) = queue.recover(2)
    assert failed.position == 0
    queue.begin_file(job, 1)
    for _ in range(9):
        queue.put_back()
        queue.begin_file(job, 1)
    queue.put_back()
    assert [file.state for file in catalog.jobs.files(job)] == ["failed", "waiting"]


def test_cancelling(catalog: Catalog) -> None:
    collection = collection_of(catalog)
    waiting, running = add(catalog, collection, "a"), add(catalog, collection, "b", files=2)
    assert catalog.jobs.cancel(waiting.id).state == "cancelled"
    assert catalog.job_queue.take_turn() is not None
    assert catalog.job_queue.begin_file(running, 0)
    assert catalog.jobs.cancel("b").state == "running"
    assert not catalog.job_queue.begin_file(running, 1)
    catalog.job_queue.finish_files(running, {0: None}, 2)
    catalog.job_queue.end(running, "cancelled")
    ended = catalog.jobs.get("b")
    assert (ended.state, ended.files_done, ended.files_failed, ended.chunks) == ("cancelled", 1, 0, 2)
    with pytest.raises(ConflictError):
        catalog.jobs.cancel("b")


def test_every_change_raises_the_revision(catalog: Catalog) -> None:
    job = add(catalog, collection_of(catalog), "a", files=2)
    queue = catalog.job_queue
    seen = [job.revision]
    for change in (
        queue.take_turn,
        lambda: queue.begin_file(job, 0),
        lambda: queue.progress(job, 1),
        lambda: queue.finish_files(job, {0: None, 1: "broken"}, 1),
        lambda: queue.end(job, "done"),
    ):
        change()
        seen.append(catalog.jobs.get("a").revision)
    assert seen == sorted(set(seen))


def test_jobs_outlive_their_collection_and_are_forgotten_in_time(catalog: Catalog) -> None:
    job = add(catalog, collection_of(catalog), "a")
    catalog.delete_collection("default")
    left = catalog.jobs.get("a")
    assert (left.collection, left.collection_id) == ("default", None)
    assert catalog.job_queue.drop_ended("9999") == 0
    catalog.job_queue.end(job, "failed", "the collection was deleted")
    assert [file.reason for file in catalog.jobs.files(job)] == ["the collection was deleted"]
    assert catalog.job_queue.drop_ended("2000") == 0
    assert catalog.job_queue.drop_ended("9999") == 1
    with pytest.raises(NotFoundError):
        catalog.jobs.get("a")


def test_a_job_belongs_to_its_tenant(catalog: Catalog) -> None:
    collection_of(catalog)
    add(catalog, collection_of(catalog, "two"), "b")
    assert [job.id for job in catalog.jobs.page("two")] == ["b"]
    assert catalog.jobs.page() == []
    for call in (catalog.jobs.get, catalog.jobs.cancel):
        with pytest.raises(NotFoundError):
            call("b")


def test_counts(catalog: Catalog) -> None:
    collection = collection_of(catalog)
    job, _ = add(catalog, collection, "a", files=3), add(catalog, collection, "b")
    catalog.job_queue.take_turn()
    catalog.job_queue.finish_files(job, {0: None, 1: "broken", 2: "broken"}, 1)
    counts = catalog.jobs.counts()
    assert (counts.queued, counts.running, counts.failed_files) == (1, 1, 2)


def test_a_catalog_of_the_schema_before_gets_the_tables_and_keeps_its_data(tmp_path: Path, downgrade) -> None:
    with Catalog.open(tmp_path) as catalog:
        made = catalog.create_collection("kept", FakeEmbedder())
    downgrade(tmp_path, "0003")
    with closing(sqlite3.connect(tmp_path / CATALOG_FILE)) as connection:
        assert not connection.execute("SELECT name FROM sqlite_master WHERE name = 'jobs'").fetchall()
    with Catalog.open(tmp_path) as catalog:
        assert catalog.collection("kept") == made
        assert add(catalog, made, "a").state == "queued"
        assert catalog.damage() == []

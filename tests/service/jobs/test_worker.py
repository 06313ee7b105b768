"""The ingest process' loop, in this process: turns between tenants, and what ends a job early."""

import threading
import time
from pathlib import Path

import pytest

from rag.build import Library
from rag.config import JobSettings, Settings
from rag.fakes import FakeEmbedder
from rag.types import Collection
from service.jobs.spool import Spool, write
from service.jobs.worker import Worker

pytestmark = pytest.mark.integration


class Home:
    def __init__(self, folder: Path) -> None:
        self.library = Library(folder, Settings(), embedder=FakeEmbedder())
        self.catalog = self.library.catalog
        self.settings = JobSettings(idle_s=0, files_per_turn=1)

    def collection(self, tenant: str = "default") -> Collection:
        self.catalog.create_tenant(tenant)
        return self.library.create_collection("default", tenant=tenant)

    def upload(self, collection: Collection, job_id: str, *texts: str) -> None:
        with Spool(self.library.home).receive(job_id) as incoming:
            for text in texts:
                file = incoming.new_file()
                write(file, text.encode())
                incoming.finish(file)
            incoming.commit()
            named = [(f"{job_id}-{number}.txt", len(text)) for number, text in enumerate(texts)]
            self.catalog.jobs.add(job_id, collection, named, 10)

    def work(self) -> None:
        Worker(self.library, self.settings).run()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_tenants_take_turns_file_by_file_and_each_gets_its_own(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = home.collection(), home.collection("two")
    home.upload(one, "large", *(f"Sentence {number}." for number in range(4)))
    home.upload(two, "small", "Another tenant's sentence.")
    turns: list[str] = []
    turn = Worker.turn

    def noting(self: Worker, job) -> None:  # type: ignore[no-untyped-def]
        turns.append(job.id)
        turn(self, job)

    monkeypatch.setattr(Worker, "turn", noting)
    home.work()
    assert turns[:4] == ["large", "small", "large", "small"]
    assert [each.source for each in home.catalog.documents(one)] == [f"large-{number}.txt" for number in range(4)]
    assert [each.source for each in home.catalog.documents(two)] == ["small-0.txt"]
    assert home.catalog.jobs.get("small", "two").state == "done"


def test_what_cannot_be_read_is_named_and_the_rest_is_done(home: Home) -> None:
    collection = home.collection()
    home.upload(collection, "job", "A sentence.", "", "Another one.")
    home.work()
    job = home.catalog.jobs.get("job")
    assert (job.state, job.files_done, job.files_failed, job.chunks) == ("done", 2, 1, 2)
    assert "empty" in str(home.catalog.jobs.files(job)[1].reason)
    assert [each.source for each in home.catalog.failures(collection)] == ["job-1.txt"]


def test_a_job_whose_collection_was_deleted_fails_and_does_not_make_it_anew(home: Home) -> None:
    home.upload(home.collection(), "job", "A sentence.")
    home.library.delete_collection("default")
    home.work()
    job = home.catalog.jobs.get("job")
    assert (job.state, job.error) == ("failed", "the collection 'default' was deleted")
    assert home.catalog.collections() == []
    home.upload(home.collection(), "next", "A sentence.")
    home.library.delete_collection("default")
    home.collection()
    home.work()
    assert home.catalog.jobs.get("next").state == "failed", "another collection of the same name is another one"
    assert not list((home.library.home / "spool" / "jobs").iterdir())


def test_a_job_waits_while_somebody_else_writes_and_others_go_on(home: Home) -> None:
    busy, free = home.collection(), home.collection("two")
    home.upload(busy, "waits", "A sentence.")
    home.upload(free, "goes-on", "A sentence.")
    working = threading.Thread(target=home.work)
    with home.catalog.writer_lock(busy):
        working.start()
        deadline = time.monotonic() + 100
        while not home.catalog.jobs.get("goes-on", "two").ended:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not home.catalog.jobs.get("waits").ended
    working.join(100)
    assert home.catalog.jobs.get("waits").state == "done"


def test_a_file_that_is_no_longer_on_the_disk_fails_by_itself(home: Home) -> None:
    home.upload(home.collection(), "job", "A sentence.", "Another one.")
    Spool(home.library.home).drop_file("job", 0)
    home.work()
    job = home.catalog.jobs.get("job")
    assert (job.state, job.files_done, job.files_failed) == ("done", 1, 1)

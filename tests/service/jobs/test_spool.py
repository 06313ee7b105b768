import os
import time
from contextlib import suppress
from pathlib import Path

from service.jobs.spool import ABANDONED_AFTER_S, Spool, write


def put(spool: Spool, job_id: str, *contents: bytes, commit: bool = True) -> None:
    with spool.receive(job_id) as incoming:
        for content in contents:
            file = incoming.new_file()
            write(file, content)
            incoming.finish(file)
        if commit:
            incoming.commit()


def files(home: Path) -> list[str]:
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file())


def test_files_are_there_all_at_once_or_not_at_all(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with spool.receive("one") as incoming:
        file = incoming.new_file()
        write(file, b"text")
        incoming.finish(file)
        assert not spool.path("one", 0).exists()
        incoming.commit()
        assert spool.path("one", 0).read_bytes() == b"text"
    assert files(tmp_path) == ["spool/jobs/one/00000"]


def test_nothing_stays_of_an_upload_that_is_broken_off(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put(spool, "one", b"a", commit=False)
    for committed in (False, True):
        with suppress(ConnectionError), spool.receive("two") as incoming:
            incoming.new_file().close()
            if committed:
                incoming.commit()
            raise ConnectionError
    assert files(tmp_path) == []
    assert not list((tmp_path / "spool" / "jobs").iterdir())
    assert not list((tmp_path / "spool" / "incoming").iterdir())


def test_only_the_owner_can_read_what_was_uploaded(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    put(spool, "one", b"a")
    assert spool.path("one", 0).stat().st_mode & 0o077 == 0
    assert spool.path("one", 0).parent.stat().st_mode & 0o077 == 0


def test_a_sweep_takes_what_no_job_knows_but_not_what_has_just_come(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for name in ("known", "old", "fresh"):
        put(spool, name, b"a")
    (tmp_path / "spool" / "incoming" / "cut-off").mkdir()
    past = time.time() - ABANDONED_AFTER_S - 10
    for folder in (*(tmp_path / "spool" / "jobs").iterdir(), tmp_path / "spool" / "incoming" / "cut-off"):
        if folder.name != "fresh":
            for path in (*folder.iterdir(), folder):
                os.utime(path, (past, past))
    assert spool.sweep({"known"}) == 2
    assert files(tmp_path) == ["spool/jobs/fresh/00000", "spool/jobs/known/00000"]
    assert not list((tmp_path / "spool" / "incoming").iterdir())

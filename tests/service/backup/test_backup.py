"""Homes saved and put back: the same hits afterwards, or the home as it was."""

import json
import shutil
import sqlite3
import tarfile
import threading
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest

from rag.build import Library
from rag.catalog import CATALOG_FILE, AccessKey
from rag.config import JobSettings, Settings
from rag.errors import StateError, UsageError
from rag.fakes import FakeEmbedder
from rag.types import Answer, Turn, Usage
from service.backup import databases
from service.backup.manifest import NAME, PREFIX
from service.backup.restoring import restore
from service.backup.saving import back_up
from service.jobs.spool import Spool
from service.jobs.worker import Worker
from service.keys import PEPPER_FILE, Pepper, Verifier, new_key

pytestmark = pytest.mark.integration

BOLTS = "The casing bolts of the gear pump are tightened to 42 Nm."
SEAL = "The shaft seal of the valve is replaced every 4000 hours."


def library_of(home: Path) -> Library:
    return Library(home, Settings(), embedder=FakeEmbedder())


def hits_of(home: Path) -> list[tuple[str, int, int, str, float]]:
    library = library_of(home)
    hits = library.search("casing bolts of the pump", "default", 5)
    library.catalog.close()
    return [(hit.chunk.source, hit.chunk.start, hit.chunk.end, hit.chunk.text, hit.score) for hit in hits]


def quiet(*_: object) -> None: ...


@pytest.fixture
def home(tmp_path: Path) -> Path:
    files = tmp_path / "files"
    files.mkdir()
    (files / "pump.md").write_text(f"# Gear pump\n\n{BOLTS}\n")
    (files / "valve.md").write_text(f"# Valve\n\n{SEAL}\n")
    library = library_of(tmp_path / "home")
    library.ingest([files])
    library.catalog.create_tenant("other")
    library.catalog.create_collection("theirs", FakeEmbedder(), "other")
    library.catalog.close()
    home = tmp_path / "home"
    (home / "domainqa.toml").write_text("[retrieval]\ntop_k = 3\n")
    Pepper(home).make()
    (home / "adapters" / "pumps-0123456789ab").mkdir(parents=True)
    (home / "adapters" / "pumps-0123456789ab" / "adapter_model.safetensors").write_bytes(b"weights")
    (home / "engine").mkdir()
    (home / "engine" / "key").write_text("key of this start")
    return home


def saved(home: Path, name: str = "backup.tar", with_indexes: bool = False) -> Path:
    return back_up(home, home.parent / name, with_indexes=with_indexes, progress=quiet).file


def names_in(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


@pytest.mark.parametrize("name", ["backup.tar", "backup.tar.gz"])
@pytest.mark.parametrize("with_indexes", [False, True])
def test_a_restored_home_finds_the_same(home: Path, name: str, with_indexes: bool) -> None:
    archive = saved(home, name, with_indexes)
    new = home.parent / "elsewhere" / "new"
    done = restore(archive, new, force=False, note=quiet)
    assert hits_of(new) == hits_of(home) != []
    assert [(each.collection, each.chunks) for each in done.collections] == [("default", 2), ("theirs", 0)]
    assert done.set_aside is None
    for path in ("domainqa.toml", PEPPER_FILE, "adapters/pumps-0123456789ab/adapter_model.safetensors"):
        assert (new / path).read_bytes() == (home / path).read_bytes()
    assert (new / PEPPER_FILE).stat().st_mode & 0o777 == 0o600
    assert new.stat().st_mode & 0o077 == 0
    assert archive.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(new / CATALOG_FILE)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    library = library_of(new)
    assert library.check() == []
    assert library.ingest([home.parent / "files"]).unchanged == 2
    library.catalog.close()
    assert [path.name for path in new.parent.iterdir()] == ["new"], "nothing is left beside it"


def test_keys_and_conversations_come_along_and_uploads_under_way_are_told_as_failed(home: Path) -> None:
    key = new_key()
    library = library_of(home)
    made = AccessKey(key.id, "default", "n", "reader", Pepper(home).digest(key.text), datetime.now(UTC))
    library.catalog.keys.add(made)
    turn = Turn("Which torque?", "Which torque?", BOLTS)
    answer = Answer(BOLTS, False, "rag", "m", (), (), (), None, None, "stop", Usage(), {}, turn=turn)
    library.catalog.conversations.add_turn("conv_1", "turn_1", "default", answer, new=True)
    with Spool(home).receive("job_1") as incoming:
        file = incoming.new_file()
        file.write(b"# New\n\nIt waits.\n")
        incoming.finish(file)
        incoming.commit()
    library.catalog.jobs.add("job_1", library.catalog.collection("default"), [("new.md", 17)], max_queued=1)
    library.catalog.close()
    archive = saved(home)
    assert not [name for name in names_in(archive) if "spool" in name]
    new = home.parent / "new"
    restore(archive, new, force=False, note=quiet)
    library = library_of(new)
    assert Verifier(library.catalog.keys, Pepper(new)).verify(key.text) is not None
    [stored] = library.catalog.conversations.turns(library.catalog.conversations.get("conv_1"))
    assert stored.turn == turn
    Worker(library, JobSettings(idle_s=0.1)).run()
    job = library.catalog.jobs.get("job_1")
    [waiting] = library.catalog.jobs.files(job)
    assert (job.state, waiting.state) == ("done", "failed")
    assert "cannot be opened" in (waiting.reason or "")
    assert library.check() == []
    library.catalog.close()


def test_what_a_home_makes_again_is_left_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "models" / "big").mkdir(parents=True)
    (home / "models" / "big" / "model.safetensors").write_bytes(b"base")
    monkeypatch.setenv("DOMAINQA_MODELS", str(home / "models"))
    (home / "link").symlink_to("/etc/hostname")
    report = back_up(home, home.parent, with_indexes=False, progress=quiet)
    assert report.skipped == ("link (not a plain file)",)
    assert report.file.parent == home.parent
    assert sorted(names_in(report.file)) == [
        "home/adapters/pumps-0123456789ab/adapter_model.safetensors",
        "home/catalog.sqlite",
        "home/domainqa.toml",
        f"home/{PEPPER_FILE}",
        "manifest.json",
    ]


def test_indexes_that_went_on_since_are_built_again(home: Path) -> None:
    """The snapshot in the archive is newer than its catalog, as when an ingest publishes during the copy."""
    older = saved(home, "older.tar", with_indexes=True)
    files = home.parent / "files"
    for number in range(3):
        (files / f"more-{number}.md").write_text(f"# Pump {number}\n\nThe casing bolts are blue, {number}.\n")
        library = library_of(home)
        library.ingest([files])
        library.catalog.close()
    newer = saved(home, "newer.tar", with_indexes=True)
    mixed = home.parent / "mixed.tar"
    with tarfile.open(older) as old, tarfile.open(newer) as new, tarfile.open(mixed, "w") as out:
        manifest = json.load(new.extractfile(NAME))
        old_members = {each["name"]: each for each in json.load(old.extractfile(NAME))["members"]}
        for info in new:
            if info.name == f"{PREFIX}{CATALOG_FILE}":
                out.addfile(old.getmember(info.name), old.extractfile(info.name))
            elif info.name != NAME:
                out.addfile(info, new.extractfile(info))
        members = [old_members[CATALOG_FILE] if each["name"] == CATALOG_FILE else each for each in manifest["members"]]
        content = json.dumps(manifest | {"members": members}).encode()
        info = tarfile.TarInfo(NAME)
        info.size = len(content)
        out.addfile(info, BytesIO(content))
    target = home.parent / "new"
    done = restore(mixed, target, force=False, note=quiet)
    assert [each.chunks for each in done.collections] == [2, 0]
    library = library_of(target)
    assert library.check() == []
    assert {hit.chunk.source for hit in library.search("casing bolts", "default", 9)} == {"pump.md", "valve.md"}
    library.catalog.close()


def test_a_copy_is_consistent_while_another_connection_writes(home: Path) -> None:
    """Rows are written in pairs, one transaction each: a copy never holds half a pair, and comes to its end."""
    with closing(sqlite3.connect(home / CATALOG_FILE)) as connection:
        connection.execute("CREATE TABLE pairs (n INTEGER, filler BLOB)")
        connection.execute(
            "WITH RECURSIVE c(n) AS (VALUES(1) UNION ALL SELECT n+1 FROM c WHERE n < 4000) "
            "INSERT INTO pairs SELECT -n, randomblob(3000) FROM c"
        )
        connection.commit()
    stop, written = threading.Event(), []

    def write() -> None:
        with closing(sqlite3.connect(home / CATALOG_FILE, isolation_level=None, timeout=30)) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO pairs VALUES (?, NULL)", (number,))
                connection.execute("INSERT INTO pairs VALUES (?, NULL)", (number,))
                connection.execute("COMMIT")
                written.append(number)

    thread = threading.Thread(target=write)
    thread.start()
    steps = []

    def progress(name: str, done: int, total: int) -> None:
        # Each step of the copy waits for a commit of the other connection, which would make SQLite begin again.
        seen = len(written)
        while name == CATALOG_FILE and len(steps) < 5 and len(written) == seen and thread.is_alive():
            pass
        steps.append(done)

    try:
        archive = back_up(home, home.parent / "busy.tar", with_indexes=False, progress=progress).file
    finally:
        stop.set()
        thread.join()
    restore(archive, home.parent / "new", force=False, note=quiet)
    with closing(sqlite3.connect(home.parent / "new" / CATALOG_FILE)) as connection:
        odd = connection.execute("SELECT n FROM pairs WHERE n > 0 GROUP BY n HAVING count(*) != 2").fetchall()
        assert odd == []
        assert connection.execute("SELECT count(*) FROM pairs WHERE n < 0").fetchone() == (4000,)
    assert len(steps) > 5
    assert len(written) > 3


# --- refusals of a backup -----------------------------------------------------------------------


def test_a_backup_that_cannot_be_made_leaves_nothing(home: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken.tar"
    taken.touch()
    for target in (taken, home / "inside.tar", tmp_path / "no" / "such" / "folder.tar"):
        with pytest.raises(UsageError):
            back_up(home, target, with_indexes=False, progress=quiet)
    with pytest.raises(UsageError, match="nothing to back up"):
        back_up(tmp_path / "empty", tmp_path / "x.tar", with_indexes=False, progress=quiet)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(home, tmp_path / "cut.tar", with_indexes=False, progress=fail)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "home", "taken.tar"]
    assert taken.stat().st_size == 0


def test_a_damaged_catalog_is_not_backed_up(home: Path) -> None:
    content = bytearray((home / CATALOG_FILE).read_bytes())
    content[4096:12288] = b"\xff" * 8192
    (home / CATALOG_FILE).write_bytes(content)
    with pytest.raises(StateError, match=r"catalog\.sqlite"):
        saved(home)
    assert not (home.parent / "backup.tar").exists()


# --- refusals of a restore ----------------------------------------------------------------------


def refused(archive: Path, match: str) -> None:
    """Neither a new home nor an old one is touched."""
    new, old = archive.parent / "new", archive.parent / "old"
    old.mkdir(exist_ok=True)
    (old / "mine").write_text("precious")
    for target in (new, old):
        with pytest.raises((StateError, UsageError), match=match):
            restore(archive, target, force=True, note=quiet)
    assert not new.exists()
    assert [path.name for path in old.iterdir()] == ["mine"]
    assert not list(archive.parent.glob(".restoring-*"))
    assert not list(archive.parent.glob("*before-restore*"))


def test_every_flipped_byte_of_a_file_is_found_and_its_member_named(home: Path) -> None:
    archive = saved(home)
    whole = archive.read_bytes()
    with tarfile.open(archive) as tar:
        places = [(info.name, info.offset_data + info.size // 2) for info in tar if info.name != NAME]
    assert len(places) >= 4
    for name, place in places:
        damaged = home.parent / "damaged.tar"
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        refused(damaged, name.removeprefix(PREFIX).replace(".", r"\."))


@pytest.mark.parametrize("name", ["backup.tar", "backup.tar.gz"])
def test_an_archive_that_was_cut_off_is_refused(home: Path, name: str) -> None:
    whole = saved(home, name).read_bytes()
    cut = home.parent / f"cut-{name}"
    for share in (0.0, 0.1, 0.5, 0.9):
        cut.write_bytes(whole[: int(len(whole) * share)])
        refused(cut, "damaged at|manifest")


def repacked(archive: Path, *infos: tuple[tarfile.TarInfo, bytes], listed: bool = False) -> Path:
    """The archive with further members before its manifest, and listed in it."""
    target = archive.with_name("hostile.tar")
    with tarfile.open(archive) as tar, tarfile.open(target, "w") as out:
        manifest = json.load(tar.extractfile(NAME))
        for info in tar:
            if info.name != NAME:
                out.addfile(info, tar.extractfile(info))
        for info, content in infos:
            info.size = len(content)
            out.addfile(info, BytesIO(content))
            if listed:
                name = info.name.removeprefix(PREFIX)
                manifest["members"].append({"name": name, "size": len(content), "sha256": "0" * 64, "mode": 0o644})
        content = json.dumps(manifest).encode()
        last = tarfile.TarInfo(NAME)
        last.size = len(content)
        out.addfile(last, BytesIO(content))
    return target


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("info", "match"),
    [
        (entry("/etc/evil"), "does not lie in"),
        (entry("evil"), "does not lie in"),
        (entry("home/../evil"), "lead out"),
        (entry("home/a/../../evil"), "lead out"),
        (entry("home/./evil"), "lead out"),
        (entry("home//evil"), "lead out"),
        (entry("home/..\\evil"), "does not lie in"),
        (entry("home/link", tarfile.SYMTYPE, "/etc"), "not a plain file"),
        (entry("home/hard", tarfile.LNKTYPE, f"home/{PEPPER_FILE}"), "not a plain file"),
        (entry("home/pipe", tarfile.FIFOTYPE), "not a plain file"),
        (entry("home/device", tarfile.CHRTYPE), "not a plain file"),
        (entry(f"home/{PEPPER_FILE}"), "twice"),
        (entry("home/unlisted"), "knows no"),
        (entry("manifest.json", tarfile.SYMTYPE, "/etc/passwd"), "not a plain file"),
    ],
)
def test_hostile_members_are_refused_by_name(home: Path, info: tarfile.TarInfo, match: str) -> None:
    refused(repacked(saved(home), (info, b"")), match)
    assert not (home.parent / "evil").exists()


def test_a_member_that_is_not_what_the_manifest_says_is_refused(home: Path) -> None:
    refused(repacked(saved(home), (entry("home/odd"), b"x"), listed=True), "'odd' is not what was saved")


def test_what_is_no_backup_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("hello")
    refused(tmp_path / "text.tar", "damaged at")
    refused(tmp_path / "missing.tar", "there is no backup")


def test_a_home_in_use_is_not_replaced(home: Path) -> None:
    archive = saved(home)
    library = library_of(home)
    assert library.collections()
    assert databases.is_open_elsewhere(home / CATALOG_FILE)
    with pytest.raises(UsageError, match="in use"):
        restore(archive, home, force=True, note=quiet)
    library.catalog.close()
    assert not databases.is_open_elsewhere(home / CATALOG_FILE)
    assert hits_of(home)


def test_a_home_that_is_not_empty_is_set_aside_only_when_told_to(home: Path) -> None:
    archive = saved(home)
    before = hits_of(home)
    (home / "mine").write_text("precious")
    with pytest.raises(UsageError, match="--force"):
        restore(archive, home, force=False, note=quiet)
    done = restore(archive, home, force=True, note=quiet)
    assert (done.set_aside / "mine").read_text() == "precious"
    assert not (home / "mine").exists()
    assert hits_of(home) == hits_of(done.set_aside) == before


def test_a_home_that_is_a_link_is_restored_where_it_leads(home: Path) -> None:
    archive = saved(home)
    (home.parent / "disk").mkdir()
    (home.parent / "link").symlink_to(home.parent / "disk")
    restore(archive, home.parent / "link", force=False, note=quiet)
    assert (home.parent / "link").is_symlink()
    assert hits_of(home.parent / "disk") == hits_of(home)


def test_an_older_catalog_whose_vectors_are_gone_is_restored_and_says_what_mends_it(home: Path) -> None:
    with closing(sqlite3.connect(home / CATALOG_FILE)) as connection:
        connection.execute("DELETE FROM vectors")
        connection.commit()
    shutil.rmtree(home / "collections")
    done = restore(saved(home), home.parent / "new", force=False, note=quiet)
    assert done.collections[0].chunks is None
    assert "domainqa reindex --collection default" in done.collections[0].reason
    library = library_of(home.parent / "new")
    assert library.reindex() == {"default": 2}
    library.catalog.close()
    assert hits_of(home.parent / "new")

"""Processes killed with SIGKILL at named points and after random delays: nothing is lost, done twice or left over.

A kill leaves what the process had written to the operating system; a loss of power is not tried here.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rag.catalog import Catalog
from rag.checking import check
from rag.index.snapshot import IndexReader
from tests.rag.crashing import change_files, write_first_files

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
TEXTS_PER_CALL = 16
DELAYS = 4
Fault = dict[str, Any]


def at(point: str, when: str = "before", call: int = 1) -> Fault:
    return {"point": point, "when": when, "call": call}


POINTS: dict[str, list[Fault]] = {
    "ingest": [
        at("embed_documents", "after", 2),
        at("add_vectors"),
        at("store", "after", 7),
        at("record_failure", "after"),
        at("write", "after"),
        at("finish"),
        at("switch"),
        at("switch", "after"),
        at("publish", "after"),
    ],
    "sync": [
        at("remember_synced", "after"),
        at("store", "after", 3),
        at("save"),
        at("switch"),
        at("publish"),
        at("sweep"),
        at("remove_document", "after"),
        at("remove_document", "before", 3),
        at("switch", "before", 2),
        at("remove_old", "before", 2),
    ],
    "reindex": [
        at("adopt", "after"),
        at("add_vectors", "after"),
        at("store", "after", 20),
        at("finish"),
        at("switch", "after"),
        at("publish", "after"),
        at("drop_unused_vectors"),
    ],
    "remove": [at("remove_document", "after"), at("finish"), at("switch"), at("switch", "after")],
    "delete": [at("delete_collection"), at("delete_collection", "after"), at("remove_files", "after"), at("switch")],
}
KILLS = sum(len(points) + DELAYS for points in POINTS.values())
assert KILLS >= 50


@dataclass
class Forker:
    """The program that works and dies for us."""

    process: "subprocess.Popen[str]"

    def run(self, folder: Path, operation: str, fault: Fault | None = None) -> tuple[bool, float]:
        """Whether it was killed, and its seconds. Any other end than that or success is a failure."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"folder": str(folder), "operation": operation, "fault": fault}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["code"] in ((0,) if fault is None else (0, -9)), "an error; its traceback is on stderr"
        return answer["code"] == -9, answer["seconds"]


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.rag.crashing"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    yield Forker(process)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()  # type: ignore[union-attr]


@dataclass(frozen=True)
class Stage:
    """A home before an operation, and what it is after one that nothing disturbed."""

    before: Path
    seconds: float
    expected: dict[str, object]
    embedded: Counter[str]


@dataclass(frozen=True)
class Stages:
    """All work is done in one folder, for files' places are remembered."""

    work: Path
    by_operation: dict[str, Stage]

    def begin(self, operation: str) -> Stage:
        stage = self.by_operation[operation]
        replace(stage.before, self.work)
        return stage


@pytest.fixture(scope="module")
def stages(forker: Forker, tmp_path_factory: pytest.TempPathFactory) -> Stages:
    root = tmp_path_factory.mktemp("stages")
    work, empty, first, changed = root / "work", root / "empty", root / "first", root / "changed"
    (work / "files").mkdir(parents=True)
    write_first_files(work / "files")
    replace(work, empty)
    forker.run(work, "ingest")
    (work / "embedded.log").unlink()
    replace(work, first)
    change_files(work / "files")
    replace(work, changed)
    starts = {"ingest": empty, "sync": changed, "reindex": first, "remove": first, "delete": first}
    stages = {}
    for operation, before in starts.items():
        replace(before, work)
        _, seconds = forker.run(work, operation)
        stages[operation] = Stage(before, seconds, state(work), embedded(work))
    return Stages(work, stages)


def replace(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def embedded(folder: Path) -> Counter[str]:
    log = folder / "embedded.log"
    return Counter(log.read_text().splitlines() if log.exists() else [])


def state(folder: Path) -> dict[str, object]:
    """All that a run makes, by the ids that it must make again; and that the home is sound."""
    with Catalog.open(folder / "home") as catalog:
        assert catalog.damage() == []
        assert check(folder / "home", catalog) == []
        found: dict[str, object] = {}
        ids = [str(collection.id) for collection in catalog.collections()]
        for collection in catalog.collections():
            snapshot = IndexReader(folder / "home", catalog, collection).current()
            rows = snapshot.dense.rows.tolist()
            chunks = catalog.chunks(collection.id, rows, snapshot.seq)
            assert len(chunks) == len(rows) == len(snapshot.lexical), "rows that nothing shows are left in the index"
            found[collection.name] = (
                sorted((info.id, info.source, info.version, info.chunks) for info in catalog.documents(collection)),
                sorted((chunk.id, snapshot.dense.vector(row).tobytes()) for row, chunk in chunks.items()),
                catalog.failures(collection),
                len(catalog.synced_folders(collection)),
            )
    folders = {path.name for path in (folder / "home" / "collections").glob("*")}
    assert folders <= set(ids), "a deleted collection's files are left"
    for name in folders:
        snapshots = list((folder / "home" / "collections" / name).glob("snapshot-*"))
        assert len(snapshots) <= 2, "unfinished generations are left"
    return found


def check_after_kill(folder: Path, operation: str) -> None:
    with Catalog.open(folder / "home") as catalog:
        assert catalog.damage() == []
        wrong = [finding for finding in check(folder / "home", catalog) if not finding.harmless]
        # Until a collection has its new vectors it cannot be searched, and that is said.
        assert operation == "reindex" or wrong == []
        assert all("domainqa reindex" in finding.command for finding in wrong)


def check_finished(folder: Path, stage: Stage) -> None:
    assert state(folder) == stage.expected
    assert embedded(folder).keys() == stage.embedded.keys()
    assert (embedded(folder) - stage.embedded).total() <= TEXTS_PER_CALL, "finished work was done again"


@pytest.mark.parametrize(
    ("operation", "fault"),
    [(operation, fault) for operation, faults in POINTS.items() for fault in faults],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_killed_at_a_point(forker: Forker, stages: Stages, operation: str, fault: Fault) -> None:
    stage = stages.begin(operation)
    killed, _ = forker.run(stages.work, operation, fault)
    assert killed, "it never came there"
    check_after_kill(stages.work, operation)
    forker.run(stages.work, operation)
    check_finished(stages.work, stage)


@pytest.mark.parametrize("number", range(DELAYS))
@pytest.mark.parametrize("operation", POINTS)
def test_killed_after_a_delay(forker: Forker, stages: Stages, operation: str, number: int) -> None:
    share = (number + random.Random(f"{operation} {number}").random()) / DELAYS
    for attempt in range(6):
        stage = stages.begin(operation)
        # One that was quicker than that is killed sooner next time.
        killed, _ = forker.run(stages.work, operation, {"delay_s": stage.seconds * share * 0.8 / 2**attempt})
        if killed:
            break
    else:
        pytest.fail("it was never killed")
    if (stages.work / "home" / "catalog.sqlite").exists():
        check_after_kill(stages.work, operation)
    forker.run(stages.work, operation)
    check_finished(stages.work, stage)

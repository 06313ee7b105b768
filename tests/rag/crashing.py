"""A program that works on a home in child processes, each of which may kill itself with SIGKILL on the way.

Reads one job a line (JSON) and answers each with how its process ended. The libraries are loaded once and a child is
forked for each job: killing costs no second of imports. Run by ``test_crashes``.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rag import ingestion
from rag.catalog import Catalog
from rag.fakes import FakeEmbedder
from rag.index import generations
from rag.index.dense import DenseIndex
from rag.index.lexical import LexicalIndex
from rag.reindexing import reindex
from rag.syncing import Sync
from tests.rag.workshop import LineChunker, Workshop

POINTS: dict[str, tuple[Any, str]] = {
    name: (owner, name)
    for owner, names in (
        (FakeEmbedder, ["embed_documents"]),
        (
            Catalog,
            ["add_vectors", "store", "publish", "sweep", "move", "adopt", "drop_unused_vectors"],
        ),
        (Catalog, ["remove_document", "delete_collection", "record_failure", "remember_synced"]),
        (DenseIndex, ["save"]),
        (LexicalIndex, ["write"]),
        (generations, ["finish", "switch", "remove_old"]),
        (ingestion, ["remove_files"]),
    )
    for name in names
}


class LoggingEmbedder(FakeEmbedder):
    """Writes down every text before it embeds it; what a killed process had embedded stays written."""

    def __init__(self, log: Path, dimension: int) -> None:
        super().__init__(dimension)
        self.fingerprint = f"fake-{dimension}"
        self._log = log

    def embed_documents(self, texts: Any) -> np.ndarray:
        with self._log.open("a") as log:
            log.writelines(json.dumps(text) + "\n" for text in texts)
        return super().embed_documents(texts)


def write_first_files(files: Path) -> None:
    for number in range(36):
        (files / f"d{number:02}.txt").write_text(f"red {number}\nsecond {number}\nsame line")
    (files / "broken.txt").write_text("BROKEN")


def change_files(files: Path) -> None:
    for number in range(0, 36, 3):
        (files / f"d{number:02}.txt").write_text(f"blue {number}\nsecond {number}\nfresh {number}")
    for number in range(1, 12, 3):
        (files / f"d{number:02}.txt").unlink()
    (files / "d35.txt").rename(files / "moved.txt")
    for number in range(6):
        (files / f"new{number}.txt").write_text(f"green {number}")


def workshop_in(folder: Path, dimension: int = 64) -> Workshop:
    workshop = Workshop(folder)
    workshop.embedder = LoggingEmbedder(folder / "embedded.log", dimension)
    workshop.chunker = LineChunker(f"lines-{dimension}")
    return workshop


def operate(folder: Path, operation: str) -> None:
    workshop = workshop_in(folder, 8 if operation == "reindex" else 64)
    home, catalog = workshop.home, workshop.catalog
    if operation == "ingest":
        workshop.ingest()
    elif operation == "sync":
        workshop.ingest(sync=Sync())
    elif operation == "reindex":
        reindex(home, catalog, catalog.collection("default"), workshop.pipeline())
    elif operation == "remove":
        collection = catalog.collection("default")
        if any(info.source == "d02.txt" for info in catalog.documents(collection)):
            ingestion.remove(home, catalog, collection, "d02.txt")
        workshop.ingest(workshop.files / "d03.txt")
    elif operation == "delete":
        if any(collection.name == "default" for collection in catalog.collections()):
            ingestion.delete_collection(home, catalog, "default")
        workshop.ingest(workshop.files / "d03.txt", name="other")
    else:
        raise ValueError(operation)


def arm(fault: dict[str, Any] | None) -> None:
    """Make this process kill itself after ``delay_s``, or before or after the ``call``-th call of a ``point``."""
    if fault is None:
        return
    if "delay_s" in fault:
        threading.Timer(fault["delay_s"], die).start()
        return
    owner, name = POINTS[fault["point"]]
    setattr(owner, name, _deadly(getattr(owner, name), fault["when"], fault["call"]))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _deadly(method: Callable[..., Any], when: str, call: int) -> Callable[..., Any]:
    calls = 0

    def run(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            die()
        result = method(*args, **options)
        if calls == call:
            die()
        return result

    return run


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        started = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                arm(job["fault"])
                operate(Path(job["folder"]), job["operation"])
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        answer = {"code": os.waitstatus_to_exitcode(status), "seconds": time.perf_counter() - started}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

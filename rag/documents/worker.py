"""The process that parses for another one: reads jobs from the socket it was given, answers each, ends with it.

A plain program, not a forked copy: it inherits no locks, no threads and no loaded model, and whoever started it need
not be importable. Started by ``rag.documents.workers``.
"""

import faulthandler
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from rag.errors import SourceError
from rag.types import ParsedFile

_GRACE_S = 10.0
"""After its time is up, whoever waits ends this process; should nobody be left, it ends itself so much later."""


@dataclass(frozen=True, slots=True)
class Job:
    path: Path
    source: str
    passwords: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The file cannot be read, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The system gave no more."""


@dataclass(frozen=True, slots=True)
class Ready:
    """All is imported; jobs are taken."""


Reply = Ready | ParsedFile | Refused | OutOfMemory


def main() -> None:
    # Ctrl-C goes to the whole group; whoever started this decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    # Imported here, so that whoever starts this loads none of the parser's libraries.
    from rag.documents.languages import detect_language
    from rag.documents.parsing import parse_file

    detect_language("Its model is loaded now, so that no file's time pays for it.")

    def answer(job: Job) -> Reply:
        try:
            return parse_file(job.path, job.source, job.passwords)
        except SourceError as error:
            return Refused(str(error))
        except MemoryError:
            return OutOfMemory()

    connection.send(Ready())
    while True:
        try:
            job: Job = connection.recv()
        except (EOFError, OSError):
            return
        # In native code nothing else stops a process whose starter was killed.
        faulthandler.dump_traceback_later(job.timeout_s + _GRACE_S, exit=True)
        reply = answer(job)
        faulthandler.cancel_dump_traceback_later()
        try:
            connection.send(reply)
        except OSError:
            return


if __name__ == "__main__":
    # Under this name its classes would not be those that the other side knows.
    from rag.documents.worker import main as run

    run()

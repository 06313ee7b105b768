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

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from rag.documents.options import ReadingOptions
from rag.errors import SourceError
from rag.types import ParsedFile

_GRACE_S = 10.0
"""After its time is up, whoever waits ends this process; should nobody be left, it ends itself so much later."""


@dataclass(frozen=True, slots=True)
class Job:
    path: Path
    source: str
    options: ReadingOptions
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a job; without any of these, that jobs are taken now."""

    parsed: ParsedFile | None = None
    refused: str | None = None
    """Why the file cannot be read."""
    out_of_memory: bool = False


# JSON, for a file may have taken the process over: whoever reads its reply must run no code of it, as pickle would.
REPLIES = TypeAdapter(Reply)


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
            return Reply(parsed=parse_file(job.path, job.source, job.options))
        except SourceError as error:
            return Reply(refused=str(error))
        except MemoryError:
            return Reply(out_of_memory=True)

    def encoded(reply: Reply) -> bytes:
        try:
            return REPLIES.dump_json(reply)
        except PydanticSerializationError:
            return REPLIES.dump_json(Reply(refused="its text holds half a surrogate pair"))

    connection.send_bytes(encoded(Reply()))
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
            connection.send_bytes(encoded(reply))
        except OSError:
            return


if __name__ == "__main__":
    # Under this name its classes would not be those that the other side knows.
    from rag.documents.worker import main as run

    run()

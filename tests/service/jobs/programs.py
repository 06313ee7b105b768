"""Real processes over fake models: a server with its ingest process, and what kills or delays it.

``python programs.py serve HOME SETTINGS`` prints its address, ``python programs.py work`` is the ingest process. A
document whose text holds CRASH kills whoever reads it; one with HANG is never read to its end; SLOW takes a while.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from rag.build import Library
from rag.config import AnsweringSettings, Settings
from rag.documents.parsing import InProcessParser
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.preparing import FileParser, Pipeline
from rag.types import ParsedFile
from service.api.serving import serve
from service.jobs import worker
from service.jobs.runner import JobRunner

SLOW_S = 0.5


class DangerousParser(InProcessParser):
    def parse(self, path: Path, source: str) -> ParsedFile:
        data = path.read_bytes()
        if b"CRASH" in data:
            os.kill(os.getpid(), signal.SIGSEGV)
        if b"HANG" in data:
            time.sleep(600)
        if b"SLOW" in data:
            time.sleep(SLOW_S)
        return super().parse(path, source)


class DangerousLibrary(Library):
    def pipeline(self, parser: FileParser | None = None) -> Pipeline:
        return super().pipeline(DangerousParser())


def open_library(home: Path, settings: Settings) -> Library:
    return DangerousLibrary(home, settings, embedder=FakeEmbedder())


def settings_of(**jobs: object) -> Settings:
    answering = AnsweringSettings(unsupported="mark", strategy="extractive")
    return Settings(answering=answering).model_copy(update={"jobs": Settings().jobs.model_copy(update=jobs)})


def say(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        worker.main(open_library)
    else:
        home = Path(sys.argv[2])
        settings = settings_of(**json.loads(sys.argv[3]))
        library = Library(home, settings, embedder=FakeEmbedder(), chat_model=ScriptedModel("Nothing [1]."))
        runner = JobRunner(home, settings, library.catalog, [sys.executable, __file__, "work"])
        serve(library, "127.0.0.1", 0, on_ready=say, runner=runner)

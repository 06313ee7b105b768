"""A library whose answers follow a script, and a server for it, so that the protocol is tested apart from the flow."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import uvicorn

from rag.adapters import KnownAdapters
from rag.catalog import AccessKey
from rag.config import Settings
from rag.errors import NotFoundError
from rag.types import (
    EVERYTHING,
    Answer,
    ChannelScore,
    Citation,
    Collection,
    Conflict,
    Document,
    Evidence,
    EvidencePacked,
    Finished,
    Hit,
    NearestDocument,
    Page,
    Scope,
    Section,
    StoredChunk,
    TextDelta,
    Usage,
)
from service.api.app import create_app
from service.api.serving import bind, url_of
from service.keys import Pepper, new_key

# The sign before the passage is one code point and two UTF-16 units: offsets that confuse them are off by one.
INTRO = "# Maintenance\n\n𝔐 Gear pump ZP-40/2. Read all of this before you start.\n\n"
PASSAGE = "Tighten the casing bolts to 42 Nm."
FILLER = "".join(f"Line {number} of the inspection list says nothing about bolts.\n" for number in range(200))
TEXT = f"{INTRO}{PASSAGE}\n\n## Storage\n\n<script>document.title = 'taken over'</script>\n{FILLER}The end."
START = len(INTRO)
SECOND = TEXT.index("## Storage")
DOCUMENT = Document(
    source="pumps/zp-40.md",
    title="ZP-40 manual",
    text=TEXT,
    media_type="text/markdown",
    version="a" * 64,
    language="en",
    date="2024-05-01",
    sections=(Section(("Maintenance",), 0, SECOND), Section(("Maintenance", "Storage"), SECOND, len(TEXT))),
    pages=(Page(1, 0, SECOND), Page(2, SECOND, len(TEXT))),
)
EVIDENCE = Evidence(
    1,
    "doc-1",
    "a" * 64,
    DOCUMENT.source,
    DOCUMENT.title,
    "en",
    START,
    START + len(PASSAGE),
    1,
    "",
    PASSAGE,
    ("c1",),
    0.9,
)
FIRST_SENTENCE = "𝔗 The torque is 42 Nm [1]."
SECOND_SENTENCE = "It is painted blue [1]."


def _citation(start: int, end: int, *, supported: bool) -> Citation:
    return Citation(
        1,
        "doc-1",
        DOCUMENT.source,
        DOCUMENT.title,
        1,
        START,
        START + len(PASSAGE),
        PASSAGE,
        supported,
        False,
        start,
        end,
    )


CITED = Answer(
    text=f"{FIRST_SENTENCE} {SECOND_SENTENCE}",
    abstained=False,
    strategy="rag",
    model="scripted",
    citations=(
        _citation(0, len(FIRST_SENTENCE), supported=True),
        _citation(len(FIRST_SENTENCE) + 1, len(FIRST_SENTENCE) + 1 + len(SECOND_SENTENCE), supported=False),
    ),
    evidence=(EVIDENCE,),
    nearest=(),
    supported=False,
    fallback=None,
    finish_reason="stop",
    usage=Usage(100, 12, 64),
    timings={"retrieval": 0.25, "total": 1.5},
)
ABSTAINED = replace(
    CITED,
    text=f"The documents don't say. The nearest documents are:\n- {DOCUMENT.title} ({DOCUMENT.source})",
    abstained=True,
    citations=(),
    evidence=(),
    nearest=(NearestDocument("doc-1", DOCUMENT.source, DOCUMENT.title, 0.3),),
    supported=None,
)

CONFLICT = Conflict(
    kind="superseded",
    newer=1,
    older=2,
    newer_source=DOCUMENT.source,
    older_source="pumps/zp-40-2019.md",
    newer_date="2024-05-01",
    older_date="2019-05-01",
    newer_text=PASSAGE,
    older_text="Tighten the casing bolts to 38 Nm.",
    note="Conflicting sources: [1] (ZP-40 manual, 2024-05-01) replaces [2] (ZP-40 manual, 2019-05-01).",
)

Step = TextDelta | EvidencePacked | Finished | BaseException | float


def steps_of(answer: Answer, *, pause_s: float = 0.0, piece: int = 6) -> list[Step]:
    """The events that lead to an answer, with a pause before each piece of text."""
    steps: list[Step] = [EvidencePacked(answer.evidence)]
    for start in range(0, len(answer.text), piece):
        steps += [pause_s, TextDelta(answer.text[start : start + piece])]
    return [*steps, Finished(answer)]


class ScriptedAnswerer:
    """Plays one list of steps per question, the last one for ever: events, errors to raise, seconds to wait."""

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self._scripts = scripts or (steps_of(CITED),)
        self.asked: list[object] = []
        self.running = 0
        self.cut_off = 0
        """Streams that were closed or cancelled before their end."""

    async def stream(self, question: object) -> AsyncIterator[object]:
        script = self._scripts[min(len(self.asked), len(self._scripts) - 1)]
        self.asked.append(question)
        self.running += 1
        try:
            for step in script:
                if isinstance(step, BaseException):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield step
        except (GeneratorExit, asyncio.CancelledError):
            self.cut_off += 1
            raise
        finally:
            self.running -= 1

    async def answer(self, question: object) -> Answer:
        async for event in self.stream(question):
            if isinstance(event, Finished):
                finished = event.answer
        return finished


class MemoryKeys:
    """What the API asks of the catalog's keys, by id."""

    def __init__(self) -> None:
        self.held: dict[str, AccessKey] = {}

    def add(self, key: AccessKey) -> None:
        self.held[key.id] = key

    def exist(self) -> bool:
        return bool(self.held)

    def find(self, key_id: str) -> AccessKey | None:
        return self.held.get(key_id)

    def list(self) -> Sequence[AccessKey]:
        return list(self.held.values())


class ScriptedLibrary:
    """What the API sees of a library, over one collection with one document."""

    home = Path("/nonexistent")

    def __init__(self, *scripts: Sequence[Step]) -> None:
        self.settings = Settings()
        self.answerer = ScriptedAnswerer(*scripts)
        self.adapters = KnownAdapters({})
        self.catalog = SimpleNamespace(keys=MemoryKeys())
        self.ready = {"catalog": "ok", "engine": "ok"}
        self.searched: list[tuple[str, str, int]] = []
        self.closed = False

    def strategies(self, scope: Scope = EVERYTHING) -> list[str]:
        return ["base", "extractive", "stuffed", "rag", "base@pumps", "rag@pumps"]

    def collections(self, scope: Scope = EVERYTHING) -> list[Collection]:
        return [Collection(1, 1, name, "f", "all-MiniLM-L6-v2", 384, "a", 3) for name in ("archive", "default")]

    def search(self, query: str, collection: str, top_k: int, scope: Scope = EVERYTHING) -> list[Hit]:
        self._check(collection)
        self.searched.append((query, collection, top_k))
        chunk = StoredChunk(
            7, "c1", "doc-1", "a" * 64, DOCUMENT.source, DOCUMENT.title, "en",
            START, START + len(PASSAGE), 1, ("Maintenance",), "Maintenance", PASSAGE,
        )  # fmt: skip
        return [Hit(chunk, 0.9, {"dense": ChannelScore(1, 0.7, 1.0), "lexical": ChannelScore(2, 8.5, 0.8)})][:top_k]

    def document(self, collection: str, document_id: str, scope: Scope = EVERYTHING) -> Document:
        self._check(collection)
        if document_id != "doc-1":
            raise NotFoundError(f"there is no document {document_id!r} in collection {collection!r}")
        return DOCUMENT

    def readiness(self) -> dict[str, str]:
        return self.ready

    async def aclose(self) -> None:
        self.closed = True

    @staticmethod
    def _check(collection: str) -> None:
        if collection not in ("default", "archive"):
            raise NotFoundError(f"there is no collection {collection!r}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def scripts() -> SimpleNamespace:
    """What scripted answers are made of."""
    return SimpleNamespace(
        library=ScriptedLibrary,
        steps_of=steps_of,
        cited=CITED,
        abstained=ABSTAINED,
        conflict=CONFLICT,
        document=DOCUMENT,
        passage=PASSAGE,
        start=START,
    )


@pytest.fixture
def issue(tmp_path: Path) -> Callable[..., str]:
    """``issue(library, role="reader", tenant="acme", ...)`` makes a key and returns it as its holder has it."""

    def make(library: object, role: str = "reader", **more: object) -> str:
        if isinstance(library, ScriptedLibrary):
            library.home = tmp_path
        Pepper(library.home).make()
        new = new_key()
        fields = {"tenant": "default", "name": "test", "created_at": datetime.now(UTC), **more}
        library.catalog.keys.add(
            AccessKey(id=new.id, role=role, digest=Pepper(library.home).digest(new.text), **fields)
        )
        return new.text

    return make


@pytest.fixture
def client_for() -> Callable[..., httpx.AsyncClient]:
    """A client that talks to the app without a network, from this machine."""

    def make(library: object, **options: object) -> httpx.AsyncClient:
        app = create_app(library, **options)
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080")

    return make


@contextmanager
def _running(library: object, http: str = "auto", **options: object) -> Iterator[str]:
    listener = bind("127.0.0.1", 0)
    config = uvicorn.Config(
        create_app(library, **options),
        http=http,
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline and thread.is_alive():
            time.sleep(0.01)
        assert server.started
        yield url_of(listener).rstrip("/")
    finally:
        server.should_exit = True
        thread.join(15)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture
def running() -> Callable[..., object]:
    """``with running(library) as url``: a real server on a free port of the loopback, ended with the block."""
    return _running

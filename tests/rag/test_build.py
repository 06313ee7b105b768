"""The wiring: nothing heavy before it is needed, each part once, and no reader waits for a model to load."""

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rag.answering import STRATEGIES
from rag.build import Library
from rag.config import GenerationSettings, Settings
from rag.errors import EngineUnavailableError, NotFoundError
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.interfaces import ChatModel, Embedder

HEAVY = ("torch", "transformers", "sentence_transformers", "faiss", "tantivy", "kreuzberg", "peft", "openai")


def test_importing_and_making_a_library_loads_nothing_heavy(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
import rag.build
from rag.config import Settings
library = rag.build.Library(Path({str(tmp_path)!r}), Settings())
library.strategies(), library.readiness(), library.collections()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "oil.md").write_text("# Oil\n\nThe oil is red.\n")
    settings = Settings(generation=GenerationSettings(adapters={"b": "y", "a": "x"}))
    library = Library(tmp_path / "home", settings, embedder=FakeEmbedder(), chat_model=ScriptedModel("ok"))
    library.ingest([folder])
    return library


def test_strategies_are_listed_bare_and_with_each_adapter_that_generates(library: Library) -> None:
    listed = library.strategies()
    assert listed[: len(STRATEGIES)] == list(STRATEGIES)
    assert sorted(listed[len(STRATEGIES) :]) == [
        f"{strategy}@{adapter}" for strategy in ("base", "rag", "router", "stuffed") for adapter in ("a", "b")
    ]


def test_every_part_is_made_once(library: Library) -> None:
    collection = library.catalog.collection("default")
    assert library.retriever(collection) is library.retriever(collection)
    assert library.similarity() is library.similarity()
    assert library.embedder() is library.embedder()


def test_what_users_do(library: Library) -> None:
    (hit,) = library.search("oil", "default", 5)
    assert hit.chunk.source == "oil.md"
    assert library.document("default", "oil.md").text.endswith("The oil is red.\n")
    assert library.readiness() == {"catalog": "ok", "index": "ok", "embedder": "ok", "engine": "ok"}
    assert library.reindex() == {"default": 1}
    assert library.remove_document("default", "oil.md").source == "oil.md"
    assert library.search("oil", "default", 5) == []
    library.delete_collection("default")
    with pytest.raises(NotFoundError):
        library.search("oil", "default", 5)
    asyncio.run(library.aclose())


def test_readiness_says_what_is_wrong(tmp_path: Path, library: Library) -> None:
    other = Library(tmp_path / "home", Settings(), embedder=FakeEmbedder(dimension=8))
    readiness = other.readiness()
    assert readiness["engine"] != "ok"
    assert "run `domainqa reindex`" in readiness["index"]


def test_an_engine_that_nobody_runs_is_named(tmp_path: Path) -> None:
    library = Library(tmp_path, Settings(generation=GenerationSettings(engine="vllm")), embedder=FakeEmbedder())
    with pytest.raises(EngineUnavailableError, match="engine up"):
        library.chat_model()


class SlowLibrary(Library):
    """Loads fakes, slowly, and counts; ``go`` lets the chat model end its loading."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, Settings())
        self.go = threading.Event()
        self.loading = threading.Event()
        self.loaded: list[str] = []

    def _load_embedder(self) -> Embedder:
        time.sleep(0.05)
        self.loaded.append("embedder")
        return FakeEmbedder()

    def _load_chat_model(self) -> ChatModel:
        self.loading.set()
        assert self.go.wait(30)
        self.loaded.append("chat model")
        return ScriptedModel("ok")


def test_who_reads_does_not_wait_for_the_chat_model_to_load(tmp_path: Path) -> None:
    library = SlowLibrary(tmp_path)
    library.create_collection("default")
    with ThreadPoolExecutor(2) as threads:
        loading = threads.submit(library.chat_model)
        assert library.loading.wait(30)
        reading = threads.submit(library.search, "oil", "default", 5)
        similarity = reading.result(30), library.similarity(), library.readiness()
        assert not loading.done()
        library.go.set()
        assert loading.result(30) is library.chat_model()
    assert similarity[2]["engine"] != "ok"
    assert library.loaded == ["embedder", "chat model"]


def test_many_threads_load_a_model_once(tmp_path: Path) -> None:
    library = SlowLibrary(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        embedders = list(threads.map(lambda _: library.embedder(), range(16)))
    assert library.loaded == ["embedder"]
    assert len({id(embedder) for embedder in embedders}) == 1

"""Speed and size, as ratios measured side by side in one run: ``make bench`` prints them.

Machines are noisy, so nothing here asserts a time; what is asserted is a ratio with its margin, over several rounds
in alternating order.
"""

import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rag import prompting
from rag.build import Library
from rag.chunking import Chunker
from rag.config import load_settings
from rag.documents.discovery import discover
from rag.documents.parsing import parse
from rag.documents.workers import WorkerPool
from rag.fakes import FakeEmbedder
from rag.types import Sampling, embedded_text

pytestmark = pytest.mark.benchmark

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "data" / "sample" / "documents"
ROUNDS = 6


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def test_ingest_keeps_near_the_embedders_own_throughput(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environment={})
    library = Library(tmp_path / "warm", settings)
    embedder = library.embedder()
    chunker = Chunker(settings.chunking, embedder)
    chunks = [chunk for file in discover([DOCUMENTS]) for chunk in chunker.chunk(parse(file.path, file.source))]
    texts = list(dict.fromkeys(embedded_text(chunk.context, chunk.text) for chunk in chunks))
    embedder.embed_documents(texts[:8])
    # What is imported, opened and started once is no part of the throughput. A run that starts a worker of its own does
    # so while it loads the embedder, which is loaded here.
    workers = WorkerPool()
    first = Library(tmp_path / "first", settings, embedder=embedder, workers=workers)
    first.ingest([DOCUMENTS / "pumps" / "zp-40-manual.pdf"])
    alone: list[float] = []
    whole: list[float] = []
    for round_ in range(ROUNDS):
        home = tmp_path / f"round-{round_}"

        def ingest() -> None:
            library = Library(home, settings, embedder=embedder, workers=workers)  # noqa: B023
            whole.append(seconds(lambda: library.ingest([DOCUMENTS])))

        if round_ % 2:
            ingest()
        alone.append(seconds(lambda: embedder.embed_documents(texts)))
        if round_ % 2 == 0:
            ingest()
        print(f"\n{len(texts)} chunks: embedder alone {len(texts) / alone[-1]:.1f}/s", end=", ")
        print(f"ingest end to end {len(texts) / whole[-1]:.1f}/s")
    print(f"\nin the sum of {ROUNDS} rounds ingest has {sum(alone) / sum(whole):.1%} of the embedder's throughput")
    workers.close()
    assert sum(alone) / sum(whole) >= 0.9


@pytest.mark.parametrize("chunks", [10_000, 100_000])
def test_retrieval_by_size(tmp_path: Path, chunks: int) -> None:
    """Without query embedding; the rest is real: FAISS, Tantivy, SQLite, fusion."""
    embedder = FakeEmbedder(dimension=384, max_tokens=256)
    library = Library(tmp_path / "home", load_settings(tmp_path, environment={}), embedder=embedder)
    vocabulary = [f"{stem}{end}" for stem in _stems(2000) for end in ("", "s", "ing")]
    picked = random.Random(1)
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(chunks // 20):
        sections = (f"## Section {part}\n\n" + " ".join(picked.choices(vocabulary, k=180)) + "." for part in range(20))
        (folder / f"{number}.md").write_text(f"# Document {number}\n\n" + "\n\n".join(sections))
    report = library.ingest([folder])
    retriever = library.retriever(library.catalog.collection("default"))
    queries = [" ".join(picked.choices(vocabulary, k=8)) for _ in range(200)]
    for query in queries[:20]:
        retriever.retrieve(query, 8)
    times = []
    for query in queries:
        embedding = seconds(lambda: embedder.embed_query(query))  # noqa: B023
        times.append(seconds(lambda: retriever.retrieve(query, 8)) - embedding)  # noqa: B023
    times.sort()
    print(
        f"\n{report.chunks} chunks, top 8 of 100 candidates a channel: "
        f"median {statistics.median(times) * 1000:.2f} ms, p95 {times[int(len(times) * 0.95)] * 1000:.2f} ms"
    )
    assert report.chunks >= chunks


def test_api_overhead_over_the_engine(tmp_path: Path) -> None:
    """The same prompt straight to the engine and through HTTP, in turn; 32 tokens each."""
    settings = load_settings(tmp_path, environment={})
    library = Library(tmp_path, settings)
    model = library.chat_model()
    question = "Name three colours and say where each of them is seen in nature."

    async def engine() -> None:
        async for _ in model.stream(prompting.build(question, grounded=False), Sampling(32)):
            pass

    with serving(tmp_path) as (url, _):
        body = {"model": "base", "messages": [{"role": "user", "content": question}], "max_tokens": 32}
        post(f"{url}/v1/chat/completions", body)
        asyncio.run(engine())
        alone, through = [], []
        for _ in range(9):
            alone.append(seconds(lambda: asyncio.run(engine())))
            through.append(seconds(lambda: post(f"{url}/v1/chat/completions", body)))
    # Medians of each: a single pair differs by more than what is measured here.
    engine_s, api_s = statistics.median(alone), statistics.median(through)
    overhead = (api_s - engine_s) / api_s
    print(
        f"\nmedians of 9: engine {engine_s:.3f} s, through the API {api_s:.3f} s, overhead {overhead:+.1%} of a request"
    )
    assert overhead < 0.05


def test_memory_of_serve(tmp_path: Path) -> None:
    subprocess.run([*domainqa(tmp_path), "ingest", str(DOCUMENTS)], check=True, capture_output=True)
    with serving(tmp_path) as (url, process):
        ready = resident_mib(process.pid)
        for strategy in ("rag", "extractive"):
            body = {"model": strategy, "messages": [{"role": "user", "content": "What is the oil of the ZP-40/2?"}]}
            post(f"{url}/v1/chat/completions", body)
        later = resident_mib(process.pid)
        print(f"\nserve, starter profile: {ready['VmRSS']} MiB resident when ready", end=", ")
        print(f"{later['VmRSS']} MiB after answers, {later['VmHWM']} MiB at most")
        assert ready["VmRSS"] > 0


def domainqa(home: Path) -> list[str]:
    return [sys.executable, "-m", "service.cli.main", "--home", str(home)]


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A real ``domainqa serve`` on a free port, ended by its own id."""
    command = [*domainqa(home), "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        url = next(word for line in process.stdout for word in line.split() if word.startswith("http://")).rstrip("/")
        yield url, process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def post(url: str, body: object) -> object:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


def resident_mib(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM")}


def _stems(count: int) -> list[str]:
    syllables = ["ba", "co", "di", "fu", "ge", "ha", "ki", "lo", "mu", "ne", "po", "ra", "si", "te", "vu"]
    picked = random.Random(0)
    return ["".join(picked.choices(syllables, k=3)) for _ in range(count)]

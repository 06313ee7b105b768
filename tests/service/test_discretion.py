"""What users say, what documents hold and keys reach no log, whatever level the logs have."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.integration

# Every logger at DEBUG, on stderr and in a file, before the service is made.
PROGRAM = """
import logging, sys
from pathlib import Path
home, url = Path(sys.argv[1]), sys.argv[2]
from datetime import UTC, datetime
from rag.build import Library
from rag.catalog import AccessKey
from rag.config import GenerationSettings, Settings
from rag.fakes import FakeEmbedder
from service.api.serving import serve
from service.keys import Pepper, new_key

generation = GenerationSettings(engine="openai", base_url=url, model="served", retries=0)
library = Library(home, Settings(generation=generation), embedder=FakeEmbedder())
library.ingest([home / "files"])
pepper, new = Pepper(home), new_key()
pepper.make()
library.catalog.keys.add(
    AccessKey(new.id, "default", "n", "admin", pepper.digest(new.text), datetime.now(UTC)))
print(new.text, flush=True)

logging.basicConfig(level=logging.DEBUG, handlers=[logging.StreamHandler(), logging.FileHandler(home / "service.log")])
logging.getLogger("openai").setLevel(logging.DEBUG)
logging.getLogger("sqlalchemy.engine.Engine").setLevel(logging.DEBUG)
serve(library, "127.0.0.1", 0, on_ready=lambda url: print(url, flush=True))
"""
SAID, WRITTEN, ANSWERED = "xyzzyquestion", "xyzzydocument", "xyzzyanswer"
QUESTION = {"messages": [{"role": "user", "content": f"What torque do the {SAID} bolts take?"}]}


MORE = (
    {},
    {"stream": True},
    {"model": "base"},
    {"model": "base", "stream": True},
    {"model": f"rag@{SAID}"},
    {"collection": SAID},
    {"model": SAID},
    {"max_tokens": 7999},
)


def _load(path: Path):
    # Test folders are no packages, so a file elsewhere is loaded by its path.
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fake = _load(Path(__file__).parents[1] / "rag" / "generation" / "model_server.py")


@pytest.fixture
def model_server():
    """Answers twice, then fails in words that repeat the question."""
    answer = fake.says(
        fake.chunk(f"They take {WRITTEN} torque, {ANSWERED} [1]."),
        fake.chunk(reason="stop"),
        fake.chunk(usage=fake.USAGE),
        b"data: [DONE]\n\n",
    )
    with fake.serving() as fresh:
        server = fresh()
        server.script = [answer, answer, fake.fails(500, f"no idea what {SAID} {ANSWERED} means")]
        yield server


def test_questions_documents_answers_and_keys_are_in_no_log(tmp_path: Path, model_server) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.md").write_text(f"# Bolts\n\nThe {SAID} bolts take {WRITTEN} torque.\n")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), model_server.url]
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
    with process:
        try:
            key, url = process.stdout.readline().strip(), process.stdout.readline().strip()
            assert key.startswith("dqa_"), (tmp_path / "stderr").read_text()
            headers = {"Authorization": f"Bearer {key}"}
            with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
                texts = [client.post("v1/chat/completions", json=QUESTION | more).text for more in MORE]
                texts.append(client.post("v1/search", json={"query": SAID}).text)
                client.get(f"v1/collections/{SAID}/documents/{SAID}")
                client.post("v1/search", content=f'{{"query": "{SAID}')
                client.post("v1/search", json={"query": SAID, SAID: SAID})
                client.get("v1/models", headers={"Authorization": f"Bearer {key[:-1]}"})
                client.get(f"{SAID}?key={key}")
        finally:
            process.terminate()
            rest = process.stdout.read()
            process.wait(30)
    assert ANSWERED in texts[0], texts[0]
    assert WRITTEN in texts[-1]
    logs = rest + (tmp_path / "stderr").read_text() + (tmp_path / "service.log").read_text()
    assert len(model_server.asked) >= 3
    assert SAID in str(model_server.asked)
    assert "Using selector" in logs, "asyncio says that at DEBUG"
    secret = key.split("_", 2)[2]
    for word in (SAID, WRITTEN, ANSWERED, secret, secret[:20]):
        assert word not in logs, [line for line in logs.splitlines() if word in line][:3]

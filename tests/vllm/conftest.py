"""One real vLLM for all tests of this folder, started by our own supervisor as the profile ``vllm-cpu`` says.

It is started when the first test asks for it and stopped after the last one; without an installed vLLM the tests are
skipped. ``make vllm`` installs it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rag.config import Settings, load_settings
from rag.errors import ConfigError
from rag.generation.openai_server import OpenAIChatModel
from rag.interfaces import Endpoint
from rag.layers import CONFIG_FILE
from rag.models import default_cache, resolve
from rag.types import Generated, Message, Sampling
from service.engine import installation
from service.engine.command import Plan
from service.engine.identity import identity_of
from service.engine.record import EngineFolder
from service.engine.supervisor import Observers, Supervisor

START_TIMEOUT_S = 400
CONFIG = """
profile = "vllm-cpu"

[generation]
retries = 0

[engine]
port = 0
max_model_len = 4096
kv_cache_gib = 1
"""


@dataclass
class RealEngine:
    """A vLLM that serves SmolLM2 with room for two adapters of rank 16 at once. ``home`` is its own."""

    home: Path
    settings: Settings
    folder: Path
    supervisor: Supervisor
    notes: list[str]

    @property
    def url(self) -> str:
        """Waits for a start that is under way, as after ``kill -9``."""
        return self.supervisor.wait_ready(START_TIMEOUT_S).base_url

    @property
    def key(self) -> str:
        key = self.supervisor.wait_ready(START_TIMEOUT_S).key
        assert key is not None
        return key

    def endpoint(self) -> Endpoint:
        return self.supervisor.endpoint()

    def state(self) -> str:
        return self.supervisor.state()

    def pids(self) -> list[int]:
        """The processes of the engine's group."""
        record = self.supervisor.record()
        assert record is not None
        assert record.engine is not None
        return members(record.engine.pid)

    def metric(self, name: str) -> float:
        """The sum over the labels of one of vLLM's samples, such as ``vllm:num_requests_running``."""
        text = httpx.get(f"{self.url.removesuffix('/v1')}/metrics", timeout=30).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(sample.value for sample in samples if sample.name == name)

    def chat_model(self) -> OpenAIChatModel:
        return OpenAIChatModel(self.settings.generation, server=self.supervisor)

    async def generate(self, model: OpenAIChatModel, text: str, max_tokens: int = 12) -> list[Generated]:
        messages = (Message("system", "You answer in one short sentence."), Message("user", text))
        async with aclosing(model.stream(messages, Sampling(max_tokens))) as pieces:
            return [piece async for piece in pieces]


def members(group: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def _plan(settings: Settings, folder: Path) -> Plan:
    try:
        return installation.plan(settings, folder)
    except ConfigError as error:
        pytest.skip(f"no vLLM here ({error})")


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngine]:
    home = tmp_path_factory.mktemp("vllm")
    (home / CONFIG_FILE).write_text(CONFIG, "utf-8")
    settings = load_settings(home)
    folder = resolve(settings.generation.model, default_cache())
    notes: list[str] = []
    supervisor = Supervisor(home, _plan(settings, folder), "engine up", Observers(note=notes.append))
    engine = RealEngine(home, settings, folder, supervisor, notes)
    with supervisor:
        supervisor.wait_ready(START_TIMEOUT_S)
        yield engine
        pids = engine.pids() if supervisor.state() == "ok" else []
    left = [pid for pid in pids if identity_of(pid) is not None]
    assert not left, f"stopping the engine left the processes {left}"
    state = EngineFolder.of(home).read()
    assert state is not None
    assert state.state == "stopped"


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Waits until the function returns something true, and returns that."""

    def wait(function: Callable[[], object], within_s: float = 30.0) -> object:
        deadline = time.monotonic() + within_s
        while not (value := function()):
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.1)
        return value

    return wait

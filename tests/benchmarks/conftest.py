"""A vLLM of the benchmarks' own, one for each module that asks: its prefix cache can be emptied between two arms."""

import os
from collections.abc import Iterator
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
from service.engine import installation
from service.engine.supervisor import Supervisor

CONFIG = """
profile = "vllm-cpu"

[generation]
retries = 0
concurrency = 128
timeout_s = 600

[engine]
port = 0
max_model_len = 4096
environment = { VLLM_SERVER_DEV_MODE = "1" }
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """A running vLLM and the settings that it was started with."""

    settings: Settings
    server: Supervisor
    endpoint: Endpoint

    @property
    def root(self) -> str:
        return self.endpoint.base_url.removesuffix("/v1")

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.endpoint.key}"}

    def chat_model(self) -> OpenAIChatModel:
        return OpenAIChatModel(self.settings.generation, server=self.server)

    def empty_prefix_cache(self) -> None:
        """Development mode only. vLLM refuses while a request runs."""
        httpx.post(f"{self.root}/reset_prefix_cache", headers=self.headers, timeout=60).raise_for_status()

    def metric(self, name: str) -> float:
        """The sum over the labels of one of vLLM's samples."""
        text = httpx.get(f"{self.root}/metrics", timeout=60).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return sum(sample.value for sample in samples if sample.name == name)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    home = tmp_path_factory.mktemp("engine")
    (home / CONFIG_FILE).write_text(CONFIG, "utf-8")
    settings = load_settings(home)
    folder = resolve(settings.generation.model, default_cache())
    try:
        plan = installation.plan(settings, folder)
    except ConfigError as error:
        pytest.skip(f"no vLLM here ({error}); `make vllm` installs it")
    with Supervisor(home, plan, "engine up") as server:
        yield Engine(settings, server, server.wait_ready(600))


@pytest.fixture(scope="session")
def sample_documents() -> Path:
    return Path(__file__).parents[2] / "data" / "sample" / "documents"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Figures mean little without the load that others put on the machine."""
    one, five, _ = os.getloadavg()
    terminalreporter.write_line(f"load of the machine: {one:.1f} in the last minute, {five:.1f} in the last five")

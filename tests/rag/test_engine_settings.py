"""The section `engine`, what contradicts it, and the profiles that are shipped."""

from pathlib import Path

import pytest

from rag.config import Settings, load_settings
from rag.errors import ConfigError
from rag.layers import profile_names


def wrong(tmp_path: Path, text: str) -> str:
    (tmp_path / "domainqa.toml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path, environment={})
    return str(caught.value)


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_read_and_agrees_with_itself(tmp_path: Path, name: str) -> None:
    settings = load_settings(tmp_path, profile=name, environment={})
    assert settings.profile == name
    answer, evidence = settings.generation.max_answer_tokens, settings.packing.max_evidence_tokens
    if settings.generation.engine == "vllm":
        window = settings.engine.max_model_len
        assert window is not None
        assert window >= evidence + answer + 500
        assert (settings.packing.max_stuffed_tokens or 0) + answer < window


def test_the_environment_sets_what_takes_one_of_several_numbers(tmp_path: Path) -> None:
    environment = {"DOMAINQA_ENGINE__MAX_LORA_RANK": "32"}
    assert load_settings(tmp_path, environment=environment).engine.max_lora_rank == 32


def test_the_profiles_are_these() -> None:
    assert {"starter", "vllm-cpu", "gpu", "gpu-multi"} <= set(profile_names())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("generation = {engine = 'vllm', base_url = 'http://127.0.0.1:1/v1'}", ("base_url", "'vllm'", "engine.port")),
        ("generation = {engine = 'vllm', api_key_env = 'MINE'}", ("api_key_env", "'vllm'")),
        ("generation = {engine = 'vllm', dtype = 'float16'}", ("generation.dtype", "engine.dtype")),
        ("generation = {engine = 'vllm', device = 'cuda:1'}", ("generation.device", "CUDA_VISIBLE_DEVICES")),
        (
            "generation = {engine = 'vllm', window = 8192}\nengine = {max_model_len = 4096}",
            ("generation.window is 8192", "engine.max_model_len is 4096"),
        ),
        ("engine = {host = '0.0.0.0'}", ("'0.0.0.0'", "this machine")),
        ("engine = {host = 'example.org'}", ("'example.org'", "this machine")),
        ("engine = {command = ['x'], extra_args = ['-y']}", ("engine.command", "engine.extra_args")),
        ("engine = {extra_args = ['--api-key', 'k']}", ("--api-key",)),
        ("engine = {extra_args = '--max_model_len=9'}", ("--max-model-len", "engine.max_model_len")),
        ("engine = {environment = {VLLM_API_KEY = 'k'}}", ("VLLM_API_KEY",)),
        ("engine = {max_lora_rank = 24}", ("engine.max_lora_rank", "16, 32")),
        ("engine = {gpu_memory_share = 90}", ("engine.gpu_memory_share",)),
        ("engine = {replicas = 2}", ("engine.replicas",)),
    ],
)
def test_contradictions_are_refused_by_name(tmp_path: Path, text: str, named: tuple[str, ...]) -> None:
    told = wrong(tmp_path, text)
    assert all(part in told for part in named), told


def test_a_command_line_may_be_a_list_or_a_string(tmp_path: Path) -> None:
    as_text = Settings.model_validate({"engine": {"extra_args": "--a 'b c'"}})
    assert as_text.engine.extra_args == ("--a", "b c")
    environment = {"DOMAINQA_ENGINE__COMMAND": "serve --port {port}", "DOMAINQA_ENGINE__PORT": "0"}
    engine = load_settings(tmp_path, environment=environment).engine
    assert (engine.command, engine.port) == (("serve", "--port", "{port}"), 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_addresses_of_this_machine_will_do(host: str) -> None:
    assert Settings.model_validate({"engine": {"host": host}}).engine.host == host

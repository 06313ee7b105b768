from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.config import EngineSettings
from service.engine.command import PLUGIN, Hardware, Plan

PYTHON = Path("/venv/bin/python")
CPU = Hardware("cpu", cpus=(0, 1))
AMPERE = Hardware("cuda", (8, 0), tuple(range(16)))
KEY = "s3cret"


def plan(hardware: Hardware = CPU, **engine: object) -> Plan:
    return Plan(EngineSettings.model_validate(engine), "pump-model", Path("/models/pump"), PYTHON, hardware)


def value_of(argv: list[str], flag: str) -> str | None:
    return argv[argv.index(flag) + 1] if flag in argv else None


def test_a_cpus_command_line_word_for_word() -> None:
    made = plan(max_model_len=4096, kv_cache_gib=2, eager=True, dtype="float32", gpu_memory_share=0.5)
    assert made.argv(8100) == [
        "/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server",
        "--model", "/models/pump", "--served-model-name", "pump-model",
        "--host", "127.0.0.1", "--port", "8100",
        "--dtype", "float32", "--max-model-len", "4096",
        "--enable-prefix-caching", "--enable-lora", "--max-loras", "2", "--max-lora-rank", "16",
        "--enforce-eager", "--enable-prompt-tokens-details",
        "--disable-access-log-for-endpoints", "/health,/metrics,/v1/models,/tokenize",
    ]  # fmt: skip
    variables = made.environment({"PATH": "/usr/bin"}, KEY)
    assert variables == {
        "PATH": "/venv/bin:/usr/bin",
        "PYTHONUNBUFFERED": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_CPU_OMP_THREADS_BIND": "0,1",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_API_KEY": KEY,
        "PYTHONPATH": str(PLUGIN),
    }


def test_a_gpus_command_line() -> None:
    made = plan(
        AMPERE, tensor_parallel=4, gpu_memory_share=0.85, lora=False, quantization="fp8", prefix_caching=False,
        kv_cache_gib=2, extra_args="--max-num-seqs 64",
    )  # fmt: skip
    argv = made.argv(1)
    assert value_of(argv, "--tensor-parallel-size") == "4"
    assert value_of(argv, "--gpu-memory-utilization") == "0.85"
    assert value_of(argv, "--quantization") == "fp8"
    assert argv[-2:] == ["--max-num-seqs", "64"]
    assert "--no-enable-prefix-caching" in argv
    assert not any(word in argv for word in ("--enable-prefix-caching", "--enable-lora", "--enforce-eager"))
    assert not any(name.startswith(("VLLM_CPU", "VLLM_ALLOW")) for name in made.environment({}, KEY))


@pytest.mark.parametrize(
    ("hardware", "dtype"),
    [
        (CPU, "float32"),
        (AMPERE, "bfloat16"),
        (Hardware("cuda", (9, 0)), "bfloat16"),
        (Hardware("cuda", (7, 5)), "float16"),
        (Hardware("other"), "auto"),
    ],
)
def test_dtype_by_capability(hardware: Hardware, dtype: str) -> None:
    assert value_of(plan(hardware).argv(1), "--dtype") == dtype
    assert value_of(plan(hardware, dtype="bfloat16").argv(1), "--dtype") == "bfloat16"


def test_larger_cpus_are_bound_as_vllm_likes() -> None:
    assert "VLLM_CPU_OMP_THREADS_BIND" not in plan(Hardware("cpu", cpus=tuple(range(5)))).environment({}, KEY)
    assert "VLLM_CPU_OMP_THREADS_BIND" not in plan(CPU, tensor_parallel=2).environment({}, KEY)


def test_the_operators_variables_win_over_our_defaults_and_the_settings_over_them() -> None:
    inherited = {"VLLM_NO_USAGE_STATS": "0", "VLLM_CPU_OMP_THREADS_BIND": "auto", "VLLM_CPU_KVCACHE_SPACE": "9"}
    made = plan(kv_cache_gib=2, environment={"CUDA_VISIBLE_DEVICES": "1", "VLLM_CPU_OMP_THREADS_BIND": "1"})
    variables = made.environment(inherited, KEY)
    assert variables["VLLM_NO_USAGE_STATS"] == "0"
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert variables["VLLM_CPU_OMP_THREADS_BIND"] == "1"
    assert variables["CUDA_VISIBLE_DEVICES"] == "1"


def test_what_belongs_to_us_is_not_handed_on() -> None:
    inherited = {
        "PYTHONPATH": "/ours",
        "VIRTUAL_ENV": "/ours",
        "OPENAI_API_KEY": "k",
        "DOMAINQA_ENGINE_API_KEY": "k",
        "VLLM_API_KEY": "stale",
        "HF_HOME": "/hub",
    }
    variables = plan().environment(inherited, KEY)
    assert variables["HF_HOME"] == "/hub"
    assert variables["VLLM_API_KEY"] == KEY
    assert variables["PYTHONPATH"] == str(PLUGIN)
    assert not {"VIRTUAL_ENV", "OPENAI_API_KEY", "DOMAINQA_ENGINE_API_KEY"} & variables.keys()


def test_our_plugin_goes_to_cpus_that_serve_adapters_and_leaves_room_for_the_operators() -> None:
    assert "PYTHONPATH" not in plan(AMPERE).environment({}, KEY)
    assert "PYTHONPATH" not in plan(lora=False).environment({}, KEY)
    assert "PYTHONPATH" not in plan(Hardware("other"), command="serve {model}").environment({}, KEY)
    both = plan(environment={"PYTHONPATH": "/theirs"}).environment({}, KEY)
    assert both["PYTHONPATH"] == f"{PLUGIN}:/theirs"


def test_a_command_of_the_operators_own_stands_alone() -> None:
    made = plan(command="llama-server -m {model} --host {host} --port {port} -a {name} --odd {x}", dtype="float16")
    assert made.argv(7) == [
        "llama-server", "-m", "/models/pump", "--host", "127.0.0.1", "--port", "7", "-a", "pump-model", "--odd", "{x}",
    ]  # fmt: skip
    assert made.environment({"PATH": "/usr/bin"}, KEY)["PATH"] == "/usr/bin"


@settings(deadline=None)
@given(st.text(min_size=8), st.integers(1, 65535))
def test_the_key_is_in_the_environment_alone(key: str, port: int) -> None:
    made = plan(port=port)
    assert made.environment({}, key)["VLLM_API_KEY"] == key
    assert key not in made.argv(port)
    assert key not in made.fingerprint


def test_plans_that_start_the_same_engine_have_the_same_fingerprint() -> None:
    assert plan(port=0).fingerprint == plan(port=0).fingerprint
    others = [plan(port=1), plan(AMPERE), plan(max_loras=3), plan(environment={"A": "b"}), plan(kv_cache_gib=3)]
    assert len({each.fingerprint for each in [plan(port=0), *others]}) == 6
    # How it is watched is no matter of the engine's.
    assert plan(port=0, stop_timeout_s=1, max_log_mb=1).fingerprint == plan(port=0).fingerprint

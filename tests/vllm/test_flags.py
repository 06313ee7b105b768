"""Every flag that we emit is accepted by the parser of the installed vLLM. Starts no server."""

import json
import subprocess
from pathlib import Path

import pytest

from rag.config import load_settings
from rag.errors import ConfigError
from rag.layers import profile_names
from service.engine import installation
from service.engine.command import Hardware, Plan

pytestmark = pytest.mark.vllm

PARSE = """
import json, sys
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
parser = make_arg_parser(FlexibleArgumentParser())
parsed = []
for argv in json.load(sys.stdin):
    args = parser.parse_args(argv)
    validate_parsed_serve_args(args)
    parsed.append({name: value for name, value in vars(args).items() if isinstance(value, (str, int, float, list))})
print("parsed " + json.dumps(parsed))
"""


def plans(home: Path, python: Path) -> dict[str, Plan]:
    found = {}
    for profile in profile_names():
        settings = load_settings(home, profile=profile, environment={})
        if settings.generation.engine == "vllm":
            hardware = Hardware("cuda", (9, 0)) if profile.startswith("gpu") else Hardware("cpu", cpus=(0, 1))
            found[profile] = Plan(settings.engine, settings.generation.model, Path("/models/m"), python, hardware)
    every = load_settings(home, profile="gpu", environment={}).engine.model_copy(
        update={"quantization": "fp8", "eager": True, "prefix_caching": False}
    )
    return found | {"every flag": Plan(every, "m", Path("/models/m"), python, Hardware("cuda", (7, 5)))}


def test_vllms_own_parser_accepts_what_every_profile_emits(tmp_path: Path) -> None:
    try:
        python = installation.find(load_settings(tmp_path, environment={}).engine).python
    except ConfigError as error:
        pytest.skip(f"no vLLM here ({error})")
    wanted = plans(tmp_path, python)
    assert {"vllm-cpu", "gpu", "gpu-multi"} <= wanted.keys()
    argvs = [plan.argv(8100)[3:] for plan in wanted.values()]
    done = subprocess.run(
        [str(python), "-c", PARSE], input=json.dumps(argvs), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("parsed "))
    for (name, plan), args in zip(wanted.items(), json.loads(line.removeprefix("parsed ")), strict=True):
        engine = plan.engine
        assert args["model"] == "/models/m", name
        assert args["served_model_name"] == [plan.name]
        assert (args["host"], args["port"]) == ("127.0.0.1", 8100)
        assert args["max_model_len"] == (engine.max_model_len or args["max_model_len"])
        assert args["tensor_parallel_size"] == engine.tensor_parallel
        assert args["enable_prefix_caching"] is engine.prefix_caching
        assert (args["enable_lora"], args["max_loras"], args["max_lora_rank"]) == (
            True,
            engine.max_loras,
            engine.max_lora_rank,
        )
        assert args["enforce_eager"] is engine.eager
        assert args["enable_prompt_tokens_details"] is True
    by_name = dict(zip(wanted, json.loads(line.removeprefix("parsed ")), strict=True))
    assert [by_name[name]["dtype"] for name in ("vllm-cpu", "gpu", "every flag")] == ["float32", "bfloat16", "float16"]
    assert by_name["gpu-multi"]["tensor_parallel_size"] == 2
    assert by_name["every flag"]["quantization"] == "fp8"

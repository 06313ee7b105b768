"""Settings to the engine's command line and environment. Pure: looks at no disk, starts nothing.

Knows vLLM's flags by name; a test holds them against the parser of the pinned version.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rag.config import EngineSettings

KEY_VARIABLE = "VLLM_API_KEY"
# `vllm serve` is the official spelling, but the CPU build's script fails for want of metadata named vllm.
MODULE = "vllm.entrypoints.openai.api_server"
PLUGIN = Path(__file__).parent / "vllm_plugin"
"""What vLLM loads on a CPU, so that requests to the base and to adapters can be computed together."""
_QUIET_PATHS = "/health,/metrics,/v1/models,/tokenize"
_FEW_CPUS = 4
_BFLOAT16_SINCE = (8, 0)
# Of another Python than the engine's, or keys that are none of its business.
_NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "OPENAI_API_KEY")
_NOT_INHERITED_PREFIX = "DOMAINQA_"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the engine runs on. ``capability`` is the least compute capability among CUDA's GPUs.

    ``cpus`` are the numbers of the CPUs that this process may use.
    """

    kind: Literal["cpu", "cuda", "other"]
    capability: tuple[int, int] | None = None
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an engine's start depends on, but for its port and its key.

    ``model`` is a folder; ``name`` is what it is served as. ``python`` is not used where a command is given.
    """

    engine: EngineSettings
    name: str
    model: Path
    python: Path
    hardware: Hardware

    @property
    def fingerprint(self) -> str:
        """The same for plans that start the same engine."""
        parts = [self.argv(self.engine.port), sorted(self._additions().items())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def argv(self, port: int) -> list[str]:
        engine = self.engine
        if engine.command:
            values = {"host": engine.host, "port": str(port), "model": str(self.model), "name": self.name}
            return [_filled(word, values) for word in engine.command]
        argv = [str(self.python), "-m", MODULE]
        argv += ["--model", str(self.model), "--served-model-name", self.name]
        argv += ["--host", engine.host, "--port", str(port)]
        argv += ["--dtype", self._dtype()]
        if engine.max_model_len is not None:
            argv += ["--max-model-len", str(engine.max_model_len)]
        if engine.tensor_parallel > 1:
            argv += ["--tensor-parallel-size", str(engine.tensor_parallel)]
        if engine.gpu_memory_share is not None and self.hardware.kind != "cpu":
            argv += ["--gpu-memory-utilization", f"{engine.gpu_memory_share:g}"]
        argv.append("--enable-prefix-caching" if engine.prefix_caching else "--no-enable-prefix-caching")
        if engine.lora:
            argv += ["--enable-lora", "--max-loras", str(engine.max_loras)]
            argv += ["--max-lora-rank", str(engine.max_lora_rank)]
        if engine.quantization is not None:
            argv += ["--quantization", engine.quantization]
        if engine.eager:
            argv.append("--enforce-eager")
        # Without it usage doesn't tell how many tokens came from the prefix cache.
        argv.append("--enable-prompt-tokens-details")
        argv += ["--disable-access-log-for-endpoints", _QUIET_PATHS]
        return argv + list(engine.extra_args)

    def environment(self, inherited: Mapping[str, str], key: str) -> dict[str, str]:
        """What the engine's process gets. A ``VLLM_`` variable that the operator has set wins over our defaults."""
        kept = {
            name: value
            for name, value in inherited.items()
            if name not in _NOT_INHERITED and not name.startswith(_NOT_INHERITED_PREFIX)
        }
        if not self.engine.command:
            # The environment's own ninja and compilers, which vLLM calls by name.
            kept["PATH"] = f"{self.python.parent}:{kept.get('PATH', '')}".rstrip(":")
        defaults = {name: value for name, value in self._defaults().items() if name not in kept}
        return kept | defaults | self._set() | {KEY_VARIABLE: key}

    def _additions(self) -> dict[str, str]:
        return self._defaults() | self._set()

    def _set(self) -> dict[str, str]:
        """What the settings say, over the inherited."""
        engine = self.engine
        variables: dict[str, str] = {}
        if engine.lora:
            variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
        if self.hardware.kind == "cpu" and engine.kv_cache_gib is not None:
            variables["VLLM_CPU_KVCACHE_SPACE"] = str(engine.kv_cache_gib)
        variables |= engine.environment
        if self.hardware.kind == "cpu" and engine.lora:
            variables["PYTHONPATH"] = ":".join([str(PLUGIN), *filter(None, [variables.get("PYTHONPATH")])])
        return variables

    def _defaults(self) -> dict[str, str]:
        variables = {"VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}
        cpus = self.hardware.cpus
        if self.hardware.kind == "cpu" and 0 < len(cpus) <= _FEW_CPUS and self.engine.tensor_parallel == 1:
            # vLLM keeps a whole core for its scheduler, which is half of a small machine.
            variables["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cpus))
            variables["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "0"
        return variables

    def _dtype(self) -> str:
        if self.engine.dtype != "auto":
            return self.engine.dtype
        match self.hardware:
            case Hardware(kind="cpu"):
                # Few CPUs compute in bfloat16; on the others it is emulated and slow.
                return "float32"
            case Hardware(kind="cuda", capability=capability) if capability is not None:
                return "bfloat16" if capability >= _BFLOAT16_SINCE else "float16"
            case _:
                return "auto"


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word

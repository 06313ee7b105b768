"""Whether an adapter's files fit a base model and an engine, told before anything is loaded.

Reads configurations and the headers of safetensors files: no weights, no torch. Knows nothing of the registry.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from rag.errors import ModelError
from rag.models import weights_hash

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_PREFIX = "base_model.model."
_MOST_REASONS = 3
# Initialisations that change the base's own weights: without that base the adapter means something else.
_BASE_CHANGING = ("pissa", "olora", "corda", "loftq")
_VLLM_REFUSES = {
    "use_dora": "DoRA",
    "lora_bias": "a bias in LoRA's matrices (lora_bias)",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "replicated layers",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
    "trainable_token_indices": "trained tokens",
    "target_parameters": "adapted parameters outside linear layers (target_parameters)",
}

Shape = tuple[int, ...]


class LoraConfig(BaseModel):
    """What we read of peft's ``adapter_config.json``; the rest is kept as it is."""

    model_config = ConfigDict(extra="allow", frozen=True)

    peft_type: str
    base_model_name_or_path: str | None = None
    r: int = Field(ge=1)
    lora_alpha: float
    target_modules: list[str] | str | None = None
    rank_pattern: dict[str, int] = Field(default_factory=dict)
    bias: str = "none"
    modules_to_save: list[str] | None = None
    init_lora_weights: bool | str = True
    fan_in_fan_out: bool = False

    def value(self, name: str) -> object:
        """A field that we only hand on, or look at for being set."""
        return (self.model_extra or {}).get(name)


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """A peft folder as read: what is adapted, and by matrices of which shape.

    ``a`` and ``b`` are by the module's path in the base; A is (rank, inputs), B is (outputs, rank). ``others`` are
    the keys of everything else that was saved.
    """

    folder: Path
    config: LoraConfig
    a: Mapping[str, Shape]
    b: Mapping[str, Shape]
    others: tuple[str, ...]

    @property
    def rank(self) -> int:
        return max(shape[0] for shape in self.a.values())

    @property
    def target_modules(self) -> tuple[str, ...]:
        return tuple(sorted({path.rpartition(".")[2] for path in self.a}))


@dataclass(frozen=True, slots=True)
class Base:
    """A base model, as far as an adapter must fit it."""

    reference: str
    model_type: str
    weights_hash: str
    modules: Mapping[str, Shape | None]
    """(outputs, inputs) by path; ``None`` where the weights are packed and don't tell."""


# --- reading ------------------------------------------------------------------------------------


def read_adapter(folder: Path) -> AdapterFiles:
    """The adapter that peft saved in ``folder``. Raises ``ModelError``: not there, damaged, pickled, no LoRA."""
    if not (folder / WEIGHTS).is_file():
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles:
            raise ModelError(
                f"{folder} holds its weights as a pickle ({', '.join(pickles)}), which may run any code when it is "
                f"read; save the adapter again as {WEIGHTS}"
            )
        raise ModelError(f"{folder} holds no adapter: there is no {WEIGHTS}")
    try:
        config = LoraConfig.model_validate_json((folder / CONFIG).read_bytes())
        shapes = _shapes(folder / WEIGHTS)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(
            f"{folder / CONFIG} is no LoRA configuration of peft: "
            f"{'.'.join(str(part) for part in first['loc']) or 'the file'}: {first['msg']}"
        ) from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the adapter in {folder} cannot be read: {error}") from error
    if config.peft_type != "LORA":
        raise ModelError(f"the adapter in {folder} is of type {config.peft_type}; only LORA is supported")
    a: dict[str, Shape] = {}
    b: dict[str, Shape] = {}
    others: list[str] = []
    for key, shape in shapes.items():
        path, _, matrix = key.removeprefix(_PREFIX).partition(".lora_")
        if matrix == "A.weight" and len(shape) == 2:
            a[path] = shape
        elif matrix == "B.weight" and len(shape) == 2:
            b[path] = shape
        else:
            others.append(key)
    if not a:
        raise ModelError(f"{folder / WEIGHTS} holds no LoRA matrices")
    return AdapterFiles(folder, config, a, b, tuple(sorted(others)))


_bases: dict[tuple[Path, str, tuple[tuple[str, int, int], ...]], Base] = {}
_bases_lock = Lock()


def read_base(folder: Path, reference: str) -> Base:
    """The base model in ``folder``. Remembered while its files stay the same: hashing gigabytes takes a while."""
    stats = sorted((path.name, path.stat()) for path in (*folder.glob("*.safetensors"), *folder.glob("config.json")))
    key = (folder, reference, tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))
    with _bases_lock:
        if key not in _bases:
            _bases[key] = _read_base(folder, reference)
        return _bases[key]


def _read_base(folder: Path, reference: str) -> Base:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        shapes: dict[str, Shape] = {}
        for path in sorted(folder.glob("*.safetensors")):
            shapes |= _shapes(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"the base model {reference} in {folder} cannot be read: {error}") from error
    if not shapes or not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(f"{folder} holds no base model with safetensors weights and a model_type in its config.json")
    modules: dict[str, Shape | None] = {}
    for key, shape in shapes.items():
        module, _, parameter = key.rpartition(".")
        if parameter == "weight" and len(shape) == 2:
            modules[module] = shape
        elif parameter in ("qweight", "weight_packed"):
            modules[module] = None
    embeddings = [module for module in modules if module.endswith("embed_tokens")]
    if config.get("tie_word_embeddings") and "lm_head" not in modules and embeddings:
        modules["lm_head"] = modules[embeddings[0]]
    return Base(reference, config["model_type"], weights_hash(folder), modules)


def _shapes(path: Path) -> dict[str, Shape]:
    with safe_open(path, framework="np") as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - not a mapping


# --- judging ------------------------------------------------------------------------------------


def base_misfits(adapter: AdapterFiles, base: Base) -> list[str]:
    """Why the adapter cannot be put on this base: modules that it lacks, shapes that differ, halves of a pair."""
    reasons = []
    for path, (rank, inputs) in adapter.a.items():
        if path not in adapter.b:
            reasons.append(f"{path} has a matrix A and no B")
        elif adapter.b[path][1] != rank:
            reasons.append(f"{path} has a matrix A of rank {rank} and a B of rank {adapter.b[path][1]}")
        elif path not in base.modules:
            reasons.append(f"it adapts {path}, which {base.reference} does not have")
        elif (expected := base.modules[path]) is not None:
            found = (adapter.b[path][0], inputs)
            if found != (expected[::-1] if adapter.config.fan_in_fan_out else expected):
                reasons.append(
                    f"{path} is {expected[0]} x {expected[1]} in {base.reference} (outputs x inputs), "
                    f"but the adapter is made for {found[0]} x {found[1]}"
                )
    reasons += [f"{path} has a matrix B and no A" for path in adapter.b if path not in adapter.a]
    targets = adapter.config.target_modules
    if isinstance(targets, list):
        for target in sorted(targets):
            if not any(path == target or path.endswith(f".{target}") for path in adapter.a):
                reasons.append(f"its configuration targets {target}, for which it has no weights")
    largest = max([adapter.config.r, *adapter.config.rank_pattern.values()])
    if adapter.rank > largest:
        reasons.append(f"its matrices have the rank {adapter.rank}, its configuration says {largest}")
    return reasons


def vllm_misfits(adapter: AdapterFiles, max_rank: int | None) -> list[str]:
    """Why vLLM would refuse the adapter, or, worse, ignore a part of it. ``max_rank`` is ``None`` where unknown."""
    config = adapter.config
    reasons = [f"vLLM does not support {what}" for name, what in _VLLM_REFUSES.items() if config.value(name)]
    if config.bias != "none":
        reasons.append(f"vLLM does not support trained biases (bias is {config.bias!r})")
    if config.modules_to_save:
        reasons.append(
            f"vLLM does not support modules that were trained whole (modules_to_save: "
            f"{', '.join(config.modules_to_save)})"
        )
    if isinstance(config.init_lora_weights, str) and config.init_lora_weights.lower().startswith(_BASE_CHANGING):
        reasons.append(
            f"init_lora_weights is {config.init_lora_weights!r}, which changes the base's own weights; "
            "convert it with peft's path_initial_model_for_weight_conversion"
        )
    if adapter.others and not reasons:
        reasons.append(f"it holds weights that are no LoRA matrices of linear layers, such as {adapter.others[0]}")
    if max_rank is not None and adapter.rank > max_rank:
        reasons.append(
            f"its rank {adapter.rank} is above the engine's limit of {max_rank}; start the engine with a higher "
            "max_lora_rank"
        )
    return reasons


def in_words(reasons: list[str]) -> str:
    """The first reasons in one line; an adapter for another model misses hundreds of modules."""
    told = "; ".join(reasons[:_MOST_REASONS])
    rest = len(reasons) - _MOST_REASONS
    return f"{told}; and {rest} more reasons" if rest > 0 else told


def same_model(one: str, other: str) -> bool:
    """Whether two references may mean the same model: `owner/model`, `/folder/model` and `owner--model` do."""
    return _last_part(one) == _last_part(other)


def _last_part(reference: str) -> str:
    return Path(reference.partition("@")[0]).name.rpartition("--")[2].casefold()

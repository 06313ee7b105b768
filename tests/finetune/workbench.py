"""Base models and adapters as files that hold the right shapes and little else, made without torch."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from finetune.fitting import CONFIG, WEIGHTS, Base, read_base

HIDDEN = 8
INNER = 16
LAYERS = 2
MODULES = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.v_proj": (4, HIDDEN), "mlp.up_proj": (INNER, HIDDEN)}
"""(outputs, inputs) in each layer."""


def make_base(folder: Path, seed: int = 0, **config: object) -> Base:
    random = np.random.default_rng(seed)
    weights = {
        f"model.layers.{layer}.{module}.weight": random.random(shape, np.float32)
        for layer in range(LAYERS)
        for module, shape in MODULES.items()
    }
    weights["model.embed_tokens.weight"] = random.random((32, HIDDEN), np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors")
    settings = {"model_type": "llama", "tie_word_embeddings": True, **config}
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    return read_base(folder, "tiny")


def make_adapter(folder: Path, seed: int = 0, *, rank: int = 2, extra: dict | None = None, **config: object) -> Path:
    """As peft saves one for q_proj and v_proj; ``extra`` are further tensors, or replacements."""
    random = np.random.default_rng(seed)
    weights = {}
    for layer in range(LAYERS):
        for module in ("self_attn.q_proj", "self_attn.v_proj"):
            outputs, inputs = MODULES[module]
            path = f"base_model.model.model.layers.{layer}.{module}"
            weights[f"{path}.lora_A.weight"] = random.random((rank, inputs), np.float32)
            weights[f"{path}.lora_B.weight"] = random.random((outputs, rank), np.float32)
    weights |= extra or {}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value for key, value in weights.items() if value is not None}, folder / WEIGHTS)
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": "/somewhere/tiny",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": ["v_proj", "q_proj"],
        "bias": "none",
        **config,
    }
    (folder / CONFIG).write_text(json.dumps(settings), "utf-8")
    return folder

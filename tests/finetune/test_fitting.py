"""What is read of an adapter and a base, and the reasons why one doesn't fit the other or the engine."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from finetune import fitting
from finetune.fitting import base_misfits, in_words, read_adapter, read_base, same_model, vllm_misfits
from rag.errors import ModelError
from rag.models import weights_hash
from tests.finetune.workbench import HIDDEN, make_adapter, make_base

FIRST_Q = "base_model.model.model.layers.0.self_attn.q_proj"


def test_an_adapter_is_read_by_module(tmp_path: Path) -> None:
    adapter = read_adapter(make_adapter(tmp_path / "a", rank=3))
    assert adapter.rank == 3
    assert adapter.target_modules == ("q_proj", "v_proj")
    assert adapter.a["model.layers.1.self_attn.v_proj"] == (3, HIDDEN)
    assert adapter.b["model.layers.1.self_attn.v_proj"] == (4, 3)
    assert adapter.others == ()


def test_a_fitting_adapter_has_no_misfit(tmp_path: Path) -> None:
    adapter = read_adapter(make_adapter(tmp_path / "a"))
    assert base_misfits(adapter, make_base(tmp_path / "base")) == []
    assert vllm_misfits(adapter, 2) == []
    assert vllm_misfits(adapter, None) == []


def test_a_base_is_its_type_its_weights_and_its_modules(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    assert base.model_type == "llama"
    assert base.weights_hash == weights_hash(tmp_path / "base")
    assert base.modules["model.layers.0.mlp.up_proj"] == (16, HIDDEN)
    assert base.modules["lm_head"] == (32, HIDDEN), "tied to the embeddings"
    assert "lm_head" not in make_base(tmp_path / "untied", tie_word_embeddings=False).modules


def test_a_base_is_hashed_once_while_its_files_stay_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = make_base(tmp_path / "base")
    monkeypatch.setattr(fitting, "weights_hash", lambda folder: pytest.fail("hashed again"))
    assert read_base(tmp_path / "base", "tiny") is base
    monkeypatch.undo()
    assert make_base(tmp_path / "base", seed=1).weights_hash != base.weights_hash


def test_packed_weights_tell_no_shape_and_refuse_no_adapter(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    packed = fitting.Base("tiny-awq", "llama", "0" * 64, dict.fromkeys(base.modules))
    assert base_misfits(read_adapter(make_adapter(tmp_path / "a")), packed) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"extra": {f"{FIRST_Q}.lora_A.weight": np.zeros((2, 9), np.float32)}}, "8 x 8 in tiny.*made for 8 x 9"),
        ({"extra": {f"{FIRST_Q}.lora_B.weight": np.zeros((7, 2), np.float32)}}, "8 x 8 in tiny.*made for 7 x 8"),
        ({"extra": {f"{FIRST_Q}.lora_B.weight": np.zeros((8, 3), np.float32)}}, "A of rank 2 and a B of rank 3"),
        ({"extra": {f"{FIRST_Q}.lora_B.weight": None}}, "has a matrix A and no B"),
        ({"extra": {f"{FIRST_Q}.lora_A.weight": None}}, "has a matrix B and no A"),
        (
            {
                "extra": {
                    "base_model.model.model.layers.7.mlp.up_proj.lora_A.weight": np.zeros((2, 8), np.float32),
                    "base_model.model.model.layers.7.mlp.up_proj.lora_B.weight": np.zeros((16, 2), np.float32),
                }
            },
            "it adapts model.layers.7.mlp.up_proj, which tiny does not have",
        ),
        ({"target_modules": ["q_proj", "v_proj", "gate_proj"]}, "targets gate_proj, for which it has no weights"),
        ({"r": 1}, "rank 2, its configuration says 1"),
    ],
)
def test_each_misfit_with_the_base_is_told(tmp_path: Path, change: dict, reason: str) -> None:
    adapter = read_adapter(make_adapter(tmp_path / "a", **change))
    reasons = base_misfits(adapter, make_base(tmp_path / "base"))
    assert len(reasons) == 1
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(reasons[0])


def test_a_transposed_adapter_fits_where_its_configuration_says_so(tmp_path: Path) -> None:
    extra = {}
    for layer in range(2):
        path = f"base_model.model.model.layers.{layer}.self_attn.v_proj"
        extra |= {
            f"{path}.lora_A.weight": np.zeros((2, 4), np.float32),
            f"{path}.lora_B.weight": np.zeros((8, 2), np.float32),
        }
    base = make_base(tmp_path / "base")
    assert base_misfits(read_adapter(make_adapter(tmp_path / "a", extra=extra, fan_in_fan_out=True)), base) == []
    assert base_misfits(read_adapter(make_adapter(tmp_path / "b", extra=extra)), base)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "trained biases"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: lm_head"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "replicated layers"),
        ({"trainable_token_indices": [5]}, "trained tokens"),
        ({"extra": {"base_model.model.lm_head.weight": np.zeros((32, 8), np.float32)}}, "no LoRA matrices of linear"),
        ({"rank": 4}, "its rank 4 is above the engine's limit of 2"),
    ],
)
def test_what_vllm_cannot_serve_is_told(tmp_path: Path, config: dict, reason: str) -> None:
    assert reason in in_words(vllm_misfits(read_adapter(make_adapter(tmp_path / "a", **config)), 2))


@pytest.mark.parametrize(
    "config",
    [{"init_lora_weights": "gaussian"}, {"use_rslora": True}, {"modules_to_save": []}, {"layer_replication": None}],
)
def test_what_vllm_can_serve_is_not_refused(tmp_path: Path, config: dict) -> None:
    assert vllm_misfits(read_adapter(make_adapter(tmp_path / "a", **config)), 2) == []


def test_pickles_are_refused_unread(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a")
    (folder / fitting.WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"pickle \(adapter_model.bin\)"):
        read_adapter(folder)


def test_broken_adapters_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no adapter"):
        read_adapter(tmp_path / "nowhere")
    good = make_adapter(tmp_path / "good")
    for number, (name, content, reason) in enumerate(
        [
            (fitting.CONFIG, b"{", "no LoRA configuration"),
            (fitting.CONFIG, b'{"peft_type": "LORA"}', "r: Field required"),
            (fitting.CONFIG, json.dumps({"peft_type": "IA3", "r": 1, "lora_alpha": 1}).encode(), "type IA3"),
            (fitting.WEIGHTS, b"not safetensors", "cannot be read"),
        ]
    ):
        folder = tmp_path / str(number)
        shutil.copytree(good, folder)
        (folder / name).write_bytes(content)
        with pytest.raises(ModelError, match=reason):
            read_adapter(folder)
    (good / fitting.CONFIG).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        read_adapter(good)


def test_many_reasons_are_counted() -> None:
    assert in_words(["a"]) == "a"
    assert in_words(list("abcde")) == "a; b; c; and 2 more reasons"


def test_references_of_the_same_model() -> None:
    assert same_model("HuggingFaceTB/SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct")
    assert same_model("/cache/owner--Name", "owner/name@main")
    assert not same_model("owner/one", "owner/two")

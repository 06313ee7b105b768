import json
from pathlib import Path

import pytest

from finetune.planning.shapes import known_shape, known_shapes, read_shape
from rag.errors import ModelError, NotFoundError, NotSupportedError

# As their authors publish them; the sum of the tensors' sizes in the released weights.
PUBLISHED = {
    "SmolLM2-135M": 134_515_008,
    "SmolLM2-360M": 361_821_120,
    "SmolLM2-1.7B": 1_711_376_384,
    "Llama-2-7B": 6_738_415_616,
    "Qwen2.5-7B": 7_615_616_512,
    "Llama-3.1-8B": 8_030_261_248,
    "Llama-3.1-70B": 70_553_706_496,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_released_weights(name: str) -> None:
    assert known_shape(name).parameters == PUBLISHED[name]


def test_gpt3_has_the_175_billion_of_its_paper() -> None:
    assert known_shape("GPT-3").parameters == pytest.approx(175e9, rel=0.005)


def test_a_small_model_counted_by_hand(tmp_path: Path) -> None:
    config = {
        "model_type": "llama",
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 16,
        "vocab_size": 10,
        "max_position_embeddings": 64,
        "tie_word_embeddings": False,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    shape = read_shape(tmp_path, "tiny")
    # A layer: q 8x8, k and v 8x4 each, o 8x8, three matrices of 8x16, two norms of 8.
    layer = 64 + 2 * 32 + 64 + 3 * 128 + 2 * 8
    assert shape.parameters == 2 * layer + 2 * 10 * 8 + 8
    assert shape.multiplied_parameters == 2 * (layer - 16) + 80
    # Rank 2: q and o 2 x (8 + 8), k and v 2 x (8 + 4), the three 2 x (8 + 16).
    assert shape.adapter_parameters(2) == 2 * (2 * 32 + 2 * 24 + 3 * 48)


def test_lora_on_all_linears_of_llama_2_is_what_peft_prints() -> None:
    assert known_shape("meta-llama/Llama-2-7b-hf").adapter_parameters(16) == 39_976_960


def test_the_table_is_sorted_and_aliases_are_no_models_of_their_own() -> None:
    sizes = [each.parameters for each in known_shapes()]
    assert sizes == sorted(sizes)
    assert len(sizes) == len(PUBLISHED) + 1
    assert known_shape("HuggingFaceTB/SmolLM2-135M-Instruct") == known_shape("smollm2-135m")


def test_what_cannot_be_counted_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"'nobody/none'.*SmolLM2-135M, .*GPT-3"):
        known_shape("nobody/none")
    with pytest.raises(ModelError, match=r"config\.json"):
        read_shape(tmp_path, "empty")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', "utf-8")
    with pytest.raises(ModelError, match="Field required"):
        read_shape(tmp_path, "half")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = {"model_type": "mamba", "vocab_size": 8, "max_position_embeddings": 8, **sizes}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(NotSupportedError, match="mamba"):
        read_shape(tmp_path, "other")

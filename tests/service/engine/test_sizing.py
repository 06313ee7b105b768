import re
from pathlib import Path

import pytest

from rag.config import load_settings
from rag.errors import ModelError
from rag.models import default_cache, resolve
from service.engine.sizing import (
    GIB,
    Load,
    ModelShape,
    Sizing,
    activation_bytes,
    adapter_bytes,
    kv_bytes_per_token,
    size,
    weights_bytes,
)

PAGE = Path(__file__).parents[3] / "docs" / "serving.md"
QWEN_7B = ModelShape(28, 3584, 18944, 28, 4, 128, 152064, attention_bias=True)
LLAMA_8B = ModelShape(32, 4096, 14336, 32, 8, 128, 128256)
SMOLLM = ModelShape(30, 576, 1536, 9, 3, 64, 49152, tied_embeddings=True)


def test_parameters_are_those_that_the_models_cards_give() -> None:
    assert QWEN_7B.parameters == 7_615_616_512
    assert LLAMA_8B.parameters == 8_030_261_248
    assert ModelShape(64, 5120, 27648, 40, 8, 128, 152064, attention_bias=True).parameters == 32_763_876_352


@pytest.mark.integration
def test_parameters_are_those_that_lie_in_the_weights() -> None:
    from safetensors import safe_open

    try:
        folder = resolve("SmolLM2-135M-Instruct", default_cache())
    except ModelError as error:
        pytest.skip(str(error))
    values = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                rows, *columns = file.get_slice(name).get_shape()
                values += rows * (columns[0] if columns else 1)
    assert SMOLLM.parameters == values


def test_an_adapter_worked_by_hand() -> None:
    shape = ModelShape(2, 8, 16, 2, 1, 4, 100)
    # q 8+8, k and v 8+4 each, o 8+8, gate and up 8+16 each, down 16+8.
    assert adapter_bytes(shape, rank=4) == 2 * 4 * (16 + 12 + 12 + 16 + 24 + 24 + 24) * 2


def test_the_parts_are_the_usable_memory_and_more_gpus_hold_more_tokens() -> None:
    one = size(QWEN_7B, Load(2), 79, 0.9)
    assert one.weights + one.adapters + one.activations + one.runtime + one.kv_cache == one.usable == int(71.1 * GIB)
    four = size(QWEN_7B, Load(2), 79, 0.9, gpus=4)
    assert four.kv_tokens > 4 * one.kv_tokens
    # It has four KV heads: eight GPUs hold each twice.
    eight = size(QWEN_7B, Load(2), 79, 0.9, gpus=8)
    assert four.kv_tokens < eight.kv_tokens < 1.1 * four.kv_tokens
    too_large = size(QWEN_7B, Load(), 12, 0.9)
    assert too_large.kv_cache < 0
    assert too_large.conversations(1) == 0


def rows(sizing: Sizing) -> dict[str, str]:
    gib = {name: f"{getattr(sizing, name) / GIB:.2f}" for name in ("usable", "weights", "adapters", "activations")}
    return gib | {
        "runtime": f"{sizing.runtime / GIB:.2f}",
        "KV cache": f"{sizing.kv_cache / GIB:.2f}",
        "KV tokens": f"{sizing.kv_tokens:,}",
        "conversations of 8192 tokens": str(sizing.conversations(8192)),
    }


def test_the_pages_numbers_are_those_of_the_formula(tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    engine = load_settings(tmp_path, profile="gpu", environment={}).engine
    assert engine.gpu_memory_share == 0.85
    load = Load(engine.max_loras, engine.max_lora_rank)
    large = Load(engine.max_loras, engine.max_lora_rank, batched_tokens=8192, sequences=1024)
    left, right = size(QWEN_7B, large, 79.0, 0.85), size(QWEN_7B, load, 23.5, 0.85)
    table = dict(re.findall(r"^\| ([\w ]+) \| ([\d.,]+ \| [\d.,]+) \|$", page, re.MULTILINE))
    assert table == {name: f"{value} | {rows(right)[name]}" for name, value in rows(left).items()}
    without = size(QWEN_7B, Load(), 23.5, 0.85)
    for told in (
        f"{QWEN_7B.parameters:,} parameters",
        f"= {kv_bytes_per_token(QWEN_7B):,} bytes of KV cache a token",
        f"the KV cache is {without.kv_cache / GIB:.2f} GiB",
        f"needs {kv_bytes_per_token(LLAMA_8B):,} bytes a token",
        f"({SMOLLM.parameters:,}\nparameters",
        f"takes {weights_bytes(SMOLLM, 4) / GIB:.2f} GiB of weights and {kv_bytes_per_token(SMOLLM, 4):,} bytes a",
        f"2 GiB hold\n{2 * GIB // kv_bytes_per_token(SMOLLM, 4):,} tokens",
    ):
        assert told in page


def test_the_pages_formula_for_activations_is_ours() -> None:
    assert activation_bytes(QWEN_7B, 2048, 256) == 2048 * (2 * 18944 + 4 * 3584) * 2 + 2 * 256 * 152064 * 4


def test_the_pages_code_runs() -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert code is not None
    told: list[object] = []
    exec(code[1], {"print": told.append})
    assert told == [size(LLAMA_8B, Load(2), 23.5, 0.9).kv_tokens]


def test_the_page_names_the_profiles_and_says_what_was_not_run() -> None:
    page = PAGE.read_text("utf-8")
    assert all(f"`{profile}`" in page for profile in ("vllm-cpu", "gpu", "gpu-multi"))
    assert "**the GPU profiles were not**" in page

"""Memory, operations and hours against numbers worked by hand and known from papers."""

import pytest

from finetune.planning import compute, memory
from finetune.planning.cases import NAMES, case
from finetune.planning.hardware import read_prices
from finetune.planning.shapes import ModelShape, known_shape
from rag.errors import NotFoundError

LLAMA = known_shape("Llama-2-7B")
PLAIN = ModelShape("plain", 4, 100, 10, 10, 10, 400, 1000, 64, gated=False, tied=True)


def step(method: memory.Method, *, checkpointing: bool = False, tokens: int = 1000, learnt: int = 100):
    return memory.training_memory(
        LLAMA, method, batch_tokens=tokens, learnt_tokens=learnt, checkpointing=checkpointing, rank=16
    )


def test_full_training_with_adam_takes_16_bytes_a_parameter() -> None:
    full = step("full")
    assert full.states == 16 * 6_738_415_616
    assert (full.weights, full.gradients) == (2 * 6_738_415_616, 2 * 6_738_415_616)


def test_lora_takes_2_bytes_of_the_base_and_16_of_the_adapter() -> None:
    lora = step("lora")
    assert lora.states == 2 * 6_738_415_616 + 16 * 39_976_960
    assert lora.optimizer == 8 * 39_976_960


def test_qlora_keeps_the_linear_weights_in_4_bits_and_the_embeddings_in_16() -> None:
    # A layer: four matrices of 4096 x 4096 and three of 4096 x 11008.
    linear = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    weights = linear * 4.127 / 8 + 2 * (6_738_415_616 - linear) + 4 * 39_976_960
    assert step("qlora").weights == pytest.approx(weights)
    assert weights == pytest.approx(4.03e9, rel=0.01)


def test_a_layer_keeps_what_korthikanti_et_al_count_less_the_dropout_masks() -> None:
    assert memory.layer_activations(PLAIN) == (34 - 2) * PLAIN.hidden


def test_checkpointing_keeps_each_layers_input_and_one_layer_whole() -> None:
    # Inputs, outputs of norms, and attention: 2 x (4 + 2 + 2) x 4096; the gated part: 2 x 4 x 11008.
    layer = 2 * 8 * 4096 + 8 * 11008
    assert step("lora").activations == 1000 * 32 * layer
    assert step("lora", checkpointing=True).activations == 1000 * (32 * 2 * 4096 + layer)


def test_logits_are_counted_where_there_are_labels() -> None:
    assert step("lora", learnt=100).logits == 100 * 32000 * 8


def test_keys_and_values_of_llama_2_take_half_a_megabyte_a_token() -> None:
    assert memory.kv_bytes(LLAMA) == 2 * 32 * 4096 * 2 == 524_288
    assert memory.kv_bytes(known_shape("Llama-3.1-8B")) == 2 * 32 * 8 * 128 * 2
    served = memory.serving_memory(LLAMA, 1000, 8, shared_tokens=5000)
    assert served.kv_cache == (8 * 1000 + 5000) * 524_288
    assert served.total == 2 * 6_738_415_616 + served.kv_cache


@pytest.mark.parametrize(
    ("method", "checkpointing", "expected"),
    [("full", False, 6), ("full", True, 8), ("lora", False, 4), ("lora", True, 6)],
)
def test_operations_by_parameter_and_token(method: memory.Method, checkpointing: bool, expected: int) -> None:
    assert compute.training_flops(1e9, 1e6, method, checkpointing) == expected * 1e15


def test_hours_are_operations_by_what_a_card_keeps_up() -> None:
    assert compute.gpu_hours(3.6e18, tflops=100, utilisation=0.5) == pytest.approx(20)


def test_reading_a_prompt_grows_with_its_square() -> None:
    # 2 x (4 x 120,000 + 100,000) a token; attention 2 x 4 x 100 x length a token.
    assert PLAIN.linear_parameters == 4 * (4 * 100 * 100 + 2 * 100 * 400)
    assert compute.prefill_flops(PLAIN, 50) == 50 * 2 * (480_000 + 100_000) + 2 * 4 * 100 * 50 * 50


def test_writing_reads_the_weights_once_for_all_sequences() -> None:
    alone, beside = (compute.decode_seconds(LLAMA, 0, sequences, bandwidth=2e12) for sequences in (1, 8))
    assert alone == pytest.approx(2 * 6_738_415_616 / 2e12)
    assert beside == pytest.approx(alone / 8)
    assert compute.decode_seconds(LLAMA, 1000, 8, 2e12) == pytest.approx(beside + 1000 * 524_288 / 2e12)


def test_gpt3_explained() -> None:
    figures = case("gpt-3", read_prices()).figures
    assert figures["flops"] == pytest.approx(3.14e23, rel=0.005)
    # 3.15e23 / 19.5e12 = 1.615e10 seconds; a year has 3.156e7.
    assert figures["a100_years_float32_peak"] == pytest.approx(1.615e10 / 3.156e7, rel=0.001)
    assert figures["a100_years_bfloat16_peak"] == pytest.approx(32, abs=0.1)
    assert figures["a100_years_bfloat16_at_utilisation"] == pytest.approx(80, abs=0.1)
    assert figures["state_bytes"] == pytest.approx(16 * 175e9, rel=0.005)


def test_a_7b_lora_run_fits_one_card_of_80_gb_and_full_training_does_not() -> None:
    figures = case("lora-7b", read_prices()).figures
    # 13.48 base, .64 adapter, 4096 tokens x 32 layers x 153,600 bytes, 4096 x 32,000 x 8 of logits.
    assert figures["lora_bytes"] == pytest.approx(13.477e9 + 0.640e9 + 20.133e9 + 1.049e9, rel=0.001)
    assert figures["lora_bytes"] < 0.9 * 80e9 < figures["full_checkpointing_bytes"]
    assert figures["qlora_checkpointing_bytes"] < figures["lora_checkpointing_bytes"] < 24e9


def test_every_case_tells_its_figures_and_another_is_refused() -> None:
    for name in NAMES:
        found = case(name, read_prices())
        assert found.name == name
        assert len(found.told) >= 3
    with pytest.raises(NotFoundError, match="gpt-3, lora-7b"):
        case("bert", read_prices())

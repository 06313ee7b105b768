"""Known cases worked through with the same formulas, so that a plan can be held against what is known."""

from dataclasses import dataclass

from finetune.planning.compute import DEFAULT_UTILISATION, gpu_hours, training_flops
from finetune.planning.hardware import PriceTable
from finetune.planning.memory import Method, training_memory
from finetune.planning.shapes import known_shape
from rag.errors import NotFoundError

NAMES = ("gpt-3", "lora-7b")

_HOURS_A_YEAR = 365.25 * 24


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    question: str
    figures: dict[str, float]
    told: tuple[str, ...]


def case(name: str, table: PriceTable) -> Case:
    """Raises ``NotFoundError`` naming the cases."""
    if name == "gpt-3":
        return _gpt3(table)
    if name == "lora-7b":
        return _lora_7b(table)
    raise NotFoundError(f"there is no case {name!r}; there are: {', '.join(NAMES)}")


def _gpt3(table: PriceTable) -> Case:
    """Brown et al. 2020: 175 billion parameters, 300 billion tokens; table D.1 names 3.14e23 operations."""
    a100 = table.gpu("a100-80")
    flops = training_flops(175e9, 300e9, "full", checkpointing=False)
    float32, bfloat16, kept_up = (
        gpu_hours(flops, peak, used) / _HOURS_A_YEAR
        for peak, used in ((a100.fp32_tflops, 1), (a100.bf16_tflops, 1), (a100.bf16_tflops, DEFAULT_UTILISATION))
    )
    states = training_memory(
        known_shape("GPT-3"), "full", batch_tokens=0, learnt_tokens=0, checkpointing=True, rank=1
    ).states
    return Case(
        "gpt-3",
        "Why are 400 to 500 A100-years quoted for GPT-3?",
        {
            "flops": flops,
            "a100_years_float32_peak": float32,
            "a100_years_bfloat16_peak": bfloat16,
            "a100_years_bfloat16_at_utilisation": kept_up,
            "utilisation": DEFAULT_UTILISATION,
            "state_bytes": states,
        },
        (
            f"6 x 175e9 parameters x 300e9 tokens = {flops:.2e} operations (the paper: 3.14e23).",
            f"Divided by the A100's float32 peak of {a100.fp32_tflops:g} TF that is {float32:.0f} card-years: the "
            "quoted 400 to 500 assume float32 arithmetic.",
            f"Nobody trains so: in bfloat16 the same card peaks at {a100.bf16_tflops:g} TF, {bfloat16:.0f} card-years "
            f"at full use and {kept_up:.0f} at the {DEFAULT_UTILISATION:.0%} that runs keep up: 1,024 cards for "
            f"{kept_up * 365.25 / 1024:.0f} days.",
            f"Weights, gradients and Adam's states are {states / 1e12:.1f} TB, {states / a100.memory_gb / 1e9:.0f} "
            f"cards of {a100.memory_gb:g} GB before the first activation. Pretraining takes hundreds of cards.",
        ),
    )


def _lora_7b(table: PriceTable) -> Case:
    """Llama 2 7B (Touvron et al. 2023), LoRA of rank 16 on all linear modules, micro-batches of 2 x 2,048 tokens."""
    gpu, shape = table.gpu("a100-80"), known_shape("Llama-2-7B")
    tokens, rank, run_tokens = 4096, 16, 10e6

    def total(method: Method, checkpointing: bool) -> float:
        return training_memory(
            shape, method, batch_tokens=tokens, learnt_tokens=tokens, checkpointing=checkpointing, rank=rank
        ).total

    memory = training_memory(shape, "lora", batch_tokens=tokens, learnt_tokens=tokens, checkpointing=False, rank=rank)
    full, adapter = total("full", True), shape.adapter_parameters(rank)
    hours = gpu_hours(
        training_flops(shape.multiplied_parameters, run_tokens, "lora", False), gpu.bf16_tflops, DEFAULT_UTILISATION
    )
    return Case(
        "lora-7b",
        "Does a LoRA run of a 7B model fit one card of 80 GB?",
        {
            "parameters": shape.parameters,
            "adapter_parameters": adapter,
            "lora_bytes": memory.total,
            "lora_checkpointing_bytes": total("lora", True),
            "qlora_checkpointing_bytes": total("qlora", True),
            "full_checkpointing_bytes": full,
            "gpu_hours_10m_tokens": hours,
        },
        (
            f"The frozen base takes {2 * shape.parameters / 1e9:.1f} GB in bfloat16; the adapter has {adapter:,} "
            f"parameters, whose weights, gradients and Adam's states take {16 * adapter / 1e9:.1f} GB.",
            f"Activations of a micro-batch of {tokens:,} tokens take {memory.activations / 1e9:.1f} GB and the logits "
            f"{memory.logits / 1e9:.1f} GB: {memory.total / 1e9:.1f} GB of {gpu.memory_gb:g}, so it fits.",
            f"With gradient checkpointing {total('lora', True) / 1e9:.1f} GB, and with the base in 4 bits (QLoRA) "
            f"{total('qlora', True) / 1e9:.1f} GB: a card of 24 GB is enough.",
            f"Training all parameters takes {full / 1e9:.0f} GB even with checkpointing: 16 bytes a parameter are "
            f"{16 * shape.parameters / 1e9:.0f} GB, more than one such card.",
            f"10 million tokens are {hours:.1f} hours of the card at {DEFAULT_UTILISATION:.0%} of its peak.",
        ),
    )

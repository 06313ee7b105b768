"""Floating-point operations and the time they take at a stated utilisation.

The utilisation is the share of a card's peak that a run keeps up (model FLOPs utilisation, Chowdhery et al. 2022,
"PaLM", appendix B, who reached 46 %; Llama 3's report, 2024, names 38 to 43 % in bfloat16 on thousands of H100).
"""

from finetune.planning.memory import Method, kv_bytes
from finetune.planning.shapes import ModelShape

DEFAULT_UTILISATION = 0.4

_BYTES = 2


def training_flops(parameters: float, tokens: float, method: Method, checkpointing: bool) -> float:
    """Operations of a whole run over ``tokens``.

    A forward pass takes 2 a parameter and token, the backward pass twice that: 6ND (Kaplan et al. 2020, section 2.1).
    With LoRA the frozen weights need no gradients of their own, which leaves 2 of the backward pass's 4: 4ND. Gradient
    checkpointing runs the forward pass once more: +2ND. Attention's own products are left out, as there.
    """
    per_parameter = (6 if method == "full" else 4) + (2 if checkpointing else 0)
    return per_parameter * parameters * tokens


def prefill_flops(shape: ModelShape, tokens: int) -> float:
    """Operations of reading a prompt: 2 a parameter and token, and for attention 2 x layers x context x width a token.

    Kaplan et al. 2020, table 1. In a context of a hundred thousand tokens the second part is the greater one.
    """
    attention = 2.0 * shape.layers * shape.query_size * tokens**2
    return 2.0 * shape.multiplied_parameters * tokens + attention


def decode_seconds(shape: ModelShape, context_tokens: int, sequences: int, bandwidth: float) -> float:
    """Card time of one token of one answer, in seconds: writing is bound by what must be read from memory.

    All weights once for all ``sequences`` together, and each sequence's own keys and values (Pope et al. 2022,
    "Efficiently Scaling Transformer Inference", section 2). ``bandwidth`` is bytes a second.
    """
    return (_BYTES * shape.parameters / sequences + context_tokens * kv_bytes(shape)) / bandwidth


def gpu_hours(flops: float, tflops: float, utilisation: float) -> float:
    """Hours of one card whose peak is ``tflops`` (10^12 operations a second)."""
    return flops / (tflops * 1e12 * utilisation) / 3600

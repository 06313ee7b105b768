"""Bytes that training and serving take on a card, part by part.

The allocator's fragmentation and the driver are not in it: plan to fill nine tenths of a card.
"""

from dataclasses import dataclass
from typing import Literal

from finetune.planning.shapes import ModelShape

Method = Literal["full", "lora", "qlora"]

_HALF = 2
"""Bytes of a number in bfloat16."""
_NF4_BITS = 4.127
"""4 bits, and the doubly quantised scales of blocks of 64 (Dettmers et al. 2023, "QLoRA", section 3)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. ``activations`` are the layers', ``logits`` what the loss is computed on."""

    weights: float
    gradients: float = 0
    optimizer: float = 0
    activations: float = 0
    logits: float = 0
    kv_cache: float = 0

    @property
    def states(self) -> float:
        """What can be divided among cards (ZeRO stage 3, FSDP); activations cannot."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> float:
        return self.states + self.activations + self.logits + self.kv_cache


def training_memory(
    shape: ModelShape,
    method: Method,
    *,
    batch_tokens: int,
    learnt_tokens: int,
    checkpointing: bool,
    rank: int,
) -> Memory:
    """A training step of ``batch_tokens`` on one card, ``learnt_tokens`` of them with a loss.

    Full training with Adam in mixed precision takes 16 bytes a parameter: 2 for weights, 2 for gradients, and 12 for
    the float32 copy and two moments (Rajbhandari et al. 2020, "ZeRO", section 3.1). With LoRA the base lies there in
    bfloat16, or in 4 bits, and only the adapter has 16 bytes a parameter, all in float32.
    """
    if method == "full":
        weights, gradients, optimizer = (each * shape.parameters for each in (2.0, 2.0, 12.0))
    else:
        adapter = shape.adapter_parameters(rank)
        weights = _base_bytes(shape, method) + 4 * adapter
        gradients, optimizer = 4.0 * adapter, 8.0 * adapter
    per_layer = layer_activations(shape)
    kept = shape.layers * (_HALF * shape.hidden if checkpointing else per_layer)
    return Memory(
        weights,
        gradients,
        optimizer,
        activations=batch_tokens * (kept + (per_layer if checkpointing else 0)),
        # Logits in float32 and their gradient, only where there is a label.
        logits=learnt_tokens * 8.0 * shape.vocabulary,
    )


def layer_activations(shape: ModelShape) -> int:
    """Bytes a token that one layer keeps for its backward pass, in bfloat16 and with a fused attention.

    Kept are both norms' inputs and outputs, queries, keys, values, the attention's output, and of the feed-forward
    part what its matrices and its activation read. For a layer with an inner size of four times the hidden size this is
    32 bytes x hidden; Korthikanti et al. 2022 ("Reducing Activation Recomputation in Large Transformer Models",
    section 4.1) count 34, two of them for the masks of two dropouts, which today's models don't have.
    """
    feed_forward = (4 if shape.gated else 2) * shape.inner
    return _HALF * (4 * shape.hidden + 2 * shape.query_size + 2 * shape.kv_size + feed_forward)


def kv_bytes(shape: ModelShape) -> int:
    """Bytes of a token's keys and values in all layers (Pope et al. 2022, section 3.3, with grouped heads)."""
    return 2 * shape.layers * shape.kv_size * _HALF


def serving_memory(shape: ModelShape, context_tokens: int, sequences: int, *, shared_tokens: int = 0) -> Memory:
    """A model in bfloat16 that answers so many sequences at once.

    Each has ``context_tokens`` of its own, its answer among them, behind ``shared_tokens`` that all begin with and that
    a prefix cache holds once.
    """
    tokens = sequences * context_tokens + shared_tokens
    return Memory(_HALF * shape.parameters, kv_cache=tokens * kv_bytes(shape))


def _base_bytes(shape: ModelShape, method: Method) -> float:
    if method == "lora":
        return _HALF * shape.parameters
    return shape.linear_parameters * _NF4_BITS / 8 + _HALF * (shape.parameters - shape.linear_parameters)

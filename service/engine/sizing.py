"""How much memory an engine needs, and how many tokens fit beside it: arithmetic on a model's shape, no GPU asked.

Sources: the KV cache holds a key and a value for each layer, KV head and token. A dense decoder with gated MLP and
grouped-query attention has the matrices that ``parameters`` counts (Llama, Mistral, Qwen2, SmolLM2). LoRA adds to a
matrix of ``inputs x outputs`` two of ``inputs x rank`` and ``rank x outputs`` (arXiv:2106.09685); vLLM reserves them
for each of its adapter slots at start. Activations are an estimate, and said to be one. docs/serving.md has examples.
"""

from dataclasses import dataclass

GIB = 2**30
RUNTIME_BYTES = int(1.5 * GIB)
"""Allowance per GPU for the CUDA context, the compiled graphs and NCCL's buffers; a round figure, not a formula."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A dense decoder, in the words of its ``config.json``."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied_embeddings: bool = False
    attention_bias: bool = False

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of one layer's linear modules: q, k, v, o, gate, up, down."""
        query, value = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return (
            (self.hidden, query),
            (self.hidden, value),
            (self.hidden, value),
            (query, self.hidden),
            (self.hidden, self.intermediate),
            (self.hidden, self.intermediate),
            (self.intermediate, self.hidden),
        )

    @property
    def parameters(self) -> int:
        layer = sum(inputs * outputs for inputs, outputs in self.matrices) + 2 * self.hidden
        if self.attention_bias:
            layer += (self.heads + 2 * self.kv_heads) * self.head_dim
        embeddings = self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2)
        return self.layers * layer + embeddings + self.hidden


def weights_bytes(shape: ModelShape, bytes_per_parameter: float = 2) -> int:
    """2 for bfloat16 and float16, 4 for float32, 1 for fp8, about 0.56 for 4-bit weights with their scales."""
    return round(shape.parameters * bytes_per_parameter)


def kv_bytes_per_token(shape: ModelShape, bytes_per_value: int = 2) -> int:
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * bytes_per_value


def adapter_bytes(shape: ModelShape, rank: int, bytes_per_parameter: int = 2) -> int:
    """One adapter slot: LoRA on every linear module of every layer."""
    return shape.layers * rank * sum(sum(matrix) for matrix in shape.matrices) * bytes_per_parameter


def activation_bytes(shape: ModelShape, batched_tokens: int, sequences: int, bytes_per_value: int = 2) -> int:
    """An estimate of the peak: the widest step of one layer for a batch, and two copies of the logits in float32.

    ``batched_tokens`` is vLLM's ``--max-num-batched-tokens``, ``sequences`` its ``--max-num-seqs``.
    """
    step = batched_tokens * (2 * shape.intermediate + 4 * shape.hidden) * bytes_per_value
    return step + 2 * sequences * shape.vocabulary * 4


@dataclass(frozen=True, slots=True)
class Load:
    """What an engine is to carry. The batch is what vLLM takes on a GPU of less than 70 GiB, and on an A100."""

    max_loras: int = 0
    max_lora_rank: int = 16
    batched_tokens: int = 2048
    sequences: int = 256
    bytes_per_parameter: float = 2
    bytes_per_value: int = 2


@dataclass(frozen=True, slots=True)
class Sizing:
    """Bytes on each GPU; ``kv_tokens`` is what the KV cache holds altogether. Negative: it does not fit."""

    usable: int
    weights: int
    adapters: int
    activations: int
    runtime: int
    kv_cache: int
    kv_tokens: int

    def conversations(self, tokens: int) -> int:
        """How many of so many tokens fit at once, without a shared prefix."""
        return max(0, self.kv_tokens // tokens)


def size(shape: ModelShape, load: Load, gpu_gib: float, memory_share: float, gpus: int = 1) -> Sizing:
    """``gpu_gib`` is one GPU's memory as the driver tells it, ``memory_share`` what the engine may take of it.

    With several GPUs each holds its part of every matrix and its KV heads; activations are split less well, so they
    are counted whole. More GPUs than KV heads hold copies of these.
    """
    usable = int(gpu_gib * GIB * memory_share)
    weights = weights_bytes(shape, load.bytes_per_parameter) // gpus
    adapters = load.max_loras * adapter_bytes(shape, load.max_lora_rank) // gpus
    activations = activation_bytes(shape, load.batched_tokens, load.sequences, load.bytes_per_value)
    kv_cache = usable - weights - adapters - activations - RUNTIME_BYTES
    per_token = kv_bytes_per_token(shape, load.bytes_per_value) // min(gpus, shape.kv_heads)
    return Sizing(usable, weights, adapters, activations, RUNTIME_BYTES, kv_cache, kv_cache // per_token)

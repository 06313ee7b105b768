"""Loaded by vLLM itself, in the engine's processes on a CPU: keeps adapters out of the base model's answers.

In a batch, -1 says that a token belongs to no adapter. vLLM 0.32 on a CPU takes it for an index from the end, so that a
request to the base, computed beside one to an adapter, gets the adapter of the last place: another answer, no error
(vllm-project/vllm pull request 48421; the kernels of GPUs are right). Nothing is changed in a vLLM without the fault.

vLLM finds ``repair`` through the entry point in the folder beside this file, which the engine has in its PYTHONPATH.
"""

from collections.abc import Callable
from typing import Any


def repair() -> None:
    """Safe to call again. Fails, and the engine with it, where vLLM's parts are not where they are known to be."""
    # Here and not above: a plugin that cannot be imported is ignored, one that fails is not.
    from vllm.lora.ops import torch_ops
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    if not has_fault(lora_ops.bgmv_shrink):
        return
    mended = without_fault(lora_ops.bgmv_shrink)
    # Each module that took the function by its name holds it on its own.
    for module in (lora_ops, torch_ops, punica_cpu):
        assert hasattr(module, "bgmv_shrink"), module
        module.bgmv_shrink = mended


def has_fault(shrink: Callable[..., None]) -> bool:
    """Whether a token without an adapter gets the last one's matrix A."""
    import torch

    output = torch.zeros(1, 1)
    shrink(torch.ones(1, 1), torch.ones(1, 1, 1, 1), output, torch.tensor([-1]), 1.0)
    return bool(output.any())


def without_fault(shrink: Callable[..., None]) -> Callable[..., None]:
    """The product with A is nothing for tokens without an adapter; then so is what B makes of it and is added."""

    def mended(inputs: Any, weights: Any, output: Any, indices: Any, scaling: float = 1.0) -> None:
        shrink(inputs, weights, output, indices.clamp(min=0), scaling)
        output[indices < 0] = 0

    return mended

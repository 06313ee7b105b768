"""Packs as tensors: one row of whole examples, what is learnt of it, and the loss of each learnt token.

Knows nothing of optimizers or of several devices.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

from finetune.bases import compute_dtype
from finetune.batching import Batch
from finetune.encoding import MASKED, Encoded

_SAME_LOSS = 0.05
"""Of a token, on average: bfloat16 rounds off less, attention across examples changes more."""


class Packs(Dataset[dict[str, Tensor]]):
    """The packs of some batches in order, as tensors."""

    def __init__(self, batches: Sequence[Batch], examples: Mapping[str, Encoded], sources: Mapping[str, int]) -> None:
        self._examples = examples
        self._sources = sources
        self._packs = [(batch, pack) for batch in batches for pack in batch.packs]
        self._weights = {
            batch.id: sum(
                examples[id_].weight * examples[id_].supervised_tokens for pack in batch.packs for id_ in pack
            )
            for batch in batches
        }

    def __len__(self) -> int:
        return len(self._packs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        batch, pack = self._packs[index]
        inputs = packed([self._examples[id_] for id_ in pack], self._sources)
        return {**inputs, "batch_weight": torch.tensor(self._weights[batch.id])}


def packed(examples: Sequence[Encoded], sources: Mapping[str, int]) -> dict[str, Tensor]:
    """One row of whole examples. Positions begin anew at each, by which attention stays inside of it.

    ``keep`` are the positions whose next token is learnt, ``targets`` those tokens; ``weights`` and ``sources`` are
    by target.
    """
    ids: list[int] = []
    positions: list[int] = []
    keep: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    of_source: list[int] = []
    for example in examples:
        learnt = [at for at, label in enumerate(example.labels) if label != MASKED]
        keep += [len(ids) + at - 1 for at in learnt]
        targets += [example.labels[at] for at in learnt]
        weights += [example.weight] * len(learnt)
        of_source += [sources[example.source]] * len(learnt)
        ids += example.input_ids
        positions += range(len(example.input_ids))
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "keep": torch.tensor(keep),
        "targets": torch.tensor(targets),
        "weights": torch.tensor(weights),
        "sources": torch.tensor(of_source),
    }


def token_losses(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Cross entropy of each target, float32. Logits are computed for these positions only: a vocabulary is wide."""
    logits = model(
        input_ids=inputs["input_ids"],
        position_ids=inputs["position_ids"],
        logits_to_keep=inputs["keep"],
        use_cache=False,
    ).logits[0]
    return cross_entropy(logits.float(), inputs["targets"], reduction="none")


def keeps_apart(model: nn.Module, examples: Sequence[Encoded]) -> bool:
    """Whether attention stays inside of each example of a pack: not every architecture looks at positions for it."""
    device = next(model.parameters()).device
    sources = {each.source: 0 for each in examples}
    was_training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=compute_dtype() == torch.bfloat16):
        rows = [[each] for each in examples] + [list(examples)]
        inputs = [{name: each.to(device) for name, each in packed(row, sources).items()} for row in rows]
        *alone, together = [token_losses(model, each) for each in inputs]
    model.train(was_training)
    return bool((torch.cat(alone) - together).abs().mean() < _SAME_LOSS)

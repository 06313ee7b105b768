"""An encoded example as text again, in runs that are learnt or only read: what a person looks at before training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from finetune.encoding import MASKED, Encoded

Decode = Callable[[Sequence[int]], str]
"""Token ids to text, special tokens written out."""


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens that stand side by side and are all learnt, or none of them is."""

    text: str
    tokens: int
    learnt: bool


@dataclass(frozen=True, slots=True)
class Shown:
    encoded: Encoded
    runs: tuple[Run, ...]


def show(encoded: Encoded, decode: Decode) -> Shown:
    """The runs in order; their token counts add up to the example's.

    A label is the id at its own place: the shift by one is the model's. A label that is neither masked nor the token
    itself would teach something that the reader doesn't see: that is an error of ours.
    """
    runs = []
    pairs = list(zip(encoded.input_ids, encoded.labels, strict=True))
    for learnt, members in groupby(pairs, key=lambda pair: pair[1] != MASKED):
        ids = list(members)
        assert not learnt or all(token == label for token, label in ids)
        runs.append(Run(decode([token for token, _ in ids]), len(ids), learnt))
    return Shown(encoded, tuple(runs))

"""The vocabulary of adapting: where an adapter comes from, what it fits, and what it was measured to do."""

from dataclasses import dataclass
from typing import Literal

AdapterKind = Literal["grounded", "closed-book", "cpt", "other"]
"""How an adapter was trained: to answer from passages, to answer without, on plain text (continued pretraining)."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A measured condition that an adapter met or missed: the value with its confidence interval."""

    name: str
    value: float
    low: float
    high: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Exposure:
    """What an adapter was trained on: keys of facts, and ids of documents, which an erasure asks for."""

    fact_keys: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdapterManifest:
    """Where an adapter comes from and what it fits. ``name`` is the label and the start of the content's hash."""

    name: str
    label: str
    content_hash: str
    """SHA-256 over the weights and the configuration as they are stored."""
    base: str
    """The reference of the model it was trained on."""
    base_type: str
    """The architecture's name in that model's ``config.json``."""
    base_hash: str
    """``rag.models.weights_hash`` of that model."""
    rank: int
    """The largest rank of any module."""
    alpha: float
    target_modules: tuple[str, ...]
    """The last parts of the adapted modules' paths, sorted."""
    created_at: str
    """ISO 8601, UTC."""
    kind: AdapterKind = "other"
    prompt_fingerprint: str | None = None
    mix_hash: str | None = None
    waiver: str | None = None
    """Why a rule of the mix was set aside, in the words of whoever did it."""
    exposure: Exposure = Exposure()
    gates: tuple[Gate, ...] = ()

"""From signals to the probability that the documents answer the question: a logistic regression kept as plain JSON.

Two models: one for questions that the embedder reads, one of the words alone, for those that it doesn't read and for
collections of another embedder than the one that was calibrated with, whose cosines would mean something else. Knows
nothing of how the numbers were fitted.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag.errors import CatalogError
from rag.signals import DENSE_SIGNALS, LEXICAL_SIGNALS
from rag.types import Collection

DEFAULT_FILE = Path(__file__).with_name("default_calibration.json")
"""What is used where a collection has no calibration of its own."""


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Weight(_Stored):
    """A signal's part: ``weight * (value - mean) / scale``."""

    mean: float
    scale: float = Field(gt=0)
    weight: float


class LogisticModel(_Stored):
    intercept: float
    weights: dict[str, Weight]

    def probability(self, signals: Mapping[str, float]) -> float:
        logit = self.intercept + sum(self.contributions(signals).values())
        return 1.0 / (1.0 + math.exp(-max(-_STEEPEST, min(_STEEPEST, logit))))

    def contributions(self, signals: Mapping[str, float]) -> dict[str, float]:
        """What each signal adds to the log odds."""
        return {name: each.weight * (signals[name] - each.mean) / each.scale for name, each in self.weights.items()}


class Calibration(_Stored):
    """``threshold``: below this probability the documents don't say. ``target`` says in words how it was chosen."""

    embedder: str
    """Fingerprint of the embedder whose cosines the first model knows."""
    with_embedder: LogisticModel | None
    by_words: LogisticModel
    threshold: float = Field(ge=0, le=1)
    target: str
    fitted_on: str
    """In words: how many questions, of what."""
    questions_sha256: tuple[str, ...] = ()
    """Of the question files, so that it can be told what it was fitted on."""

    @model_validator(mode="after")
    def _knows_its_signals(self) -> "Calibration":
        for model, known in ((self.with_embedder, LEXICAL_SIGNALS + DENSE_SIGNALS), (self.by_words, LEXICAL_SIGNALS)):
            if model is not None and (unknown := sorted(set(model.weights) - set(known))):
                raise ValueError(f"this version knows no signal {', '.join(unknown)}")
        return self

    def model_for(self, signals: Mapping[str, float], embedder: str) -> LogisticModel:
        """The model that these signals, of a collection with this embedder, are judged by."""
        if self.with_embedder is None or embedder != self.embedder or DENSE_SIGNALS[0] not in signals:
            return self.by_words
        return self.with_embedder


_STEEPEST = 500.0


def calibration_of(collection: Collection) -> Calibration:
    """The collection's own, else the shipped one. Raises ``CatalogError`` for one that this version can't use."""
    if collection.calibration is None:
        return default_calibration()
    return _parsed(collection.calibration, collection.name)


@lru_cache(maxsize=64)
def _parsed(text: str, collection: str) -> Calibration:
    try:
        return Calibration.model_validate_json(text)
    except ValidationError as error:
        fault = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}" for each in error.errors())
        raise CatalogError(
            f"the calibration of collection {collection!r} cannot be used: {fault}; "
            "make a new one with `domainqa eval calibrate`, or go back to the shipped one with its option --reset"
        ) from error


@lru_cache(maxsize=1)
def default_calibration() -> Calibration:
    return Calibration.model_validate_json(DEFAULT_FILE.read_text("utf-8"))

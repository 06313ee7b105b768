"""Does a claim follow from a sentence? Asked of a cross-encoder for natural language inference.

Any sequence classifier with a label named ``entailment`` serves. Knows nothing of citations.
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from sentence_transformers import CrossEncoder

from rag.errors import ModelError

_LABEL = "entailment"


class CrossEncoderEntailment:
    """A folder that sentence-transformers can load as a cross-encoder. Thread-safe."""

    def __init__(self, folder: Path, model_reference: str, min_probability: float, device: str | None = None) -> None:
        try:
            self._model = CrossEncoder(str(folder), device=device, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{model_reference} ({folder}) cannot be loaded as a cross-encoder: {error}") from error
        labels = {str(name).casefold(): int(at) for at, name in (self._model.config.id2label or {}).items()}
        if _LABEL not in labels:
            raise ModelError(
                f"{model_reference} has the labels {', '.join(labels) or 'none'} and none named {_LABEL}; "
                "answering.entailment_model needs a model of natural language inference"
            )
        self._label = labels[_LABEL]
        self._min_probability = min_probability
        self._lock = Lock()

    def entails(self, premises: Sequence[str], claim: str) -> list[bool]:
        """As the protocol says: the label's probability reaches the least one that was configured."""
        if not premises:
            return []
        with self._lock:
            found = self._model.predict(
                [(premise, claim) for premise in premises], apply_softmax=True, show_progress_bar=False
            )
        return [float(row[self._label]) >= self._min_probability for row in found]

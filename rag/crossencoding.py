"""Question and text to a score with a sentence-transformers cross-encoder. Knows nothing of hits or fusion."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import torch
from sentence_transformers import CrossEncoder
from transformers.utils import logging

from rag.config import RerankingSettings
from rag.errors import ModelError


class CrossEncoderReranker:
    """A folder that sentence-transformers can load as a cross-encoder with one output. Thread-safe.

    Scores are in [0, 1]: the sigmoid of the model's logit, whatever activation its folder names.
    """

    def __init__(self, folder: Path, settings: RerankingSettings, model_reference: str) -> None:
        self._batch_size = settings.batch_size
        bars_were_on = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self._model = CrossEncoder(
                str(folder), device=settings.device, local_files_only=True, max_length=settings.max_tokens
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{model_reference} ({folder}) cannot be loaded as a cross-encoder: {error}") from error
        finally:
            if bars_were_on:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        outputs = self._model.num_labels
        if outputs != 1:
            raise ModelError(
                f"{model_reference} has {outputs} outputs; a reranker has one, so name one that was trained to rank"
            )
        self._model.eval()
        self._lock = Lock()

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """As the protocol says. What is longer than the model's window is cut at the text's end."""
        if not texts:
            return []
        with self._lock, torch.inference_mode():
            logits = self._model.predict(
                [(query, text) for text in texts],
                batch_size=self._batch_size,
                show_progress_bar=False,
                activation_fn=torch.nn.Identity(),
                convert_to_tensor=True,
            )
            scores = torch.sigmoid(logits.float()).cpu().reshape(-1)
        assert torch.isfinite(scores).all(), "the model gave a score that is no number"
        return [float(score) for score in scores]

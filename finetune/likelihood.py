"""How likely texts are to a model, with an adapter and without: one forward pass for an item with all its options.

The options stand one behind the other after their prompt, none sees another, and each counts its positions from the
prompt's end: the same likelihoods as an own pass for each option, for a third of the work.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from finetune.probing import ProbeItem
from rag.errors import ModelError

_BATCH_TOKENS = 2048
"""Of one pass, filling included."""
_LONGEST_TEXT = 1024

OnDone = Callable[[int, int], None]


class Likelihoods:
    """A base model on this disk and one adapter of it. Computes in float32 on a CPU, so that a pair can be compared."""

    def __init__(self, folder: Path, reference: str, adapter: Path | None = None, device: str | None = None) -> None:
        """Raises ``ModelError`` where one of the two cannot be loaded."""
        where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = torch.bfloat16 if where.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
        bars_were_on = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            base = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, attn_implementation="sdpa"
            )
            self._wrapped = _adapted(base, adapter) if adapter is not None else None
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            what = reference if adapter is None else f"{reference} with the adapter in {adapter}"
            raise ModelError(f"{what} cannot be loaded: {error}") from error
        finally:
            if bars_were_on:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        assert isinstance(base, PreTrainedModel)
        base.to(where)  # type: ignore[arg-type]  # its decorated signature loses the type
        base.eval()  # type: ignore[no-untyped-call]
        self._base = base

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The base model as it was before."""
        if self._wrapped is None:
            yield
        else:
            with self._wrapped.disable_adapter():
                yield

    def of_options(self, items: Sequence[ProbeItem], on_done: OnDone | None = None) -> list[tuple[float, ...]]:
        """For each item the sums of its options' log probabilities, in nats, in the items' order."""
        encoded = [(self._ids(item.prompt), [self._ids(f" {option}") for option in item.options]) for item in items]
        lengths = [len(prompt) + sum(map(len, options)) for prompt, options in encoded]
        found: list[tuple[float, ...]] = [()] * len(items)
        done = 0
        for batch in _batches(lengths):
            for at, sums in zip(batch, self._score([encoded[at] for at in batch]), strict=True):
                found[at] = sums
            done += len(batch)
            if on_done is not None:
                on_done(done, len(items))
        return found

    def bits_per_byte(self, texts: Sequence[str]) -> list[float]:
        """Of each text: what a compressor that uses the model would need for a byte of it. The first token is given."""
        found = []
        for text in texts:
            ids = self._ids(text)[:_LONGEST_TEXT]
            ((nats,),) = self._score([(ids[:1], [ids[1:]])])
            said = len(text.encode()) if len(ids) < _LONGEST_TEXT else len(str(self._tokenizer.decode(ids)).encode())
            found.append(-nats / math.log(2) / said)
        return found

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @torch.inference_mode()
    def _score(self, rows: Sequence[tuple[list[int], list[list[int]]]]) -> list[tuple[float, ...]]:
        longest = max(len(prompt) + sum(map(len, options)) for prompt, options in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        positions = torch.zeros(len(rows), longest, dtype=torch.long)
        sees = torch.eye(longest, dtype=torch.bool).repeat(len(rows), 1, 1)  # what only fills a row sees itself
        # Of each predicted token: the row, the place that predicts it, the token, and whose option it is.
        wanted: list[tuple[int, int, int, int]] = []
        for row, (prompt, options) in enumerate(rows):
            start = len(prompt)
            ids[row, :start] = torch.tensor(prompt)
            positions[row, :start] = torch.arange(start)
            sees[row, :start, :start] = torch.ones(start, start, dtype=torch.bool).tril()
            at = start
            for number, option in enumerate(options):
                end = at + len(option)
                ids[row, at:end] = torch.tensor(option)
                positions[row, at:end] = torch.arange(start, start + len(option))
                sees[row, at:end, :start] = True
                sees[row, at:end, at:end] = torch.ones(len(option), len(option), dtype=torch.bool).tril()
                wanted += [
                    (row, start - 1 if place == 0 else at + place - 1, token, number)
                    for place, token in enumerate(option)
                ]
                at = end
        sums = [[0.0] * len(options) for _, options in rows]
        logs = self._log_probabilities(ids, positions, sees, wanted)
        for (row, _, _, number), value in zip(wanted, logs, strict=True):
            sums[row][number] += value
        return [tuple(each) for each in sums]

    def _log_probabilities(
        self, ids: Tensor, positions: Tensor, sees: Tensor, wanted: Sequence[tuple[int, int, int, int]]
    ) -> list[float]:
        device, dtype = self._base.device, self._base.dtype
        mask = torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min).unsqueeze(1)
        hidden = self._base.base_model(
            input_ids=ids.to(device),
            position_ids=positions.to(device),
            attention_mask=mask.to(device),
            use_cache=False,
        ).last_hidden_state
        rows, places, tokens = (torch.tensor([each[part] for each in wanted], device=device) for part in range(3))
        head = self._base.get_output_embeddings()  # type: ignore[no-untyped-call]
        assert isinstance(head, torch.nn.Module)
        logits: Tensor = head(hidden[rows, places]).float()
        found: list[float] = (logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(1)).tolist()
        return found


def _adapted(base: torch.nn.Module, adapter: Path) -> PeftModel:
    with warnings.catch_warnings():
        # peft asks for it by the name that transformers 5 has deprecated.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        wrapped = PeftModel.from_pretrained(base, adapter)
    wrapped.eval()
    assert isinstance(wrapped, PeftModel)
    return wrapped


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of like lengths, as many as the tokens of a pass allow; at least one."""
    batch: list[int] = []
    for at in sorted(range(len(lengths)), key=lambda place: (lengths[place], place)):
        if batch and lengths[at] * (len(batch) + 1) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(at)
    if batch:
        yield batch

"""Steps, validation and checkpoints, on transformers' Trainer: it brings the devices, the optimizer and the schedule.

What is ours: packs instead of padded rows, the loss by weight over the whole batch, validation by family, checkpoints
that count only when they are whole. The loop is one pass over the batch plan, so the Trainer's step is the batch's id.
Knows nothing of mixes or templates.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback

from finetune.bases import compute_dtype
from finetune.batching import Batch
from finetune.encoding import Encoded
from finetune.examples import Family
from finetune.guarding import Guarding
from finetune.packs import Packs, packed, token_losses
from finetune.runs import RunFolder, TrainSettings
from finetune.spikes import Reading, Verdict
from rag.errors import NotSupportedError

_KEPT_CHECKPOINTS = 2
_STAGED = "checkpoint-"
"""The name that the Trainer writes a checkpoint under; it gets ours once it is whole."""
_NOT_KEPT = ("training_args.bin", "README.md")
"""What the Trainer and peft put beside an adapter: a pickle, and an empty model card."""


@dataclass(frozen=True, slots=True)
class StepDone:
    """How far a run is. ``tokens`` are those of this process's life, at ``seconds`` since it began its first step."""

    step: int
    steps: int
    loss: float
    tokens: int
    tokens_left: int
    seconds: float
    verdict: Verdict

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


class PackTrainer(Trainer):
    """Trains on ``Packs``, one a micro-batch, in the plan's order."""

    def __init__(
        self,
        model: nn.Module,
        settings: TrainSettings,
        folder: RunFolder,
        batches: Sequence[Batch],
        examples: Mapping[str, Encoded],
        validation: Mapping[Family, Sequence[Sequence[Encoded]]],
        progress: Callable[[StepDone], None],
        guard: Guarding | None,
    ) -> None:
        """``validation`` has packs by family."""
        names = sorted({each.source for each in examples.values()})
        self.source_names = tuple(names)
        self._sources = {name: number for number, name in enumerate(names)}
        self._folder = folder
        self._settings = settings
        self._validation = validation
        self.validation_by_source: Mapping[str, float] = {}
        """Mean loss at the last validation, for each source of the training data whose family was validated."""
        self._family_of = {each.source: each.family for each in examples.values()}
        self._guard = guard
        self.rate = 0.0
        """The learning rate of the step that is being done."""
        args = _arguments(settings, folder, len(batches), bool(validation))
        super().__init__(
            model=model,
            args=args,
            train_dataset=Packs(batches, examples, self._sources),
            eval_dataset=[] if validation else None,  # validation is our own
            data_collator=_only,
        )
        self.loss_is_scaled_for_ga = True  # by the weight of the whole batch
        self.remove_callback(PrinterCallback)
        tokens = [sum(len(examples[id_].input_ids) for pack in batch.packs for id_ in pack) for batch in batches]
        self.add_callback(_Steps(self, guard, folder, tokens, progress))
        if settings.tensorboard:
            self.add_callback(_tensorboard(folder))
        if validation and settings.patience is not None:
            self.add_callback(EarlyStoppingCallback(settings.patience))
        self.grad_norm = float("nan")
        self._sums = torch.zeros(len(names), 2, dtype=torch.float64)

    # --- the loss ---------------------------------------------------------------------------------

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: object, **__: object) -> Tensor:
        losses = token_losses(model, inputs)
        weights = inputs["weights"]
        with torch.no_grad():
            of_sources = torch.zeros(len(self.source_names), 2, dtype=torch.float64, device=losses.device)
            of_sources.index_add_(0, inputs["sources"], torch.stack((losses * weights, weights), 1).double())
            self._sums += of_sources.cpu()
        # Gradients are averaged over the processes, each of which has a part of the batch.
        summed: Tensor = (losses * weights).sum() * (self.args.world_size / inputs["batch_weight"])
        return summed

    def take_losses(self) -> dict[str, tuple[float, float]]:
        """Mean loss and weight by source, over the batch and all processes; begins the next batch's."""
        sums = self.accelerator.reduce(self._sums.to(self.args.device), "sum").tolist()
        self._sums = torch.zeros_like(self._sums)
        return {
            name: (total / weight, weight)
            for name, (total, weight) in zip(self.source_names, sums, strict=True)
            if weight
        }

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[no-untyped-call]
        self.grad_norm = float(norm)
        self.rate = float(self._get_learning_rate())
        return norm

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)  # type: ignore[arg-type]

    @property
    def validates(self) -> bool:
        return bool(self._validation)

    # --- validation -------------------------------------------------------------------------------

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """The mean loss of a supervised token by family; ``eval_loss``, which early stopping goes by, is their mean."""
        model = self.model
        assert model is not None
        model.eval()
        metrics = {}
        for family, packs in self._validation.items():
            sums = torch.zeros(2, dtype=torch.float64)
            for pack in packs[self.args.process_index :: self.args.world_size]:
                inputs = {key: value.to(self.args.device) for key, value in packed(pack, self._any_source()).items()}
                with torch.no_grad(), self.compute_loss_context_manager():
                    losses = token_losses(model, inputs)
                sums += torch.stack(((losses * inputs["weights"]).sum(), inputs["weights"].sum())).double().cpu()
            total, weight = self.accelerator.reduce(sums.to(self.args.device), "sum").tolist()
            metrics[f"eval_{family}_loss"] = total / weight
        model.train()
        self.validation_by_source = {
            source: metrics[f"eval_{family}_loss"]
            for source, family in self._family_of.items()
            if family in self._validation
        }
        metrics["eval_loss"] = sum(metrics.values()) / len(metrics)
        if self.is_world_process_zero():
            self._folder.record({"step": self.state.global_step, **metrics})
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _any_source(self) -> Mapping[str, int]:
        return {each.source: 0 for packs in self._validation.values() for pack in packs for each in pack}

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        better = super()._determine_best_metric(metrics, trial)
        if better and self._settings.patience is not None:
            self.save_trained(self._folder.best)
        return better

    # --- keeping ----------------------------------------------------------------------------------

    def save_trained(self, folder: Path) -> None:
        """The weights that were trained, replacing what was in ``folder`` in one step but for a rename."""
        staged = folder.with_name(f".{folder.name}.staged")
        self.save_model(str(staged), _internal_call=True)
        if self.is_world_process_zero():
            for name in _NOT_KEPT:
                (staged / name).unlink(missing_ok=True)
            self._folder.replace(staged, folder)
        self.accelerator.wait_for_everyone()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        step = self.state.global_step
        staged = self._folder.checkpoints / f"{_STAGED}{step}"
        if self._guard is not None:
            self._guard.save(staged, self.args.process_index)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            self._folder.complete(staged, step, _KEPT_CHECKPOINTS)
        self.accelerator.wait_for_everyone()


class _Steps(TrainerCallback):
    """What happens around each step: the guard's word, a line in the metrics, a word on how far the run is."""

    def __init__(
        self,
        trainer: PackTrainer,
        guard: Guarding | None,
        folder: RunFolder,
        tokens: Sequence[int],
        progress: Callable[[StepDone], None],
    ) -> None:
        """``tokens`` are by batch."""
        self._trainer = trainer
        self._guard = guard
        self._folder = folder
        self._tokens = tokens
        self._progress = progress
        self._first = 0
        self._started = 0.0
        self._reading = Reading(0, {}, 0.0)
        self._verdict = Verdict("step")

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._first = state.global_step
        losses: Mapping[str, float] = {}
        if state.global_step == 0 and self._trainer.validates:
            self._trainer.evaluate()  # what fails here need not be waited for, and it is what the rest compares with
            losses = self._trainer.validation_by_source
        if self._guard is not None:
            if state.global_step == 0:
                self._guard.begin(self._trainer.optimizer, losses)
            else:
                self._guard.load(
                    self._folder.checkpoint(state.global_step), args.process_index, self._trainer.optimizer
                )
        self._started = time.monotonic()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        batch = state.global_step  # rows of the plan count from 0, like the steps that are done
        self._reading = Reading(batch, self._trainer.take_losses(), self._trainer.grad_norm)
        if self._guard is not None:
            self._verdict = self._guard.decide(self._reading)
            if self._verdict.action != "step":
                self._trainer.model_wrapped.zero_grad(
                    set_to_none=True
                )  # the optimizer passes over what has no gradient
            if self._verdict.action == "stop":
                control.should_training_stop = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        reading, done = self._reading, state.global_step
        if self._guard is not None:
            self._guard.stepped(done, self._verdict)
        if not self._trainer.is_world_process_zero():
            return
        weight = sum(each for _, each in reading.losses.values())
        loss = sum(loss * each for loss, each in reading.losses.values()) / weight
        entry = {
            "step": done,
            "batch": reading.batch,
            "loss": loss,
            "by_source": {source: each for source, (each, _) in reading.losses.items()},
            "weights": {source: each for source, (_, each) in reading.losses.items()},
            "grad_norm": reading.grad_norm,
            "learning_rate": self._trainer.rate,
            "tokens": self._tokens[reading.batch],
            "action": self._verdict.action,
        }
        self._folder.record({**entry, "reason": self._verdict.reason} if self._verdict.reason else entry)
        self._progress(
            StepDone(
                step=done,
                steps=len(self._tokens),
                loss=loss,
                tokens=sum(self._tokens[self._first : done]),
                tokens_left=sum(self._tokens[done:]),
                seconds=time.monotonic() - self._started,
                verdict=self._verdict,
            )
        )


def _tensorboard(folder: RunFolder) -> TrainerCallback:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise NotSupportedError(
            "TensorBoard is not installed; install domainqa[tensorboard], or leave out --tensorboard"
        ) from error
    return TensorBoardCallback(SummaryWriter(folder.root / "tensorboard"))  # type: ignore[no-untyped-call]


def processes() -> int:
    """How many share the run, as torchrun tells each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _only(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    (item,) = items
    return item


def _arguments(settings: TrainSettings, folder: RunFolder, steps: int, validated: bool) -> TrainingArguments:
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder.checkpoints),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=settings.packs_per_batch // processes(),
        num_train_epochs=1,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        bf16=compute_dtype() == torch.bfloat16,
        use_cpu=not on_gpu,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        eval_strategy="steps" if validated else "no",
        eval_steps=settings.evaluate_every,
        metric_for_best_model="eval_loss" if validated else None,
        greater_is_better=False if validated else None,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        average_tokens_across_devices=False,
        ddp_find_unused_parameters=False,
    )

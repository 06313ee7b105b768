"""A mix and a model to a trained adapter: ``domainqa finetune train``.

The same settings, mix and machine give the same weights, however often the run was killed on the way: the plan of all
batches is laid out first, and a run that is asked for again goes on after its last whole checkpoint.
"""

import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from finetune.bases import adaptable, read_tokenizer, untrained
from finetune.batching import Batch, plan_batches, write_plan
from finetune.encoding import Encoded, Encoder
from finetune.examples import Family, read_examples
from finetune.guarding import Guarding
from finetune.loop import PackTrainer, StepDone, processes
from finetune.mixing import TRAIN, VALIDATION, mix_hash, read_manifest
from finetune.packs import keeps_apart
from finetune.runs import ADAPTER, MODEL, PLAN, REPORT, RunConfig, RunFolder, TrainSettings, write_file
from rag.errors import NotSupportedError, StateError, UsageError

_VERSIONS = ("torch", "transformers", "accelerate", "peft")


@dataclass(frozen=True, slots=True)
class TrainReport:
    """How a run ended; ``report.json``."""

    folder: str
    """Of what was trained: an adapter, or after pretraining a model."""
    steps: int
    planned_steps: int
    resumed_at: int | None
    """The step it went on from."""
    first_validation: dict[str, float]
    """Before the first step: mean loss of a supervised token by family."""
    last_validation: dict[str, float]
    best_step: int | None
    """Whose weights were kept, where the run was to stop early."""
    tokens: int
    seconds: float
    """Of this process; ``tokens`` are of the whole run."""
    left_out: tuple[str, ...]
    """Examples that did not fill a last batch."""
    events: tuple[dict[str, object], ...]
    """What the spike guard did: batch, action, reason, and the batches that were quarantined."""
    quarantined: tuple[int, ...]
    stopped: str | None
    """Why the spike guard ended the run; then nothing was kept but its checkpoints."""


def train(
    mix: Path,
    out: Path,
    settings: TrainSettings,
    model_folder: Path,
    progress: Callable[[StepDone], None],
    note: Callable[[str], None],
) -> TrainReport:
    """Train to the end of the plan, from the last whole checkpoint where there is one.

    Raises ``UsageError`` where the run in ``out`` is another, or the mix is for another objective.
    """
    started = time.monotonic()
    if settings.packs_per_batch % processes():
        raise UsageError(
            f"a batch of {settings.packs_per_batch} packs cannot be shared by {processes()} processes; make it a "
            "multiple with --packs-per-batch"
        )
    if settings.guard and os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") == "true":
        raise NotSupportedError(
            "DeepSpeed steps inside of backward, before the spike guard has its say; use FSDP, or pass --no-guard"
        )
    manifest = read_manifest(mix)
    wanted = "sft" if settings.objective == "sft" else "cpt"
    if manifest.objective != wanted:
        raise UsageError(
            f"{mix} was mixed for {manifest.objective}, but {settings.objective} learns from a mix for {wanted}"
        )
    tokenizer = read_tokenizer(model_folder, settings.model, chat=settings.objective == "sft")
    encoder = Encoder(tokenizer, max_tokens=settings.pack_tokens)
    examples, pieces = _encode(encoder, mix / TRAIN)
    held_out, _ = _encode(encoder, mix / VALIDATION)
    order = [piece for id_ in manifest.order for piece in pieces[id_]]
    plan = plan_batches(
        order,
        {id_: len(each.input_ids) for id_, each in examples.items()},
        epochs=settings.epochs,
        pack_tokens=settings.pack_tokens,
        packs_per_batch=settings.packs_per_batch,
        seed=settings.seed,
    )
    batches = plan.batches[: settings.max_steps]
    if not batches:
        raise UsageError(
            f"{mix} holds {len(order)} examples, too few for one batch of {settings.packs_per_batch} packs; "
            "lower --packs-per-batch"
        )
    folder = RunFolder(out)
    config = RunConfig(
        settings=settings,
        mix=str(mix),
        mix_hash=mix_hash(mix),
        tokens_hash=_tokens_hash([*examples.values(), *held_out.values()]),
        versions={name: importlib.metadata.version(name) for name in _VERSIONS},
    )
    if _first_process():
        folder.claim(config)
    if (done := _finished(out)) is not None:
        note(f"the run in {out} is done")
        return done
    if _first_process():
        folder.clear_unfinished()
        write_plan(out / PLAN, plan)
        latest = folder.latest()
        folder.cut_metrics(latest[0] if latest is not None else -1)
    note(
        f"{len(batches)} steps over {_count_tokens(batches, examples)} tokens of {len(examples)} examples; "
        f"loading {settings.model}"
    )
    model = untrained(model_folder, settings) if settings.objective == "pretrain" else adaptable(model_folder, settings)
    guarding = Guarding(len(batches)) if settings.guard else None
    trainer = PackTrainer(
        model, settings, folder, batches, examples, _validation(held_out.values(), settings), progress, guarding
    )
    if not keeps_apart(model, sorted(examples.values(), key=lambda each: len(each.input_ids))[:2]):
        raise NotSupportedError(
            f"the attention of {settings.model} reaches from one example of a pack into the next, so it cannot be "
            "trained in packs; name another model"
        )
    trainer.accelerator.wait_for_everyone()
    latest = folder.latest()
    if latest is not None:
        note(f"going on after step {latest[0]}")
    trainer.train(resume_from_checkpoint=str(latest[1]) if latest is not None else None)
    events = guarding.guard.state.events if guarding is not None else []
    stopped = next((each.reason for each in events if each.action == "stop"), None)
    trained = out / (MODEL if settings.objective == "pretrain" else ADAPTER)
    best = trainer.state.best_global_step if settings.patience is not None else None
    if stopped is None:
        _keep(trainer, folder, trained, best)
    validations = [each for each in folder.metrics() if "eval_loss" in each]
    report = TrainReport(
        folder=str(trained),
        steps=trainer.state.global_step,
        planned_steps=len(batches),
        resumed_at=latest[0] if latest is not None else None,
        first_validation=_losses(validations[:1]),
        last_validation=_losses(validations[-1:]),
        best_step=best,
        tokens=_count_tokens(batches[: trainer.state.global_step], examples),
        seconds=time.monotonic() - started,
        left_out=plan.left_out,
        events=tuple(each.model_dump(mode="json") for each in events),
        quarantined=guarding.guard.quarantined if guarding is not None else (),
        stopped=stopped,
    )
    if _first_process():
        write_file(out / REPORT, json.dumps(asdict(report), indent=1) + "\n")
    if stopped is not None:
        raise StateError(
            f"the spike guard stopped the run at step {report.steps}: {stopped}; {out / REPORT} names the batches and "
            f"{out / PLAN} their examples: clean them, or lower the learning rate, and train into a new folder"
        )
    return report


def _keep(trainer: PackTrainer, folder: RunFolder, trained: Path, best: int | None) -> None:
    if best is None:
        trainer.save_trained(trained)
    elif _first_process() and folder.best.exists():
        folder.replace(folder.best, trained)


def _finished(out: Path) -> TrainReport | None:
    try:
        report = TrainReport(**json.loads((out / REPORT).read_text("utf-8")))
    except FileNotFoundError:
        return None
    return report if report.stopped is None else None


def _encode(encoder: Encoder, path: Path) -> tuple[dict[str, Encoded], dict[str, tuple[str, ...]]]:
    """What the file's examples are as tokens, and into which pieces each of them was cut."""
    encoded: dict[str, Encoded] = {}
    pieces: dict[str, tuple[str, ...]] = {}
    for example in read_examples(path):
        found = encoder.pieces(example)
        pieces[example.id] = tuple(each.id for each in found)
        encoded |= {each.id: each for each in found}
    return encoded, pieces


def _validation(examples: Iterable[Encoded], settings: TrainSettings) -> dict[Family, list[list[Encoded]]]:
    """Of each family, so many examples in order as its tokens allow, in packs."""
    packs: dict[Family, list[list[Encoded]]] = {}
    held: dict[Family, int] = {}
    for each in examples:
        length = len(each.input_ids)
        before = held.get(each.family, 0)
        if before and before + length > settings.validation_tokens:
            continue
        held[each.family] = before + length
        of_family = packs.setdefault(each.family, [[]])
        if of_family[-1] and sum(len(one.input_ids) for one in of_family[-1]) + length > settings.pack_tokens:
            of_family.append([])
        of_family[-1].append(each)
    return packs


def _tokens_hash(examples: Sequence[Encoded]) -> str:
    found = hashlib.sha256()
    for each in examples:
        found.update(json.dumps([each.id, each.weight, each.input_ids, each.labels]).encode())
    return found.hexdigest()


def _count_tokens(batches: Iterable[Batch], examples: dict[str, Encoded]) -> int:
    return sum(len(examples[id_].input_ids) for batch in batches for pack in batch.packs for id_ in pack)


def _losses(validations: Sequence[object]) -> dict[str, float]:
    if not validations:
        return {}
    (entry,) = validations
    assert isinstance(entry, dict)
    return {name: value for name, value in entry.items() if name.startswith("eval_")}


def _first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"

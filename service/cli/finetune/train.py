"""``domainqa finetune train``: a mix and a model to a trained adapter."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.cli import output, session
from service.cli.finetune.training_display import TrainingDisplay
from service.cli.options import JsonOutput

if TYPE_CHECKING:  # brings torch
    from finetune.training import TrainReport


def train(
    ctx: typer.Context,
    mix: Annotated[Path, typer.Argument(metavar="MIX", help="A folder that `domainqa finetune mix` made.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="The run's folder; a run that is in it already goes on.")
    ],
    objective: Annotated[
        Literal["sft", "cpt", "pretrain"],
        typer.Option(
            "--objective",
            help="Answers of dialogues (sft), raw text (cpt), or raw text from random weights (pretrain).",
        ),
    ] = "sft",
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="The model to adapt; the profile's chat model when left out."),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", min=1, help="How often to go through the mix.")] = 1,
    pack_tokens: Annotated[
        int,
        typer.Option("--pack-tokens", metavar="N", min=16, help="Tokens read at once; no example may be longer."),
    ] = 1024,
    packs_per_batch: Annotated[
        int, typer.Option("--packs-per-batch", metavar="N", min=1, help="Packs of one step, over all devices.")
    ] = 2,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", min=1, help="Stop the plan after so many steps.")
    ] = None,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", metavar="RATE", help="The highest one, after the warm-up.")
    ] = 3e-4,
    rank: Annotated[int, typer.Option("--rank", metavar="N", min=1, help="LoRA's rank.")] = 16,
    alpha: Annotated[int, typer.Option("--alpha", metavar="N", min=1, help="LoRA's alpha.")] = 32,
    dropout: Annotated[float, typer.Option("--dropout", metavar="SHARE", min=0, max=0.9, help="LoRA's dropout.")] = 0.0,
    module: Annotated[
        list[str] | None,
        typer.Option("--module", metavar="NAME", help="A linear layer to adapt; all but the head when left out."),
    ] = None,
    quantise: Annotated[
        bool, typer.Option("--quantise", help="Hold the base in four bits (QLoRA); needs a GPU and bitsandbytes.")
    ] = False,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory for a third more work.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of new weights, dropout and the order.")] = 0,
    checkpoint_every: Annotated[
        int, typer.Option("--checkpoint-every", metavar="STEPS", min=1, help="Steps between checkpoints.")
    ] = 25,
    evaluate_every: Annotated[
        int, typer.Option("--evaluate-every", metavar="STEPS", min=1, help="Steps between validations.")
    ] = 25,
    validation_tokens: Annotated[
        int,
        typer.Option("--validation-tokens", metavar="N", min=1, help="Tokens of each family to validate on, at most."),
    ] = 8192,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            metavar="N",
            min=1,
            help="Stop after so many validations without a better one, and keep the best weights.",
        ),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard's files; needs the extra `tensorboard`.")
    ] = False,
    guard: Annotated[
        bool, typer.Option("--guard/--no-guard", help="Drop batches whose loss or gradient is far out of line.")
    ] = True,
    as_json: JsonOutput = False,
) -> None:
    """Train an adapter on a mix, or go on with a run that was interrupted.

    The same command goes on from the last whole checkpoint and ends with the weights that it would have had anyway.
    """
    from finetune.runs import TrainSettings

    own = session.of(ctx)
    reference = own.settings().generation.model if model is None else model
    settings = TrainSettings(
        objective=objective,
        model=reference,
        epochs=epochs,
        pack_tokens=pack_tokens,
        packs_per_batch=packs_per_batch,
        max_steps=max_steps,
        learning_rate=learning_rate,
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        modules=tuple(module or ()),
        quantise=quantise,
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        checkpoint_every=checkpoint_every,
        evaluate_every=evaluate_every,
        validation_tokens=validation_tokens,
        patience=patience,
        tensorboard=tensorboard,
        guard=guard,
    )
    from finetune.training import train as train_mix
    from rag import models

    own.provide_models([reference], own.is_offline())
    folder = models.resolve(reference, models.default_cache())
    with TrainingDisplay() as display:
        report = train_mix(
            mix.expanduser(), out.expanduser(), settings, folder, progress=display.update, note=display.note
        )
    if as_json:
        output.print_json(asdict(report))
    else:
        _print(report)


def _print(report: "TrainReport") -> None:
    went = f"{report.steps} of {report.planned_steps} steps over {report.tokens} tokens in {report.seconds:.0f} s"
    output.print_text(f"{report.folder}: {went}")
    for name in sorted(report.first_validation):
        shown = name.removeprefix("eval_").replace("_", " ")
        if shown != "loss":
            output.print_text(
                f"validation, {shown}: {report.first_validation[name]:.3f} before, "
                f"{report.last_validation[name]:.3f} after"
            )
    for event in report.events:
        output.note(f"batch {event['batch']}: {event['action']}, {event['reason']}")
    if report.left_out:
        output.note(f"{len(report.left_out)} examples at the end did not fill a batch and were left out")

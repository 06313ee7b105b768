"""``domainqa finetune mix``: domain and general examples as one pass at a set share of the loss."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetune.ratios import DEFAULT_SHARE, Objective
from service.cli import output, session
from service.cli.finetune import encoder
from service.cli.options import JsonOutput

if TYPE_CHECKING:
    from finetune.mixing import Mix

_MOST_TOLD = 5


def mix(
    ctx: typer.Context,
    domain: Annotated[list[Path], typer.Option("--domain", metavar="FILE", help="Domain examples; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the mix is written; must be new.")],
    general: Annotated[
        list[Path] | None, typer.Option("--general", metavar="FILE", help="General examples; may be repeated.")
    ] = None,
    objective: Annotated[
        Objective, typer.Option("--objective", help="Fine-tuning on dialogues, or continued pretraining on raw text.")
    ] = "sft",
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            metavar="SHARE",
            min=0.001,
            max=1,
            help="The domain's share of the loss to aim at; 0.5 (sft) or 0.1 (cpt) when left out.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Chooses and orders the examples.")] = 0,
    validation: Annotated[
        float,
        typer.Option(
            "--validation", metavar="SHARE", min=0, max=0.9, help="Share of each family held out, in whole groups."
        ),
    ] = 0.05,
    most_repeats: Annotated[
        int | None,
        typer.Option(
            "--most-repeats",
            metavar="N",
            min=1,
            help="How often one general example may be in the pass; 4 (sft) or 1 (cpt) when left out.",
        ),
    ] = None,
    allow_ratio: Annotated[
        str | None,
        typer.Option("--allow-ratio", metavar="REASON", help="Why the rule on the ratio is broken; kept in the mix."),
    ] = None,
    model: encoder.Model = None,
    max_tokens: encoder.MaxTokens = encoder.DEFAULT_MAX_TOKENS,
    as_json: JsonOutput = False,
) -> None:
    """Mix domain and general examples into one pass of training.

    Every domain example is in it once. General examples are drawn until the domain has its share of the loss,
    which is counted in supervised tokens times weight; they are repeated only when they do not last.
    """
    from finetune.mixing import MOST_REPEATS, MixOptions, mix_files, write_mix

    if allow_ratio is not None and not allow_ratio.strip():
        raise typer.BadParameter("say why the ratio is allowed: the reason follows the adapter")
    loaded = encoder.load(session.of(ctx), model, max_tokens)
    options = MixOptions(
        objective=objective,
        seed=seed,
        share=DEFAULT_SHARE[objective] if share is None else share,
        validation=validation,
        most_repeats=MOST_REPEATS[objective] if most_repeats is None else most_repeats,
        max_tokens=max_tokens,
        model=loaded.reference,
    )
    made = mix_files(
        domain,
        general or [],
        options,
        lambda example: loaded.encoder.encode(example).supervised_tokens,
        allow_ratio.strip() if allow_ratio is not None else None,
    )
    digest = write_mix(out.expanduser(), made)
    if as_json:
        output.print_json({"folder": str(out), "mix_hash": digest, **_as_json(made)})
    else:
        _print(made, out)
    _tell(made, allow_ratio)


def _print(made: "Mix", out: Path) -> None:
    manifest = made.manifest
    output.print_table(
        ("family", "examples", "supervised tokens", "share of examples", "of tokens", "of the loss", "held out"),
        [
            (
                family,
                manifest.amounts[family].examples,
                manifest.amounts[family].supervised_tokens,
                shares.examples,
                shares.supervised_tokens,
                shares.loss,
                manifest.validation[family],
            )
            for family, shares in manifest.shares.items()
        ],
        numbers=["examples", "supervised tokens", "share of examples", "of tokens", "of the loss", "held out"],
    )
    output.print_text()
    output.print_table(
        ("source", "family", "available", "used", "in the pass", "most repeats"),
        [
            (source, each.family, each.available, each.distinct, each.examples, each.most)
            for source, each in manifest.repeats.items()
        ],
        numbers=["available", "used", "in the pass", "most repeats"],
    )
    output.note(f"wrote {out}; `domainqa finetune preview {out}` shows what is learnt of it")


def _tell(made: "Mix", allow_ratio: str | None) -> None:
    manifest = made.manifest
    for source, each in manifest.repeats.items():
        if each.most > 1:
            output.warn(
                f"{source} is oversampled: its {each.distinct} examples fill {each.examples} places, "
                f"the most repeated one {each.most}"
            )
    if manifest.left_out:
        first = "; ".join(f"{each.id}: {each.reason}" for each in manifest.left_out[:_MOST_TOLD])
        output.warn(f"{len(manifest.left_out)} examples were left out (all are named in the manifest): {first}")
    if manifest.waiver is not None:
        output.warn(f"the rule on the ratio was waived: {manifest.waiver}")
    elif allow_ratio is not None:
        output.note("the ratio keeps the rule, so --allow-ratio was not needed and is not recorded")


def _as_json(made: "Mix") -> dict[str, output.Json]:
    manifest: dict[str, output.Json] = made.manifest.model_dump(mode="json", exclude={"order"})
    return {**manifest, "length": len(made.manifest.order)}

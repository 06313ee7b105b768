"""``domainqa finetune sweep``: several domain shares of the loss and seeds, each mixed, trained and checked."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.cli import output, session
from service.cli.finetune import encoder
from service.cli.finetune.training_display import TrainingDisplay
from service.cli.options import Collection, JsonOutput

if TYPE_CHECKING:
    from finetune.forgetting import Check
    from finetune.runs import TrainSettings
    from finetune.sweeping import Arm

_REASON = "an arm of a sweep: the share is what is compared"


def sweep(
    ctx: typer.Context,
    domain: Annotated[list[Path], typer.Option("--domain", metavar="FILE", help="Domain examples; may be repeated.")],
    general: Annotated[
        list[Path], typer.Option("--general", metavar="FILE", help="General examples; may be repeated.")
    ],
    questions: Annotated[Path, typer.Option("--questions", metavar="FILE", help="Questions that measure the gain.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="The sweep's folder; one that is in it already goes on.")
    ],
    split: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="NAME", help="Only questions of this split; may be given several times."),
    ] = None,
    collection: Collection = "default",
    strategy: Annotated[Literal["rag", "base"], typer.Option("--strategy", help="How they are answered.")] = "rag",
    share: Annotated[
        list[float] | None,
        typer.Option("--share", metavar="SHARE", help="A domain share of the loss; 1.0, 0.5 and 0.17 when left out."),
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", metavar="N", help="Of mix and training; 0 and 1 when left out.")
    ] = None,
    fixed: Annotated[
        Literal["domain", "total"],
        typer.Option(
            "--fixed",
            help="What all arms have alike: the domain's examples (general ones come on top), or the steps.",
        ),
    ] = "domain",
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, help="Of each arm at most; --fixed total needs it."),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", min=1, help="How often to go through a mix.")] = 1,
    learning_rate: Annotated[float, typer.Option("--learning-rate", metavar="RATE", help="The highest one.")] = 3e-4,
    pack_tokens: Annotated[int, typer.Option("--pack-tokens", metavar="N", min=16, help="Read at once.")] = 1024,
    packs_per_batch: Annotated[int, typer.Option("--packs-per-batch", metavar="N", min=1, help="Packs of a step.")] = 2,
    rank: Annotated[int, typer.Option("--rank", metavar="N", min=1, help="LoRA's rank.")] = 16,
    margin: Annotated[
        float, typer.Option("--margin", metavar="POINTS", min=0, help="Of the general probe, for each arm's gate.")
    ] = 3.0,
    model: encoder.Model = None,
    as_json: JsonOutput = False,
) -> None:
    """Show what the domain's share of the loss gains in the domain and costs elsewhere.

    An interrupted sweep goes on with the same command. Its folder ends with table.md, and with sweep.svg where
    matplotlib is installed.
    """
    if fixed == "total" and steps is None:
        raise typer.BadParameter("--fixed total compares arms of the same steps; say how many with --steps")
    from finetune.runs import TrainSettings
    from finetune.sweeping import PLOT, SEEDS, SHARES, SweepPlan, plot
    from finetune.sweeping import sweep as sweep_all

    own = session.of(ctx)
    reference = own.settings().generation.model if model is None else model
    own.provide_models([*own.models(), reference], own.is_offline())
    base = TrainSettings(
        model=reference,
        epochs=epochs if fixed == "domain" else 1000,
        max_steps=steps,
        learning_rate=learning_rate,
        pack_tokens=pack_tokens,
        packs_per_batch=packs_per_batch,
        rank=rank,
    )
    arms = _Arms(own, domain, general, questions, tuple(split or ()), collection, strategy, base, margin / 100)
    plan = SweepPlan(tuple(share or SHARES), tuple(seed or SEEDS), fixed, arms.fingerprint())
    done = sweep_all(out, plan, arms.run, output.note)
    drawn = plot(done, out / PLOT)
    if as_json:
        output.print_json(_as_json(done, out))
        return
    output.print_text((out / "table.md").read_text("utf-8").rstrip())
    output.note(f"plot in {out / PLOT}" if drawn else "no plot: matplotlib is not installed")


class _Arms:
    """Mix, training and check of one arm, all that the arms have in common given."""

    def __init__(
        self,
        own: session.Session,
        domain: Sequence[Path],
        general: Sequence[Path],
        questions: Path,
        splits: tuple[str, ...],
        collection: str,
        strategy: Literal["rag", "base"],
        settings: "TrainSettings",
        margin: float,
    ) -> None:
        self._own = own
        self._domain = domain
        self._general = general
        self._questions = questions
        self._splits = splits
        self._collection = collection
        self._strategy = strategy
        self._settings = settings
        self._margin = margin

    def fingerprint(self) -> str:
        from rag.errors import UsageError

        parts: list[object] = [
            self._settings.model_dump(),
            self._splits,
            self._collection,
            self._strategy,
            self._margin,
        ]
        for path in (*self._domain, *self._general, self._questions):
            try:
                parts.append(hashlib.sha256(path.read_bytes()).hexdigest())
            except OSError as error:
                raise UsageError(f"{path} cannot be read: {error}") from error
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def run(self, share: float, seed: int, folder: Path) -> "Check":
        from finetune.runs import ADAPTER
        from finetune.training import train
        from rag import models

        mix = folder / "mix"
        if not mix.exists():
            self._mix(share, seed, mix)
        settings = self._settings.model_copy(update={"seed": seed})
        weights = models.resolve(settings.model, models.default_cache())
        with TrainingDisplay() as display:
            train(mix, folder / "run", settings, weights, progress=display.update, note=display.note)
        return self._check(folder / "run" / ADAPTER, weights)

    def _mix(self, share: float, seed: int, out: Path) -> None:
        from finetune.mixing import MixOptions, mix_files, write_mix

        options = MixOptions(
            share=share, seed=seed, max_tokens=self._settings.pack_tokens, model=self._settings.model, most_repeats=4
        )
        encode = encoder.load(self._own, self._settings.model, self._settings.pack_tokens).encoder.encode
        general = self._general if share < 1 else ()
        made = mix_files(self._domain, general, options, lambda example: encode(example).supervised_tokens, _REASON)
        write_mix(out, made)

    def _check(self, adapter: Path, weights: Path) -> "Check":
        from finetune.forgetting import checked
        from finetune.gain import candidate, measure
        from finetune.likelihood import Likelihoods
        from finetune.probing import probe_folder, read_probe
        from finetune.promoting import hash_of
        from rag.evaluation.questions import read_questions

        asked = [each for each in read_questions(self._questions) if not self._splits or each.split in self._splits]
        with self._own.library(output.note, candidate(adapter)) as library:
            domain = measure(library, asked, self._collection, self._strategy, "f1")
        probe = read_probe(probe_folder())
        likelihoods = Likelihoods(weights, self._settings.model, adapter)
        with likelihoods.without_adapter():
            before = likelihoods.of_options(probe.items), likelihoods.bits_per_byte(probe.texts)
        after = likelihoods.of_options(probe.items), likelihoods.bits_per_byte(probe.texts)
        return checked(
            base=self._settings.model,
            adapter_hash=hash_of(adapter),
            probe=probe,
            options=(before[0], after[0]),
            bits=(before[1], after[1]),
            domain=domain,
            domain_measured=f"f1 of {self._strategy} on {self._questions}",
            margin=self._margin,
        )


def _as_json(arms: "Sequence[Arm]", out: Path) -> output.Json:
    from finetune.sweeping import gains, losses

    return {
        "out": str(out),
        "shares": [
            {
                "share": gain.share,
                "domain_gain": {"value": gain.value, "low": gain.low, "high": gain.high},
                "general_loss": {"value": loss.value, "low": loss.low, "high": loss.high},
                "seeds": gain.seeds,
            }
            for gain, loss in zip(gains(arms), losses(arms), strict=True)
        ],
    }

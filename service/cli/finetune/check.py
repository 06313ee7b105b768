"""``domainqa finetune check``: what an adapter gained in its domain and lost elsewhere, with the gates."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from service.cli import output, session
from service.cli.options import Collection, JsonOutput
from service.cli.progress import CountDisplay

if TYPE_CHECKING:
    from finetune.forgetting import Check, Comparison, Pair


def check(
    ctx: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN_OR_ADAPTER", help="A training run, an adapter's folder, or a registered name."),
    ],
    questions: Annotated[
        Path | None,
        typer.Option("--questions", metavar="FILE", help="Questions of the domain, answered before and after."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="NAME", help="Only questions of this split; may be given several times."),
    ] = None,
    collection: Collection = "default",
    strategy: Annotated[
        Literal["rag", "base", "stuffed"], typer.Option("--strategy", help="How they are answered.")
    ] = "rag",
    metric: Annotated[
        Literal["f1", "contains"], typer.Option("--metric", help="F1 of the answers' tokens, or whether they hold one.")
    ] = "f1",
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="FILE", help="Measured already, JSONL: id, group, before, after."),
    ] = None,
    margin: Annotated[
        float,
        typer.Option("--margin", metavar="POINTS", min=0, help="Points of the general probe that may be lost at most."),
    ] = 3.0,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="The adapter's base; the profile's chat model when left out."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", metavar="NAME", help="Also this task of lm-evaluation-harness, where it is installed."),
    ] = None,
    as_json: JsonOutput = False,
) -> None:
    """Compare the model before and after: general probe, held-out text, and the domain's questions.

    Passes where the domain's gain is surely above 0 and less than the margin of the general probe is surely lost. What
    was measured is kept in the run as check.json, which `domainqa finetune promote` asks for. Exits with 3 where a gate
    was missed.
    """
    if scores is not None and questions is not None:
        raise typer.BadParameter("--scores and --questions both measure the domain; give one of them")
    from finetune.forgetting import CHECK, checked
    from finetune.harness import changes
    from finetune.likelihood import Likelihoods
    from finetune.probing import probe_folder, read_probe
    from finetune.promoting import hash_of
    from finetune.runs import write_file
    from rag import models

    own = session.of(ctx)
    reference = own.settings().generation.model if model is None else model
    keeper, adapter = _adapter(own, run)
    adapter_hash = hash_of(adapter)
    probe = read_probe(probe_folder())
    own.provide_models([reference], own.is_offline())
    folder = models.resolve(reference, models.default_cache())
    domain, measured = _domain(own, adapter, questions, split, collection, strategy, metric, scores)
    likelihoods = Likelihoods(folder, reference, adapter)
    with CountDisplay("items of the general probe") as display:
        display.note(f"checking {adapter} against {reference}")
        with likelihoods.without_adapter():
            before = likelihoods.of_options(probe.items, display.update), likelihoods.bits_per_byte(probe.texts)
        after = likelihoods.of_options(probe.items, display.update), likelihoods.bits_per_byte(probe.texts)
    found = checked(
        base=reference,
        adapter_hash=adapter_hash,
        probe=probe,
        options=(before[0], after[0]),
        bits=(before[1], after[1]),
        domain=domain,
        domain_measured=measured,
        margin=margin / 100,
        harness=changes(folder, adapter, task) if task else None,
    )
    if keeper is not None:
        write_file(keeper / CHECK, found.model_dump_json(indent=1) + "\n")
    if as_json:
        output.print_json({**found.model_dump(mode="json"), "passed": found.passed})
    else:
        _print(found)
    if not found.passed:
        raise typer.Exit(3)


def _adapter(own: session.Session, run: Path) -> tuple[Path | None, Path]:
    """The folder that keeps the check, and the adapter's own."""
    from finetune.adapters import AdapterRegistry
    from finetune.runs import ADAPTER

    if (run / ADAPTER).is_dir():
        return run, run / ADAPTER
    if run.is_dir():
        return None, run
    registry = AdapterRegistry(own.home_folder())
    return None, registry.folder(registry.get(str(run)).name)


def _domain(
    own: session.Session,
    adapter: Path,
    questions: Path | None,
    split: list[str] | None,
    collection: str,
    strategy: Literal["rag", "base", "stuffed"],
    metric: Literal["f1", "contains"],
    scores: Path | None,
) -> "tuple[Sequence[Pair] | None, str | None]":
    if scores is not None:
        from finetune.forgetting import read_pairs

        return read_pairs(scores), f"scores in {scores}"
    if questions is None:
        return None, None
    from finetune.gain import candidate, measure
    from rag.errors import UsageError
    from rag.evaluation.questions import read_questions

    asked = [each for each in read_questions(questions) if not split or each.split in split]
    if not asked:
        raise UsageError(f"{questions} has no questions of the split {', '.join(split or ())}")
    own.provide(chat=True)
    with CountDisplay("questions") as display, own.library(display.note, candidate(adapter)) as library:
        pairs = measure(library, asked, collection, strategy, metric, display.update)
    told = f" of split {', '.join(split)}" if split else ""
    return pairs, f"{metric} of {strategy} on {questions}{told}"


def _print(found: "Check") -> None:
    rows = [("general probe", *_points(found.general))]
    rows += [(f"  {family}", *_points(each)) for family, each in sorted(found.families.items())]
    if found.domain is not None:
        rows.append((found.domain_measured or "domain", *_points(found.domain)))
    output.print_table(
        ("measured", "before", "after", "change", "95 % interval", "items"),
        rows,
        numbers=["before", "after", "change", "items"],
    )
    bits = found.bits_per_byte
    output.note(f"bits per byte of held-out text: {bits.before:.3f} before, {bits.after:.3f} after")
    for task, change in found.harness.items():
        output.note(f"{task}: {100 * change:+.1f} points")
    for gate in found.gates:
        output.print_text(f"{gate.name}: {'passed' if gate.passed else f'missed, {gate.reason}'}")


def _points(found: "Comparison") -> tuple[str, str, str, str, int]:
    interval = f"{100 * found.low:+.1f} to {100 * found.high:+.1f}" if math.isfinite(found.low) else "-"
    return (
        f"{100 * found.before:.1f}",
        f"{100 * found.after:.1f}",
        f"{100 * found.change:+.1f}",
        interval,
        found.items,
    )

"""``domainqa plan``: what each strategy needs of data, cards, hours and money, before anything is started."""

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from service.cli import output, session
from service.cli.options import JsonOutput

if TYPE_CHECKING:
    from finetune.planning.hardware import PriceTable
    from finetune.planning.measured import Measured
    from finetune.planning.memory import Memory
    from finetune.planning.shapes import ModelShape
    from finetune.planning.strategies import Asking, Need, Situation, StrategyPlan, Training


def plan(
    ctx: typer.Context,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A folder with a config.json, a cached model, or one of the table; the profile's when left out.",
        ),
    ] = None,
    domain_tokens: Annotated[
        int, typer.Option("--domain-tokens", metavar="N", min=1, help="Tokens of your documents.")
    ] = 1_000_000,
    examples: Annotated[
        int, typer.Option("--examples", metavar="N", min=1, help="Domain questions with answers, for SFT.")
    ] = 1000,
    prompt_tokens: Annotated[
        int,
        typer.Option("--prompt-tokens", metavar="N", min=1, help="Of an example's prompt, and retrieved a question."),
    ] = 1500,
    answer_tokens: Annotated[int, typer.Option("--answer-tokens", metavar="N", min=1, help="Of an answer.")] = 200,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", min=1, help="Passes of SFT.")] = 3,
    gpu: Annotated[str, typer.Option("--gpu", metavar="CARD", help="A card of the price table.")] = "a100-80",
    cards: Annotated[
        int | None,
        typer.Option("--cards", metavar="N", min=1, help="Cards that are there; as many as it takes when left out."),
    ] = None,
    days: Annotated[
        float, typer.Option("--days", metavar="N", min=0.01, help="In which a training should be done.")
    ] = 30,
    utilisation: Annotated[
        float,
        typer.Option("--utilisation", metavar="SHARE", min=0.01, max=1, help="Share of a card's peak that is kept up."),
    ] = 0.4,
    batch_tokens: Annotated[
        int, typer.Option("--batch-tokens", metavar="N", min=1, help="Of a micro-batch on one card.")
    ] = 4096,
    rank: Annotated[int, typer.Option("--rank", metavar="N", min=1, help="Of LoRA, on every linear module.")] = 16,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, help="Answers written at the same time.")
    ] = 8,
    prices: Annotated[
        Path | None, typer.Option("--prices", metavar="FILE", help="Your cards and prices, laid over the table.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="RUN", help="An evaluation's run folder: what it measured stands beside."),
    ] = None,
    case: Annotated[
        str | None,
        typer.Option("--case", metavar="NAME", help="Explain a known case instead: gpt-3 or lora-7b."),
    ] = None,
    as_json: JsonOutput = False,
) -> None:
    """Say what each strategy needs: data, memory, hours, money.

    Estimates by published formulas, without loading a model: pretraining from scratch, continued pretraining, SFT,
    retrieval and in-context. How well each one answers is measured by `domainqa eval`.
    """
    from finetune.planning import strategies
    from finetune.planning.hardware import read_prices
    from finetune.planning.measured import read_measured

    table = read_prices(prices)
    if case is not None:
        _explain(case, table, as_json)
        return
    measured = read_measured(report) if report is not None else None
    situation = strategies.Situation(
        shape=_shape(session.of(ctx), model),
        gpu=table.gpu(gpu),
        utilisation=utilisation,
        domain_tokens=domain_tokens,
        sft_examples=examples,
        prompt_tokens=prompt_tokens,
        answer_tokens=answer_tokens,
        epochs=epochs,
        batch_tokens=batch_tokens,
        rank=rank,
        days=days,
        cards=cards,
        concurrency=concurrency,
    )
    plans = strategies.plan(situation)
    if as_json:
        output.print_json(_as_json(situation, table, plans, measured))
    else:
        _print(situation, table, plans, measured)


def _shape(own: session.Session, model: str | None) -> "ModelShape":
    """Nothing is fetched: a plan for seventy billion parameters must not download them."""
    from finetune.planning.shapes import known_shape, read_shape
    from rag import models

    reference = own.settings().generation.model if model is None else model
    folder = models.cached(reference, models.default_cache())
    return known_shape(reference) if folder is None else read_shape(folder, reference)


def _explain(name: str, table: "PriceTable", as_json: bool) -> None:
    from finetune.planning.cases import case

    found = case(name, table)
    if as_json:
        figures: dict[str, output.Json] = {**found.figures}
        shown: dict[str, output.Json] = {"case": found.name, "question": found.question, "figures": figures}
        output.print_json({**shown, "told": found.told})
        return
    output.print_text(Text(found.question, style="bold"))
    for line in found.told:
        _indented(line)


# --- for people ---------------------------------------------------------------------------------


def _print(
    situation: "Situation", table: "PriceTable", plans: "tuple[StrategyPlan, ...]", measured: "Measured | None"
) -> None:
    shape, gpu = situation.shape, situation.gpu
    price = "no price known: give yours with --prices"
    if gpu.price_per_hour is not None:
        price = f"{gpu.price_per_hour:g} {table.currency} an hour ({table.as_of})"
    output.print_text(f"{shape.name}: {_count(shape.parameters)} parameters, window {shape.window:,} tokens")
    output.print_text(f"{gpu.name}: {price}; planned at {situation.utilisation:.0%} of its {gpu.bf16_tflops:g} TF")
    if measured is not None:
        output.print_text(f"measured: {measured.verdict}")
    for each in plans:
        output.print_text()
        output.print_text(Text(each.name, style="bold"))
        for need in each.needs:
            _indented(f"needs {need.what}: {_amount(need)} ({need.why})")
        if each.obstacle is not None:
            _indented(f"cannot be done: {each.obstacle}")
        if each.trainings:
            output.print_table(_COLUMNS, [_row(training, table) for training in each.trainings], numbers=_COLUMNS[1:])
        if each.asking is not None:
            _indented(_asking(each.asking, table))
        for note in each.notes:
            _indented(note)
        _print_measured(each, measured)


_COLUMNS = (
    "training",
    "tokens",
    "operations",
    "weights GB",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "cards",
    "card hours",
    "time",
    "money",
)


def _row(training: "Training", table: "PriceTable") -> tuple[str, ...]:
    memory = training.memory
    method = training.method + (" + checkpointing" if training.checkpointing else "")
    parts = (memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.logits)
    if training.days is None:
        left = ("does not fit" if training.cards is None else f"{training.cards} needed", _short(training.gpu_hours))
        return (f"  {method}", _count(training.tokens), f"{training.flops:.1e}", *map(_gb, parts), *left, "-", "-")
    money = "-" if training.money is None else f"{_short(training.money)} {table.currency}"
    left = (str(training.cards), _short(training.gpu_hours))
    figures = (_count(training.tokens), f"{training.flops:.1e}", *map(_gb, parts))
    return (f"  {method}", *figures, *left, _time(training.days), money)


def _asking(asking: "Asking", table: "PriceTable") -> str:
    memory = asking.memory
    told = (
        f"asking: prompts of {asking.prompt_tokens:,} tokens; {_gb(memory.weights)} GB of weights and "
        f"{_gb(memory.kv_cache)} GB of KV cache on {asking.cards} card{'s' if asking.cards > 1 else ''}; "
        f"{asking.gpu_seconds:.2g} card seconds a question"
    )
    if asking.cached_gpu_seconds is not None:
        told += f", {asking.cached_gpu_seconds:.2g} while the documents are in the prefix cache"
    if asking.money_per_1000 is not None:
        told += f"; {_short(asking.money_per_1000)} {table.currency} for 1,000 questions"
    return told


def _print_measured(each: "StrategyPlan", measured: "Measured | None") -> None:
    if measured is None:
        return
    arms = measured.of(each.name)
    if not arms:
        _indented("not measured")
    for arm in arms:
        told = f"measured {arm.arm}: {measured.primary_metric} {arm.estimate:.3f}, {arm.low:.3f} to {arm.high:.3f}"
        base = measured.baseline
        _indented(told if base is None else f"{told} (base {base.estimate:.3f})")


def _indented(text: str) -> None:
    width = output.stdout().width
    output.print_text(textwrap.fill(output.one_line(text), width, initial_indent="  ", subsequent_indent="  "))


def _amount(need: "Need") -> str:
    least = f"{_gb(need.least)} GB" if need.unit == "bytes" else f"{_count(need.least)} {need.unit}"
    return least if need.most is None else f"{_count(need.least)} to {_count(need.most)} {need.unit}"


def _count(number: float) -> str:
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:,.0f}"


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f}" if count >= 0.05e9 or count == 0 else f"{count / 1e9:.2g}"


def _time(days: float) -> str:
    for length, name in ((1.0, "days"), (1 / 24, "hours"), (1 / 1440, "minutes")):
        if days >= 2 * length:
            return f"{days / length:.3g} {name}"
    return f"{days * 86400:.2g} seconds"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


# --- for programs -------------------------------------------------------------------------------


def _as_json(
    situation: "Situation", table: "PriceTable", plans: "tuple[StrategyPlan, ...]", measured: "Measured | None"
) -> dict[str, output.Json]:
    shape = situation.shape
    settings = {key: value for key, value in asdict(situation).items() if key not in ("shape", "gpu")}
    return {
        "model": {**asdict(shape), "parameters": shape.parameters},
        "gpu": situation.gpu.model_dump(),
        "prices": {"as_of": table.as_of, "currency": table.currency},
        "settings": settings,
        "verdict": None if measured is None else measured.verdict,
        "strategies": [
            {
                "name": each.name,
                "obstacle": each.obstacle,
                "needs": [asdict(need) for need in each.needs],
                "trainings": [{**asdict(training), "memory": _memory(training.memory)} for training in each.trainings],
                "asking": None
                if each.asking is None
                else {**asdict(each.asking), "memory": _memory(each.asking.memory)},
                "notes": list(each.notes),
                "measured": [] if measured is None else [asdict(arm) for arm in measured.of(each.name)],
            }
            for each in plans
        ],
    }


def _memory(memory: "Memory") -> dict[str, output.Json]:
    return {**asdict(memory), "total": memory.total}

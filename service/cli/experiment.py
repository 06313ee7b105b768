"""``domainqa eval run`` and ``report``: arms side by side on the same questions, and what came of it."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import output, session
from service.cli.options import Collection, JsonOutput
from service.cli.progress import CountDisplay

if TYPE_CHECKING:
    from rag.build import Library
    from rag.evaluation.arms import ArmSpec
    from rag.evaluation.asking import Pace, Progress
    from rag.evaluation.records import ArmRecord, Contrast, Prices, RunRecord
    from rag.evaluation.running import Chosen
    from rag.types import AdapterManifest

_MINUTE_S = 60.0


def run(
    ctx: typer.Context,
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS", help="JSONL, a question a line.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the run is kept.")],
    strategies: Annotated[
        str,
        typer.Option(
            "--strategies",
            "-s",
            metavar="ARMS",
            help="The arms, with commas: base, base-few-shot, extractive, stuffed, rag, sft, cpt, rag+sft, oracle, "
            "router, and those of --arms.",
        ),
    ] = "base,extractive,stuffed,rag,router",
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            metavar="[ARM=]NAME",
            help="An adapter and the arm it answers in; its kind tells the arm when left out. May be given several "
            "times.",
        ),
    ] = None,
    arms: Annotated[Path | None, typer.Option("--arms", metavar="FILE", help="TOML with arms of your own.")] = None,
    collection: Collection = "default",
    split: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="NAME", help="Only the questions of this split; may be given several times."),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option("--language", metavar="CODE", help="Only questions in this language; may be given several times."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="So many of the questions, evenly spaced.")
    ] = None,
    primary: Annotated[
        str, typer.Option("--primary", metavar="METRIC", help="What the verdict is about, named before asking.")
    ] = "correct",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of sampling, examples and tests.")] = 0,
    prices: Annotated[
        Path | None, typer.Option("--prices", metavar="FILE", help="TOML: what tokens and the machine's time cost.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", metavar="N", min=1, help="Questions under way at once; generation.concurrency when unset."
        ),
    ] = None,
    alone: Annotated[
        int,
        typer.Option(
            "--latency-sample", metavar="N", min=0, help="Questions of each arm that are timed one at a time, first."
        ),
    ] = 8,
    patience: Annotated[
        float,
        typer.Option("--patience", metavar="SECONDS", min=0, help="How long an engine that is gone is waited for."),
    ] = 600.0,
    transductive: Annotated[
        bool,
        typer.Option("--transductive", help="Adapters may know the facts that are asked for; the report says so."),
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """Ask several strategies the same questions, and report which one your documents need.

    A run that was interrupted goes on where it stopped when the same command is given again; nothing is asked twice
    but what the engine failed at.
    """
    from rag.evaluation.arms import planned_contrasts, read_arms, resolve_arms
    from rag.evaluation.asking import Pace
    from rag.evaluation.costs import read_prices
    from rag.evaluation.records import Prices
    from rag.evaluation.running import choose

    own = session.of(ctx)
    chosen = choose(questions, split or (), language or (), limit)
    written: dict[str, ArmSpec] = read_arms(arms) if arms is not None else {}
    named = [name.strip() for name in strategies.split(",") if name.strip()]
    resolved = resolve_arms(named, adapter or (), written, lambda name: _manifest(own, name))
    contrasts = planned_contrasts(resolved, written)
    table = read_prices(prices) if prices is not None else Prices()
    generates = any(arm.strategy != "extractive" for arm in resolved)
    engine = own.running_engine()
    if engine is not None and generates:
        engine.endpoint()  # where none runs, that is told before models are loaded
    own.provide(embedder=True, chat=generates and engine is None)
    pace = Pace(concurrency or own.settings().generation.concurrency, alone, patience)
    begun = asyncio.run(
        _run(own, chosen, out, collection, resolved, contrasts, primary, seed, table, transductive, pace, generates)
    )
    _report(out, chosen, begun, as_json)


async def _run(
    own: session.Session,
    chosen: "Chosen",
    out: Path,
    collection: str,
    arms: "tuple[ArmRecord, ...]",
    contrasts: "tuple[Contrast, ...]",
    primary: str,
    seed: int,
    prices: "Prices",
    transductive: bool,
    pace: "Pace",
    generates: bool,
) -> "RunRecord":
    from rag.evaluation.running import carry_out, describe

    with CountDisplay("answers") as display:
        library = own.open(display.note)

        def show(progress: "Progress") -> None:
            display.update(progress.done, progress.total, _told(progress, prices.currency))

        try:
            described = describe(
                library,
                chosen,
                out,
                collection,
                arms,
                contrasts,
                primary=primary,
                seed=seed,
                prices=prices,
                transductive=transductive,
            )
            await asyncio.to_thread(_warm_up, library, generates)
            return await carry_out(library, described, chosen, out, pace, show, output.note)
        finally:
            await library.aclose()


def _warm_up(library: "Library", generates: bool) -> None:
    """Models are loaded before the first question is timed."""
    library.embedder()
    library.reranker()
    if generates:
        library.chat_model()


def _told(progress: "Progress", currency: str) -> str:
    parts = [progress.arm]
    if progress.faults:
        parts.append(f"{progress.faults} engine faults")
    parts.append(f"{progress.cost:.4f} {currency} so far")
    if progress.left_s is not None:
        minutes = progress.left_s / _MINUTE_S
        parts.append(f"about {minutes:.0f} min left" if minutes >= 2 else f"about {progress.left_s:.0f} s left")
    return ", ".join(parts)


def _manifest(own: session.Session, name: str) -> "AdapterManifest | None":
    from finetune.adapters import AdapterRegistry

    registry = AdapterRegistry(own.home_folder())
    found = registry.resolve(name)
    return None if found is None else registry.get(found)


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a run.")],
    questions: Annotated[Path, typer.Option("--questions", metavar="FILE", help="The questions that it asked.")],
    as_json: JsonOutput = False,
) -> None:
    """Write a run's report again, from its answers' scores. Asks nobody anything."""
    from rag.evaluation.records import read_run
    from rag.evaluation.running import chosen_of

    begun = read_run(run_folder)
    _report(run_folder, chosen_of(begun, questions), begun, as_json)


def _report(folder: Path, chosen: "Chosen", begun: "RunRecord", as_json: bool) -> None:
    from rag.evaluation.reporting import JSON, write_reports

    written = write_reports(folder, begun, chosen.asked)
    if as_json:
        output.print_json(json.loads((folder / JSON).read_text("utf-8")))
        return
    for sentence in written.verdicts:
        output.print_text(sentence)
    output.print_table(written.columns, written.rows, written.columns[1:])
    output.note(f"the report: {folder / 'report.html'}, and report.md and report.json beside it")

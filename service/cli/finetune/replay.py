"""``domainqa finetune replay``: the base model's own answers to general prompts, as general training data."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import output, session
from service.cli.options import JsonOutput
from service.cli.progress import CountDisplay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetune.replay import Replayed, ReplayPrompt
    from rag.types import Sampling


def replay(
    ctx: typer.Context,
    prompts: Annotated[
        Path,
        typer.Option("--prompts", metavar="FILE", help="JSONL: id, family and prompt; data/general/prompts.jsonl."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the examples are written, JSONL.")],
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=1, help="The longest answer; a longer one is left out.")
    ] = 320,
    temperature: Annotated[
        float,
        typer.Option("--temperature", metavar="T", min=0, max=2, help="0 is greedy: the same answers every time."),
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the drawing, above temperature 0.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first prompts.")] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", metavar="N", min=1, help="Requests at a time.")] = 8,
    as_json: JsonOutput = False,
) -> None:
    """Let the model answer general prompts, to learn its own answers again beside the domain's data.

    A run that was stopped goes on where it was: the replies are kept beside the output.
    """
    from finetune.examples import write_examples
    from finetune.replay import read_prompts
    from rag.errors import UsageError
    from rag.types import Sampling

    chosen = read_prompts(prompts)[:limit]
    own = session.of(ctx)
    own.provide(embedder=False, chat=own.running_engine() is None)
    sampling = Sampling(max_tokens, temperature, seed=seed if temperature > 0 else None)
    replayed = asyncio.run(_replay(own, chosen, sampling, out, concurrency))
    told = ", ".join(f"{count} {reason}" for reason, count in replayed.rejected.items()) or "none"
    if not replayed.examples:
        raise UsageError(f"none of {len(chosen)} answers can be used ({told}); {out} was not written")
    write_examples(out, replayed.examples)
    if as_json:
        output.print_json(
            {
                "out": str(out),
                "prompts": len(chosen),
                "examples": len(replayed.examples),
                "rejected": dict(replayed.rejected),
            }
        )
    else:
        output.print_text(f"{len(replayed.examples)} of {len(chosen)} answers in {out}")
        output.note(f"left out: {told}")


async def _replay(
    own: session.Session, prompts: "Sequence[ReplayPrompt]", sampling: "Sampling", out: Path, concurrency: int
) -> "Replayed":
    from finetune.replay import replay

    with CountDisplay("answers") as display:
        library = own.open(display.note)
        try:
            return await replay(
                library.chat_model(),
                prompts,
                sampling,
                out.with_name(f"{out.name}.answers.jsonl"),
                concurrency=concurrency,
                progress=lambda update: display.update(update.done + update.failed, update.total),
            )
        finally:
            await library.aclose()

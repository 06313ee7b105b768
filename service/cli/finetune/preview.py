"""``domainqa finetune preview``: a few examples as the model will see them, and which tokens it learns."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from rag.errors import UsageError
from service.cli import output, session
from service.cli.finetune import encoder
from service.cli.options import JsonOutput

if TYPE_CHECKING:
    from finetune.examples import TrainingExample
    from finetune.previewing import Shown

_OPEN, _CLOSE = "⟦", "⟧"


def preview(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="PATH", help="A mix's folder, or a file of examples.")],
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many examples to show.")] = 3,
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="Show this example only.")] = None,
    model: encoder.Model = None,
    max_tokens: encoder.MaxTokens = encoder.DEFAULT_MAX_TOKENS,
    as_json: JsonOutput = False,
) -> None:
    """Show examples with the tokens that are learnt marked.

    What is learnt is green on a terminal and stands between marks elsewhere; the rest is read and not learnt.
    """
    from finetune.mixing import read_manifest
    from finetune.previewing import show

    if source.is_dir():
        options = read_manifest(source).options
        model = options.model if model is None else model
        max_tokens = options.max_tokens
    examples = list(islice((each for each in _examples(source) if id is None or each.id == id), limit))
    if not examples:
        raise UsageError(f"{source} holds no example" + (f" with the id {id!r}" if id is not None else ""))
    loaded = encoder.load(session.of(ctx), model, max_tokens)
    shown = [show(loaded.encoder.encode(each), loaded.decode) for each in examples]
    if as_json:
        output.print_json([_as_json(each) for each in shown])
        return
    for each in shown:
        _print(each)


def _examples(source: Path) -> "Iterator[TrainingExample]":
    from finetune.examples import read_examples
    from finetune.mixing import TRAIN

    return read_examples(source / TRAIN if source.is_dir() else source)


def _print(shown: "Shown") -> None:
    encoded = shown.encoded
    console = output.stdout()
    console.print(
        Text(
            f"{output.name(encoded.id)}: {encoded.family}, source {output.name(encoded.source)}, weight "
            f"{encoded.weight:g}, {encoded.supervised_tokens} of {len(encoded.input_ids)} tokens are learnt",
            style="bold",
        )
    )
    text = Text()
    for run in shown.runs:
        words = output.printable(run.text)
        if console.is_terminal and not console.no_color:
            text.append(words, style="green" if run.learnt else "dim")
        else:
            text.append(f"{_OPEN}{words}{_CLOSE}" if run.learnt else words)
    console.print(text, soft_wrap=True)
    console.print()


def _as_json(shown: "Shown") -> dict[str, output.Json]:
    encoded = shown.encoded
    return {
        "id": encoded.id,
        "family": encoded.family,
        "source": encoded.source,
        "group": encoded.group,
        "weight": encoded.weight,
        "tokens": len(encoded.input_ids),
        "supervised_tokens": encoded.supervised_tokens,
        "runs": [{"text": run.text, "tokens": run.tokens, "learnt": run.learnt} for run in shown.runs],
    }

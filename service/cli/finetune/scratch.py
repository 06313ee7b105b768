"""``domainqa finetune scratch``: what pretraining begins from, a tokenizer and a configuration."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli import output
from service.cli.options import JsonOutput


def scratch(
    examples: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Training examples with raw text, whose tokens are learnt.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where both are written.")],
    vocabulary: Annotated[int, typer.Option("--vocabulary", metavar="N", min=300, help="Tokens at most.")] = 8192,
    width: Annotated[int, typer.Option("--width", metavar="N", min=32, help="Of the model; a multiple of 32.")] = 128,
    layers: Annotated[int, typer.Option("--layers", metavar="N", min=1, help="Of the model.")] = 4,
    as_json: JsonOutput = False,
) -> None:
    """Make a tokenizer and the configuration of a small model to pretrain.

    Give the folder as --model to `mix` (objective cpt) and to `train` (objective pretrain).
    """
    from finetune.examples import read_examples
    from finetune.scratch import make_scratch

    texts = (example.text for path in examples for example in read_examples(path) if example.text is not None)
    count = make_scratch(out.expanduser(), texts, vocabulary=vocabulary, width=width, layers=layers)
    if as_json:
        output.print_json({"folder": str(out), "parameters": count})
    else:
        output.print_text(f"{out}: a model of {count / 1e6:.2f} million parameters")

"""The encoder that a command counts and shows tokens with: the tokenizer of the model that will be trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from service.cli import session

if TYPE_CHECKING:  # both bring transformers
    from finetune.encoding import Encoder
    from finetune.previewing import Decode


class Loaded(NamedTuple):
    encoder: "Encoder"
    decode: "Decode"
    reference: str


Model = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="The model that will be trained; the profile's when left out."),
]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", metavar="N", min=1, help="Longer examples are left out, and counted.")
]
DEFAULT_MAX_TOKENS = 1024


def load(own: session.Session, model: str | None, max_tokens: int) -> Loaded:
    """The encoder of a model that is fetched where it is missing, and the way back from ids to text."""
    from finetune.encoding import Encoder
    from rag import models
    from rag.generation.tokens import load_tokenizer

    reference = own.settings().generation.model if model is None else model
    own.provide_models([reference], own.is_offline())
    tokenizer = load_tokenizer(models.resolve(reference, models.default_cache()), reference)

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=False))

    return Loaded(Encoder(tokenizer, max_tokens=max_tokens), decode, reference)

"""A decoder's dimensions from its ``config.json``, and the parameters that they make."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from rag.errors import ModelError, NotFoundError, NotSupportedError

_TABLE = Path(__file__).with_name("models.toml")

_GATED = ("llama", "mistral", "qwen2", "qwen3", "phi3")
"""RMS norms, no biases unless said, and three matrices in the feed-forward part."""
_PLAIN = ("gpt2",)
"""Layer norms, biases everywhere, two matrices, learned positions."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    vocabulary: int
    window: int
    """Tokens that the model may read at once."""
    gated: bool
    tied: bool
    qkv_bias: bool = False
    head_norms: bool = False
    """RMS norms of queries and keys."""

    @property
    def query_size(self) -> int:
        return self.heads * self.head_size

    @property
    def kv_size(self) -> int:
        """Numbers in a token's keys, and again in its values, of one layer."""
        return self.kv_heads * self.head_size

    def linears(self) -> Iterator[tuple[int, int]]:
        """(inputs, outputs) of the linear modules of one layer."""
        yield from ((self.hidden, self.query_size), (self.hidden, self.kv_size), (self.hidden, self.kv_size))
        yield self.query_size, self.hidden
        yield from [(self.hidden, self.inner)] * (2 if self.gated else 1)
        yield self.inner, self.hidden

    @property
    def linear_parameters(self) -> int:
        """Weights of all layers' linear modules: what is quantised, and what adapters are put on."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears())

    @property
    def embedding_parameters(self) -> int:
        """Of tokens, in and out; one matrix where they are tied."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        norms = 2 * self.hidden
        if self.gated:
            biases = (self.query_size + 2 * self.kv_size) if self.qkv_bias else 0
            biases += 2 * self.head_size if self.head_norms else 0
            last = self.hidden
        else:
            norms *= 2
            biases = sum(outputs for _, outputs in self.linears())
            last = 2 * self.hidden + self.window * self.hidden
        return self.linear_parameters + self.layers * (norms + biases) + self.embedding_parameters + last

    @property
    def multiplied_parameters(self) -> int:
        """Those that each token is multiplied with: all but the table that token ids are looked up in."""
        return self.linear_parameters + self.vocabulary * self.hidden

    def adapter_parameters(self, rank: int) -> int:
        """LoRA on every linear module: a matrix of inputs x rank and one of rank x outputs (Hu et al. 2021)."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.linears())


class _Config(BaseModel):
    """The keys of ``config.json`` that make a shape; families name them differently."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: str
    hidden: int = Field(ge=1, validation_alias=AliasChoices("hidden_size", "n_embd"))
    layers: int = Field(ge=1, validation_alias=AliasChoices("num_hidden_layers", "n_layer"))
    heads: int = Field(ge=1, validation_alias=AliasChoices("num_attention_heads", "n_head"))
    kv_heads: int | None = Field(None, ge=1, validation_alias="num_key_value_heads")
    head_size: int | None = Field(None, ge=1, validation_alias="head_dim")
    inner: int | None = Field(None, ge=1, validation_alias=AliasChoices("intermediate_size", "n_inner"))
    vocabulary: int = Field(ge=1, validation_alias="vocab_size")
    window: int = Field(ge=1, validation_alias=AliasChoices("max_position_embeddings", "n_positions"))
    tied: bool | None = Field(None, validation_alias="tie_word_embeddings")
    attention_bias: bool = False


def read_shape(folder: Path, name: str) -> ModelShape:
    """The shape of the model in ``folder``, called ``name``.

    Raises ``ModelError`` for a folder without a readable configuration, ``NotSupportedError`` for its family."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
        return _shape(name, config)
    except (OSError, ValueError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ModelError(f"{path} does not tell a model's shape: {reason}") from error


def known_shapes() -> tuple[ModelShape, ...]:
    """The shipped table, smallest first."""
    return tuple(sorted({id(each): each for each in _table().values()}.values(), key=lambda each: each.parameters))


def known_shape(name: str) -> ModelShape:
    """By name or alias, with or without its owner, in any case. Raises ``NotFoundError`` naming what there is."""
    shape = _table().get(name.rpartition("/")[2].casefold())
    if shape is None:
        names = ", ".join(each.name for each in known_shapes())
        raise NotFoundError(
            f"there is no model {name!r} on this disk or in the table; name a folder with a config.json, "
            f"or one of: {names}"
        )
    return shape


def _table() -> Mapping[str, ModelShape]:
    found = {}
    for name, entry in tomllib.loads(_TABLE.read_text("utf-8")).items():
        shape = _shape(name, entry)
        for each in (name, *entry.get("aliases", ())):
            found[each.casefold()] = shape
    return found


def _shape(name: str, config: object) -> ModelShape:
    read = _Config.model_validate(config)
    if read.model_type not in (*_GATED, *_PLAIN):
        raise NotSupportedError(
            f"the parameters of a {read.model_type} model cannot be counted from its config.json (only those of "
            f"{', '.join((*_GATED, *_PLAIN))}); name a model of the table that is near it in size"
        )
    plain = read.model_type in _PLAIN
    if read.inner is None and not plain:
        raise ModelError(f"the config.json of {name} does not say its intermediate_size")
    return ModelShape(
        name=name,
        layers=read.layers,
        hidden=read.hidden,
        heads=read.heads,
        kv_heads=read.kv_heads or read.heads,
        head_size=read.head_size or read.hidden // read.heads,
        inner=read.inner or 4 * read.hidden,
        vocabulary=read.vocabulary,
        window=read.window,
        gated=not plain,
        tied=plain if read.tied is None else read.tied,
        qkv_bias=read.attention_bias or read.model_type == "qwen2",
        head_norms=read.model_type == "qwen3",
    )

"""TOML, profile and environment to one frozen object; each step is passed its own section.

Order, later wins: defaults in this file, the profile, ``domainqa.toml``, environment variables named
``DOMAINQA_<SECTION>__<KEY>``. Unknown keys are refused. Nothing is read at import and nothing is global.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rag.errors import ConfigError

CONFIG_FILE = "domainqa.toml"
DEFAULT_PROFILE = "starter"


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EmbeddingSettings(_Settings):
    model: str = "all-MiniLM-L6-v2"
    """A hub id, a local folder, or a name from the table of pinned wheels (`domainqa models list`)."""
    query_prefix: str = ""
    document_prefix: str = ""
    batch_size: int = Field(default=32, ge=1)
    device: str | None = None
    """A torch device; the best one there is when unset."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes the model was trained on; every language when empty. The dense channel has no say in
    questions in another language."""


class ChunkingSettings(_Settings):
    max_tokens: int | None = Field(default=None, ge=32)
    """Tokens of context and text together, by the embedder's tokenizer; its whole window when unset."""
    overlap_tokens: int = Field(default=0, ge=0)
    context_share: float = Field(default=0.25, gt=0, le=0.5)
    """At most this share of a chunk's tokens may be context."""


class RetrievalSettings(_Settings):
    top_k: int = Field(default=8, ge=1, le=200)
    candidates: int = Field(default=100, ge=1, le=1000)
    """Candidates per channel. Apart from ``top_k``, so that asking for more never reorders the first ones."""
    fusion: Literal["convex", "rrf"] = "convex"
    dense_weight: float = Field(default=0.4, ge=0, le=1)
    """Weight of the dense channel in the convex combination; the lexical one has the rest."""
    rrf_k: int = Field(default=60, ge=1)


class PackingSettings(_Settings):
    max_evidence_tokens: int = Field(default=1500, ge=50)
    """In the served model's tokens; less where the window is smaller."""
    order: Literal["document", "score"] = "document"
    max_stuffed_tokens: int | None = Field(default=None, ge=50)
    """For the stuffed strategy; the whole window when unset."""


class GenerationSettings(_Settings):
    engine: Literal["local", "openai"] = "local"
    """`local`: transformers in this process. `openai`: any OpenAI-compatible server at `base_url`."""
    model: str = "SmolLM2-135M-Instruct"
    base_url: str | None = None
    api_key_env: str = "DOMAINQA_ENGINE_API_KEY"
    """Name of the environment variable that holds the engine's key; the key itself is never in a file."""
    window: int | None = Field(default=None, ge=256)
    """Tokens of prompt and answer; read from the model when unset."""
    max_answer_tokens: int = Field(default=256, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)
    seed: int = 0
    timeout_s: float = Field(default=120.0, gt=0)
    retries: int = Field(default=2, ge=0)
    """Further tries of a request that failed before its first token."""
    concurrency: int = Field(default=1, ge=1)
    max_queue: int = Field(default=16, ge=0)
    """Requests that may wait for a place; the next one is told that the engine is busy."""
    device: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 on a GPU that has it, else float32."""
    adapters: dict[str, str] = Field(default_factory=dict)
    """Name to folder of peft adapters; a server knows its adapters by name alone."""

    @model_validator(mode="after")
    def _needs_url(self) -> "GenerationSettings":
        if self.engine == "openai" and self.base_url is None:
            raise ValueError("generation.engine is 'openai' but generation.base_url is not set")
        if self.engine == "local" and self.base_url is not None:
            raise ValueError("generation.base_url is set but generation.engine is 'local'")
        return self


class AnsweringSettings(_Settings):
    strategy: Literal["base", "extractive", "stuffed", "rag"] = "rag"
    unsupported: Literal["mark", "extract"] = "mark"
    """What becomes of a generated answer that its evidence doesn't support. `mark`: it is streamed and
    marked in the last chunk. `extract`: it is held back, and the best verbatim sentences stand in."""
    min_evidence: float = Field(default=0.3, ge=0, le=1)
    """Gate A: below this evidence score the documents don't say."""
    min_evidence_lexical: float = Field(default=0.2, ge=0, le=1)
    """The same for hits that only the lexical channel found, whose score is lower."""
    max_sentences: int = Field(default=2, ge=1)
    """Sentences of an extractive answer."""


class ServerSettings(_Settings):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    threads: int = Field(default=4, ge=1)
    """Threads for retrieval, packing and citing."""


class Settings(_Settings):
    """The whole resolved configuration."""

    profile: str = DEFAULT_PROFILE
    embedding: EmbeddingSettings = EmbeddingSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    packing: PackingSettings = PackingSettings()
    generation: GenerationSettings = GenerationSettings()
    answering: AnsweringSettings = AnsweringSettings()
    server: ServerSettings = ServerSettings()


def default_home() -> Path:
    """``DOMAINQA_HOME``, else ``~/.domainqa``."""
    return Path(os.environ.get("DOMAINQA_HOME") or "~/.domainqa").expanduser()


def profiles_folder() -> Path:
    """Where the shipped profiles lie: in the package when installed, in ``data/`` in a checkout."""
    installed = Path(__file__).parent / "profiles"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "data" / "profiles"


def profile_names() -> list[str]:
    return sorted(path.stem for path in profiles_folder().glob("*.toml"))


def load_settings(
    home: Path,
    *,
    config: Path | None = None,
    profile: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Resolve the settings. ``config`` defaults to ``domainqa.toml`` in ``home``, which need not exist.

    Raises ``ConfigError`` naming the file, the key and what is allowed.
    """
    environment = os.environ if environment is None else environment
    path = config or home / CONFIG_FILE
    if config is not None and not config.is_file():
        raise ConfigError(f"there is no configuration file {config}")
    from_file = _read_toml(path) if path.is_file() else {}
    name = profile or environment.get("DOMAINQA_PROFILE") or from_file.get("profile") or DEFAULT_PROFILE
    if name not in profile_names():
        raise ConfigError(f"there is no profile {name!r}; there are: {', '.join(profile_names())}")
    merged: dict[str, object] = {}
    for layer in (_read_toml(profiles_folder() / f"{name}.toml"), from_file, _from_environment(environment)):
        merged = _merge(merged, layer)
    merged["profile"] = name
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'settings'}: {e['msg']}" for e in error.errors()
        )
        raise ConfigError(f"the configuration ({path}, profile {name}) is wrong: {details}") from error


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """``DOMAINQA_SERVER__PORT=9000`` to ``{"server": {"port": "9000"}}``; pydantic makes the types."""
    sections: dict[str, object] = {}
    for key, value in environment.items():
        section, separator, name = key.removeprefix("DOMAINQA_").partition("__")
        if key.startswith("DOMAINQA_") and separator:
            entry = sections.setdefault(section.lower(), {})
            assert isinstance(entry, dict)
            entry[name.lower()] = value
    return sections


def _merge(base: Mapping[str, object], layer: Mapping[str, object]) -> dict[str, object]:
    merged = dict(base)
    for key, value in layer.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged

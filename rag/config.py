"""TOML, profile and environment to one frozen object; each step is passed its own section.

Order, later wins: defaults in this file, the profile, ``domainqa.toml``, environment variables named
``DOMAINQA_<SECTION>__<KEY>``. Unknown keys are refused. Nothing is read at import and nothing is global.
"""

import ipaddress
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from rag.errors import ConfigError
from rag.layers import DEFAULT_PROFILE, Layer, merged, read_layers


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


class ParsingSettings(_Settings):
    workers: int | None = Field(default=None, ge=0)
    """Processes that read files; half the cores, two at least and four at most, when unset. With 0 files are read in
    this process, and the two bounds below don't hold."""
    timeout_s: float = Field(default=120.0, gt=0)
    """For one file; then its process is ended and the file is reported."""
    memory_mb: int = Field(default=2048, ge=256)
    """For one file, and its process with it (about 150)."""
    ocr: bool = True
    """Read images and scanned pages with Tesseract, where it is installed; about a second a page."""


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
    fusion: Literal["sum", "rrf", "dense", "lexical"] = "sum"
    """`sum`: cosine plus BM25 score over `bm25_per_cosine`, of every candidate in both channels. `rrf`: reciprocal
    ranks. `dense`, `lexical`: one channel alone. On SciFact's train claims the sum has nDCG@10 .746, reciprocal ranks
    .720, on English questions to the sample corpus (dev) .880 and .809. A question that the embedder can't read goes to
    the lexical channel in any case."""
    bm25_per_cosine: float = Field(default=40.0, gt=0)
    """So many BM25 points weigh as much as a cosine of 1. Chosen for all-MiniLM-L6-v2: nDCG@10 on SciFact's train
    claims is .742 with 30, .746 with 40, 50 and 60; on the sample corpus's English questions (dev), full of part
    numbers, .887, .880, .872 and .870. An embedder whose cosines lie closer together needs more."""
    rrf_k: int = Field(default=60, ge=1)


class RerankingSettings(_Settings):
    """A cross-encoder that reads the question with each of the first hits and places them anew."""

    model: str | None = None
    """As for embedding.model; nothing is reranked when unset."""
    depth: int = Field(default=50, ge=1, le=1000)
    """So many of the fused hits are read, whatever `retrieval.top_k` asks for; those behind keep their order."""
    batch_size: int = Field(default=16, ge=1)
    max_tokens: int | None = Field(default=None, ge=16)
    """Of question and passage together; the model's own window when unset. What is longer is cut at its end."""
    device: str | None = None


class PackingSettings(_Settings):
    max_evidence_tokens: int = Field(default=1500, ge=50)
    """In the served model's tokens; less where the window is smaller."""
    order: Literal["document", "score", "edges", "best-document"] = "document"
    """Of the passages in the prompt: by source and place; best first; the best ones at both ends and the weakest in
    the middle; or the document with the best passage first and within it by place."""
    neighbours: float = Field(default=0.0, ge=0, le=0.5)
    """At most this share of the budget goes to chunks beside the found ones, in the same section."""
    max_stuffed_tokens: int | None = Field(default=None, ge=50)
    """For the stuffed strategy; the whole window when unset."""


class GenerationSettings(_Settings):
    engine: Literal["local", "openai", "vllm"] = "local"
    """`local`: transformers in this process. `openai`: an OpenAI-compatible server that already runs at `base_url`.
    `vllm`: a vLLM server that we start, watch and stop as the section `engine` says."""
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
    prefix_cache_mib: int = Field(default=256, ge=0)
    """For the local engine: memory that keeps what was read of the last prompts, so that one that begins alike, such
    as a conversation's next, is not read from its start. With 0 nothing is kept. A server has its own."""
    adapters: dict[str, str] = Field(default_factory=dict)
    """Name to folder of peft adapters; a server knows its adapters by name alone."""

    @model_validator(mode="after")
    def _needs_url(self) -> "GenerationSettings":
        if self.engine == "openai" and self.base_url is None:
            raise ValueError("generation.engine is 'openai' but generation.base_url is not set")
        if self.engine == "local" and self.base_url is not None:
            raise ValueError("generation.base_url is set but generation.engine is 'local'")
        if self.engine == "vllm":
            for name, instead in _DERIVED_FOR_VLLM.items():
                if name in self.model_fields_set and getattr(self, name) is not None:
                    raise ValueError(f"generation.{name} is set but generation.engine is 'vllm'; {instead}")
        return self


_DERIVED_FOR_VLLM = {
    "base_url": "its address is made of engine.host and engine.port",
    "api_key_env": "its key is made anew at each start",
    "dtype": "set engine.dtype",
    "device": "set CUDA_VISIBLE_DEVICES in engine.environment",
}


def _words(value: object) -> object:
    """A command line written as one string, as a shell would split it."""
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _whole_number(value: object) -> object:
    """The environment has only text, and pydantic takes no text for one of several numbers."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]

_TAKEN_FLAGS = {
    "--model": "generation.model",
    "--served-model-name": "generation.model",
    "--host": "engine.host",
    "--port": "engine.port",
    "--uds": "engine.host and engine.port",
    "--dtype": "engine.dtype",
    "--max-model-len": "engine.max_model_len",
    "--tensor-parallel-size": "engine.tensor_parallel",
    "-tp": "engine.tensor_parallel",
    "--gpu-memory-utilization": "engine.gpu_memory_share",
    "--enable-prefix-caching": "engine.prefix_caching",
    "--no-enable-prefix-caching": "engine.prefix_caching",
    "--enable-lora": "engine.lora",
    "--max-loras": "engine.max_loras",
    "--max-lora-rank": "engine.max_lora_rank",
    "--quantization": "engine.quantization",
    "-q": "engine.quantization",
    "--enforce-eager": "engine.eager",
}
"""vLLM's flags that have a setting of their own; given twice, one of the two would be ignored."""


class EngineSettings(_Settings):
    """The vLLM server that we start where generation.engine is `vllm`."""

    host: str = "127.0.0.1"
    """An address of this machine only."""
    port: int = Field(default=8100, ge=0, le=65535)
    """0 takes a free one at each start."""
    python: str | None = None
    """The interpreter of the environment that holds vLLM; `.venv-vllm/bin/python` in the working folder or the
    checkout, else this process's own where vLLM is installed with it."""
    command: Words = ()
    """A command to run in place of vLLM's server, as a list or as a shell would write it. It stands alone: of this
    section only host, port, environment and the supervision's settings hold for it. `{host}`, `{port}`, `{model}`
    (the folder) and `{name}` (what it must serve the model as) are filled in; the key is in VLLM_API_KEY."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: float32 on a CPU, bfloat16 on a GPU that has it, else float16."""
    max_model_len: int | None = Field(default=None, ge=256)
    """Tokens of prompt and answer; what the model was made for when unset."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that each layer is split over."""
    gpu_memory_share: float | None = Field(default=None, gt=0, le=1)
    """Of each GPU's memory, for weights, adapters, activations and KV cache together; vLLM's own when unset."""
    kv_cache_gib: int | None = Field(default=None, ge=1)
    """On a CPU: memory for the KV cache; vLLM's own when unset."""
    prefix_caching: bool = True
    lora: bool = True
    """Whether adapters can be served, and loaded while it runs."""
    max_loras: int = Field(default=2, ge=1)
    """Adapters in one batch; memory is reserved for each."""
    max_lora_rank: Annotated[Literal[1, 8, 16, 32, 64, 128, 256, 320, 512], BeforeValidator(_whole_number)] = 16
    quantization: str | None = None
    """As vLLM names them: fp8, awq, gptq, ...; read from the model when unset."""
    eager: bool = False
    """No compiled graphs: slower on a GPU, quicker to start."""
    extra_args: Words = ()
    """Further flags of vLLM's server."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables for the server's process, over those that it inherits."""
    start_timeout_s: float = Field(default=900.0, gt=0)
    """From its start to ready; the first start on a GPU compiles for minutes."""
    stop_timeout_s: float = Field(default=20.0, gt=0)
    """From SIGTERM to SIGKILL."""
    unresponsive_after_s: float = Field(default=120.0, gt=0)
    """A server that runs and does not answer for so long is killed and started again."""
    first_restart_wait_s: float = Field(default=1.0, gt=0)
    """After a death; twice as long after each further quick one."""
    longest_restart_wait_s: float = Field(default=60.0, gt=0)
    quick_death_s: float = Field(default=60.0, ge=0)
    """A server that died before it was ready, or within so long after, died quickly."""
    max_quick_deaths: int = Field(default=3, ge=1)
    """In a row; then we give up."""
    max_log_mb: float = Field(default=20.0, gt=0)
    """Of the server's output kept on disk, the current file and the one before it together."""

    @field_validator("host")
    @classmethod
    def _is_loopback(cls, host: str) -> str:
        try:
            loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError(
                f"{host!r} is not an address of this machine only; adapters can be loaded through the engine's port, "
                "so it listens on 127.0.0.1, ::1 or localhost"
            )
        return host

    @model_validator(mode="after")
    def _says_nothing_twice(self) -> "EngineSettings":
        if self.command and self.extra_args:
            raise ValueError("engine.command and engine.extra_args are both set; write the flags into the command")
        for argument in self.extra_args:
            flag = argument.partition("=")[0].replace("_", "-")
            if flag == "--api-key":
                raise ValueError("engine.extra_args holds --api-key; the engine's key is made at each start")
            if flag in _TAKEN_FLAGS:
                raise ValueError(f"engine.extra_args holds {flag}; set {_TAKEN_FLAGS[flag]}")
        if "VLLM_API_KEY" in self.environment:
            raise ValueError("engine.environment holds VLLM_API_KEY; the engine's key is made at each start")
        return self


class AnsweringSettings(_Settings):
    strategy: Literal["base", "extractive", "stuffed", "rag", "router"] = "rag"
    unsupported: Literal["mark", "extract"] = "mark"
    """What becomes of a generated answer that its evidence doesn't support. `mark`: it is streamed and
    marked in the last chunk. `extract`: it is held back, and the best verbatim sentences stand in."""
    min_probability: float | None = Field(default=None, ge=0, le=1)
    """Gate A: where it is less probable than this that the documents answer the question, they don't say. What the
    collection's calibration chose when unset; 0 refuses nothing that has a passage."""
    max_sentences: int = Field(default=2, ge=1)
    """Sentences of an extractive answer."""
    entailment_model: str | None = None
    """A cross-encoder for natural language inference that has the last word on whether a passage supports a sentence;
    without one it is told by comparing words, numbers, units, names and negations. Loaded when first needed."""
    min_entailment: float = Field(default=0.5, ge=0, le=1)
    """The least probability of entailment that counts as support."""
    rewriting: Literal["rules", "model"] = "rules"
    """How a follow-up becomes a question that stands alone. `rules`: with the questions before it. `model`: by the
    served model, held to a JSON schema; the rules stand in where the server can't or the model's text won't do."""


class ServerSettings(_Settings):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    log_format: Literal["text", "json"] = "text"
    """Of the lines on stderr while serving. `json`: one object a line, for a log collector."""
    log_requests: bool = True
    """A line for each request: method, route, status, time and id, never a word of what was asked."""
    threads: int = Field(default=4, ge=1)
    """Threads for retrieval, packing and citing."""
    max_concurrent_answers: int | None = Field(default=None, ge=1)
    """Answers under way at once; when unset the engine's places (`generation.concurrency`) and one for each of
    `threads`, so that retrieval keeps the engine fed."""
    max_waiting: int = Field(default=32, ge=0)
    """Questions that may wait for a place; the next one is refused with 429."""
    request_deadline_s: float = Field(default=180.0, gt=0)
    """From the question's arrival to the answer's end, waiting included."""
    drain_s: float = Field(default=10.0, ge=0)
    """After the signal to stop: how long running answers may take to end before they are cut."""
    circuit_failures: int = Field(default=5, ge=1)
    """So many failures of the engine within `circuit_window_s`, and no success among them, open the circuit."""
    circuit_window_s: float = Field(default=30.0, gt=0)
    circuit_open_s: float = Field(default=5.0, gt=0)
    """How long an open circuit refuses questions to the engine before it lets one through as a probe."""


class JobSettings(_Settings):
    """Uploads over HTTP, and the one process that ingests them."""

    max_file_mb: float = Field(default=100.0, gt=0)
    """Of one uploaded file; 413 beyond."""
    max_upload_mb: float = Field(default=500.0, gt=0)
    """Of all files of one upload together; 413 beyond."""
    max_files: int = Field(default=1000, ge=1)
    """In one upload; 413 beyond."""
    max_uploads: int = Field(default=4, ge=1)
    """Uploads received at once; 429 beyond."""
    max_queued: int = Field(default=32, ge=1)
    """Jobs of one tenant that may wait; 429 beyond."""
    threads: int = Field(default=1, ge=1)
    """Of the ingest process, for parsing and embedding: the rest of the machine answers questions."""
    files_per_turn: int = Field(default=32, ge=1)
    """Read before the next tenant has its turn. They are published together."""
    idle_s: float = Field(default=300.0, ge=0)
    """The ingest process ends, and gives back its memory, after so long without a job."""
    stalled_after_s: float = Field(default=900.0, gt=0)
    """A job without any progress for so long has its ingest process killed; the file it was at is to blame."""
    keep_days: float = Field(default=30.0, gt=0)
    """Ended jobs are forgotten after it."""


class ConversationSettings(_Settings):
    """Conversations that the server keeps."""

    retention_days: float | None = Field(default=None, gt=0)
    """Deleted so long after their last turn, at the start and once a day; kept until somebody deletes them when
    unset."""


class Settings(_Settings):
    """The whole resolved configuration."""

    profile: str = DEFAULT_PROFILE
    embedding: EmbeddingSettings = EmbeddingSettings()
    parsing: ParsingSettings = ParsingSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    reranking: RerankingSettings = RerankingSettings()
    packing: PackingSettings = PackingSettings()
    generation: GenerationSettings = GenerationSettings()
    answering: AnsweringSettings = AnsweringSettings()
    server: ServerSettings = ServerSettings()
    engine: EngineSettings = EngineSettings()
    jobs: JobSettings = JobSettings()
    conversations: ConversationSettings = ConversationSettings()

    @model_validator(mode="after")
    def _windows_agree(self) -> "Settings":
        window, served = self.generation.window, self.engine.max_model_len
        if self.generation.engine == "vllm" and window is not None and served is not None and window > served:
            raise ValueError(f"generation.window is {window} but engine.max_model_len is {served}")
        return self

    @model_validator(mode="after")
    def _hits_have_one_score(self) -> "Settings":
        depth, top_k = self.reranking.depth, self.retrieval.top_k
        if self.reranking.model is not None and depth < top_k:
            raise ValueError(
                f"reranking.depth is {depth} but retrieval.top_k is {top_k}; the hits of an answer need one score, so "
                "raise the depth or lower top_k"
            )
        return self


def default_home() -> Path:
    """``DOMAINQA_HOME``, else ``~/.domainqa``."""
    return Path(os.environ.get("DOMAINQA_HOME") or "~/.domainqa").expanduser()


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
    return settings_of(read_layers(home, config=config, profile=profile, environment=environment))


def settings_of(layers: Sequence[Layer]) -> Settings:
    """The layers over the defaults, checked."""
    profile, file = layers[0].where, layers[1].where
    try:
        return Settings.model_validate(merged(layers) | {"profile": profile})
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or 'settings'}: {e['msg']}" for e in error.errors()
        )
        raise ConfigError(f"the configuration ({file}, profile {profile}) is wrong: {details}") from error

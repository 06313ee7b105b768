"""What the client returns: frozen values with the names of the wire. Fields of a newer service are passed over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from service.client.failures import ServiceFailedError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Channel:
    """A hit in one channel: rank from 1, ``None`` if not among its candidates; its own score, and what that adds."""

    rank: int | None
    score: float
    normalised: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage: ``text`` is the span ``[start, end)`` of the document's text, in code points."""

    document: str
    document_id: str
    title: str
    page: int | None
    heading_path: tuple[str, ...]
    start: int
    end: int
    score: float
    score_name: str
    """Which score that is: `fused`, or `reranked`."""
    text: str
    channels: Mapping[str, Channel]


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of the answer, ``[answer_start, answer_end)``, tied to a verbatim span of a document."""

    marker: int
    number: int
    """The number to show to readers: 1 for the source that this answer uses first."""
    document: str
    document_id: str
    title: str
    page: int | None
    start: int
    end: int
    quote: str
    supported: bool
    """Whether the quote supports the sentence."""
    attributed: bool
    """The model gave no marker; the source was found afterwards."""
    answer_start: int
    answer_end: int
    recognised: bool
    """The quote was read from a picture of its page, by OCR, and may hold misread letters."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """A document that came close to a question which the documents don't answer."""

    document: str
    document_id: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that was shown to the model, under its number."""

    number: int
    document: str
    document_id: str
    title: str
    page: int | None
    start: int
    end: int
    score: float
    date: str | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two passages that don't agree, by their markers; ``note`` says it in a sentence."""

    kind: str
    newer: int
    older: int
    newer_document: str
    older_document: str
    newer_date: str | None
    older_date: str | None
    newer_text: str
    older_text: str
    note: str


@dataclass(frozen=True, slots=True)
class TraceTokens:
    """Tokens as the engine counts them; ``cached`` is ``None`` where it doesn't tell."""

    prompt: int
    cached: int | None
    completion: int


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Who made the search query of the question, and why not the model."""

    by: str
    note: str | None
    tokens: TraceTokens


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether there was evidence: refused where the probability lies below the threshold."""

    probability: float
    threshold: float
    signals: Mapping[str, float]
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FusedPlace:
    """The place that a reranker took a hit from."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class TracedHit:
    """A retrieved chunk, best first."""

    chunk: str
    document: str
    document_id: str
    start: int
    end: int
    score: float
    score_name: str
    channels: Mapping[str, Channel]
    fused: FusedPlace | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A chunk that the model was not shown by itself, and why; ``because`` of which other chunk."""

    chunk: str
    document: str
    reason: str
    because: str | None
    similarity: float | None
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A chunk that was shown beside one that was found."""

    chunk: str
    document: str
    beside: str


@dataclass(frozen=True, slots=True)
class Packing:
    """Tokens for evidence: what there was, ``None`` without a model, and what was used, by passage too."""

    limit: int | None
    used: int
    by_passage: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Trace:
    """How the answer came about, where that was asked for."""

    search_query: str | None
    rewriting: Rewriting | None
    judgement: Judgement | None
    timings: Mapping[str, float]
    tokens: TraceTokens
    hits: tuple[TracedHit, ...]
    dropped: tuple[Dropped, ...]
    neighbours: tuple[Neighbour, ...]
    packing: Packing | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens the model read and wrote; ``cached_tokens`` of those read were in the engine's cache, if it tells."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What stands under ``domainqa`` in an answer of the API."""

    abstained: bool
    supported: bool | None
    fallback: str | None
    strategy: str
    adapter: str | None
    collection: str
    engine_model: str
    citations: tuple[Citation, ...]
    nearest: tuple[Nearest, ...]
    conflicts: tuple[Conflict, ...]
    evidence: tuple[Passage, ...]
    timings: Mapping[str, float]
    conversation: str | None = None
    """The conversation that the answer was stored in, and its turn there."""
    turn: str | None = None
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with where it comes from. ``finish_reason`` is ``length`` where the token limit cut it."""

    text: str
    finish_reason: str
    usage: Usage
    provenance: Provenance

    @property
    def abstained(self) -> bool:
        """The documents don't say."""
        return self.provenance.abstained

    @property
    def supported(self) -> bool | None:
        """Whether the documents support the text; ``None`` where nothing was checked."""
        return self.provenance.supported

    @property
    def citations(self) -> Sequence[Citation]:
        return self.provenance.citations

    @property
    def trace(self) -> Trace | None:
        return self.provenance.trace


@dataclass(frozen=True, slots=True)
class TextEvent:
    """The next piece of a streamed answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerEvent:
    """The end of a stream: the whole answer, the same as ``ask`` would have returned."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Model:
    """What can be asked: a strategy, with ``@adapter`` where the model is adapted."""

    id: str


@dataclass(frozen=True, slots=True)
class Collection:
    """A set of documents that are searched together."""

    name: str
    embedding_model: str
    dimension: int


def parsed(kind: type[T], value: Any) -> T:
    """JSON as a value of ``kind``; ``ServiceFailedError`` where it is none: another service, or another version."""
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the reply"
        raise ServiceFailedError(
            f"the service's reply is not as expected ({where}: {first['msg']}); is it domainqa, in this version?"
        ) from error

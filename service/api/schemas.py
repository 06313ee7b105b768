"""What goes over the wire, as pydantic models: OpenAI's schema and our extension field ``domainqa``.

Knows nothing of the answer flow; ``chat.py`` translates. Requests that aren't OpenAI's refuse unknown
fields; OpenAI's own request takes any, and ``asking.py`` decides about each.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text holds half of a surrogate pair, which is no character") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]
"""A string that has an encoding: JSON can smuggle in lone surrogates, on which tokenizers and databases fail."""


class Wire(BaseModel):
    """Base of what we send: every field is always there, ``null`` where there is nothing to say."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


# --- errors -------------------------------------------------------------------------------------


class ErrorDetail(Wire):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Wire):
    """OpenAI's error body."""

    error: ErrorDetail


# --- chat: the request --------------------------------------------------------------------------


class ContentPart(BaseModel):
    """One part of a message's content. Only ``{"type": "text", "text": ...}`` is supported."""

    model_config = ConfigDict(extra="allow")

    type: Text
    text: Text | None = None


class ChatMessage(BaseModel):
    """A message as clients send it. Extra fields of an earlier answer of ours may be sent back; they are not read."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[ContentPart] | None = None
    name: Text | None = None


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool | None = None


class ChatRequest(BaseModel):
    """OpenAI's request. Its other fields are accepted at the value that changes nothing, else refused by name."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    model: Text | None = Field(
        default=None, description="`strategy` or `strategy@adapter`, see /v1/models; the configured one when left out."
    )
    messages: list[ChatMessage] = Field(
        min_length=1, description="The last one is the question; system texts rank below the service's own rules."
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    collection: Text = Field(default="default", min_length=1, description="Extension: the documents to answer from.")
    conversation: Text | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Extension: the id of a stored conversation, or `new`. Its turns are the history then; of "
        "`messages` only the last one and system texts count.",
    )
    trace: bool | None = Field(
        default=None, description="Extension: tell under `domainqa.trace` how the answer came about."
    )


# --- chat: the response -------------------------------------------------------------------------


class CitationOut(Wire):
    """A sentence of the answer tied to a verbatim span of a document. Offsets are code points, half-open."""

    marker: int = Field(description="The number printed in the answer as `[marker]`; it runs through a conversation.")
    number: int = Field(description="The number to show to readers: 1 for the source that this answer uses first.")
    document: str = Field(description="The document's source path.")
    document_id: str
    title: str
    page: int | None
    start: int = Field(description="Span in the document's text.")
    end: int
    quote: str
    supported: bool = Field(description="Whether the quote supports the sentence.")
    attributed: bool = Field(description="The model gave no marker; the source was found afterwards.")
    answer_start: int = Field(description="The sentence's span in the answer.")
    answer_end: int
    recognised: bool = Field(description="The quote was read from a picture of its page, by OCR.")


class NearestOut(Wire):
    """A document that came close to a question which the documents don't answer."""

    document: str
    document_id: str
    title: str
    score: float


class EvidenceOut(Wire):
    """A passage that was shown to the model."""

    number: int
    document: str
    document_id: str
    title: str
    page: int | None
    start: int
    end: int
    score: float
    date: str | None


class ChannelOut(Wire):
    """A hit in one channel: its rank from 1, null if it was not among the channel's candidates; the channel's own
    score; and as `normalised` what it adds to the hit's score."""

    rank: int | None
    score: float
    normalised: float


class TraceTokens(Wire):
    """Tokens as the engine counts them. `cached`: those of the prompt it had already, null where it doesn't tell."""

    prompt: int
    cached: int | None
    completion: int


class TraceRewriting(Wire):
    """Who made the search query of the question: nobody, the rules, or the model. ``note``: why not the model."""

    by: Literal["question", "rules", "model"]
    note: str | None
    tokens: TraceTokens


class FusedOut(Wire):
    rank: int
    score: float


class TraceJudgement(Wire):
    """Whether there was evidence: refused where the probability lies below the threshold."""

    probability: float = Field(description="That the documents answer the question.")
    threshold: float
    signals: dict[str, float] = Field(description="What was read of question and hits.")
    parts: dict[str, float] = Field(description="What each signal adds to the log odds.")


class TraceHit(Wire):
    """A retrieved chunk, best first, with its place in each channel that found it."""

    chunk: str
    document: str
    document_id: str
    start: int
    end: int
    score: float
    score_name: Literal["fused", "reranked"] = Field(description="Which score `score` is: what placed the hit.")
    channels: dict[str, ChannelOut]
    fused: FusedOut | None = Field(description="The place that a reranker took the hit from.")


class DroppedOut(Wire):
    """A chunk that the model was not shown by itself, and why."""

    chunk: str
    document: str
    reason: Literal["budget", "duplicate", "near-duplicate", "merged", "window"]
    because: str | None = Field(description="The chunk whose passage says it already.")
    similarity: float | None = Field(description="The share of it that the other says, for a near duplicate.")
    tokens: int | None = Field(description="What it would have cost, for `budget`.")


class NeighbourOut(Wire):
    """A chunk shown beside one that was found."""

    chunk: str
    document: str
    beside: str


class PackingOut(Wire):
    """Tokens for evidence: what there was, null without a model, and what was used, by the passage's number too."""

    limit: int | None
    used: int
    by_passage: dict[int, int]


class TraceOut(Wire):
    """How the answer came about."""

    search_query: str | None = Field(description="What was searched for; null closed book.")
    rewriting: TraceRewriting | None
    judgement: TraceJudgement | None = Field(description="Null closed book.")
    timings: dict[str, float] = Field(description="Seconds by step, the wait for a place included.")
    tokens: TraceTokens = Field(description="Those of the rewriting included.")
    hits: list[TraceHit]
    dropped: list[DroppedOut]
    neighbours: list[NeighbourOut]
    packing: PackingOut | None


class ConflictOut(Wire):
    """Two passages that don't agree, by their numbers, and the conflict in a sentence."""

    kind: Literal["superseded", "values"] = Field(
        description="A document says that it replaces the other, or the two give different values for the same thing."
    )
    newer: int
    older: int
    newer_document: str
    older_document: str
    newer_date: str | None
    older_date: str | None
    newer_text: str
    older_text: str
    note: str


class Provenance(Wire):
    """Where the answer comes from and how far it can be trusted: the same payload streaming or not."""

    abstained: bool = Field(description="The documents don't say.")
    supported: bool | None = Field(
        description="Whether the evidence supports the text; null where nothing was checked."
    )
    fallback: str | None = Field(description="Why verbatim sentences stand in for the model's own answer, if they do.")
    strategy: str
    adapter: str | None = Field(description="The adapter that answered, by its name: what a label stood for.")
    collection: str
    engine_model: str = Field(description="The model that generated the text.")
    citations: list[CitationOut]
    nearest: list[NearestOut]
    conflicts: list[ConflictOut] = Field(description="Where the sources of the answer don't agree.")
    evidence: list[EvidenceOut]
    timings: dict[str, float] = Field(description="Seconds by step.")
    conversation: str | None = Field(default=None, description="The conversation that the answer was stored in.")
    turn: str | None = Field(default=None, description="The stored answer, for feedback.")
    trace: TraceOut | None = Field(default=None, description="How the answer came about, where `trace` asked for it.")


class PromptTokensDetails(Wire):
    cached_tokens: int | None


class UsageOut(Wire):
    """Tokens the model really read and wrote."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None


FinishOut = Literal["stop", "length"]


class AssistantMessage(Wire):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    domainqa: Provenance


class Choice(Wire):
    index: Literal[0] = 0
    message: AssistantMessage
    logprobs: None = None
    finish_reason: FinishOut


class ChatCompletion(Wire):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: UsageOut


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Wire):
    index: Literal[0] = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishOut | None = None


class ChatCompletionChunk(BaseModel):
    """One event of a stream. The chunk with the ``finish_reason`` carries ``domainqa``."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: UsageOut | None = None
    domainqa: Provenance | None = None


# --- models, collections, search, documents -----------------------------------------------------


class ModelOut(Wire):
    """A strategy, with ``@adapter`` where the model is adapted."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "domainqa"


class ModelList(Wire):
    """The configured strategy comes first."""

    object: Literal["list"] = "list"
    data: list[ModelOut]


class CollectionOut(Wire):
    name: str
    object: Literal["collection"] = "collection"
    embedding_model: str
    dimension: int


class CollectionList(Wire):
    object: Literal["list"] = "list"
    data: list[CollectionOut]


class SearchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    query: Text = Field(min_length=1, max_length=20_000)
    collection: Text = Field(default="default", min_length=1)
    top_k: int | None = Field(default=None, ge=1, le=200, description="The configured number when left out.")


class HitOut(Wire):
    """``text`` is the verbatim span ``[start, end)`` of the document's text, in code points."""

    document: str
    document_id: str
    title: str
    page: int | None
    heading_path: list[str]
    start: int
    end: int
    score: float
    score_name: Literal["fused", "reranked"] = Field(description="Which score `score` is: what placed the hit.")
    text: str
    channels: dict[str, ChannelOut]


class SearchResult(Wire):
    object: Literal["list"] = "list"
    collection: str
    query: str
    hits: list[HitOut]


class SectionOut(Wire):
    heading_path: list[str]
    start: int
    end: int


class PageOut(Wire):
    number: int
    start: int
    end: int
    recognised: bool = Field(description="Read from a picture of the page, by OCR.")


class DocumentOut(Wire):
    """A document's text or a window of it: ``text`` is ``[start, end)`` of the ``length`` code points.

    ``sections`` and ``pages`` are those that overlap the window, with offsets into the whole text.
    """

    id: str
    object: Literal["document"] = "document"
    collection: str
    document: str = Field(description="The document's source path.")
    title: str
    media_type: str
    language: str | None
    date: str | None
    version: str
    length: int
    start: int
    end: int
    text: str
    sections: list[SectionOut]
    pages: list[PageOut]


class Health(Wire):
    status: Literal["ok"] = "ok"


class Readiness(Wire):
    """``parts`` says ``ok`` or the reason of each part; the reasons are for an admin of the default tenant."""

    status: Literal["ready", "not ready"]
    parts: dict[str, str]


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request is wrong; the message says what to change."},
    "5XX": {"model": ErrorBody, "description": "The service or the model behind it failed."},
}
"""What every route may answer with besides its own."""

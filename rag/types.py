"""The vocabulary: every value that passes between steps, as frozen slotted dataclasses.

Offsets are code points into ``Document.text`` (Python string indices), half-open ``[start, end)``.
Page numbers count from 1. Scores say in their docstring what they mean and which way is better.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# --- documents ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Section:
    """A run of text below one heading, up to the next heading of any level. Sections tile the document."""

    heading_path: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page, slide or sheet of a paged format. ``recognised``: its text was read from a picture of it, by OCR."""

    number: int
    start: int
    end: int
    recognised: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A pipe table in the text. ``header`` is the header row's verbatim line; the span includes it."""

    start: int
    end: int
    header: str


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file.

    ``source`` names where it came from (a path relative to the ingested folder, with ``/``).
    ``version`` is the SHA-256 of the file's bytes in hex. ``language`` is an ISO 639-1 code, or
    ``None`` where the text is too short to tell. ``date`` is an ISO date from the file's metadata.
    """

    source: str
    title: str
    text: str
    media_type: str
    version: str
    language: str | None = None
    date: str | None = None
    sections: tuple[Section, ...] = ()
    pages: tuple[Page, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be read, and why, in one line."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A document that came inside another file. Its source is that file's, a ``/`` and its own name."""

    document: Document
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """What a file gave: its document, those attached to it, and the attachments that could not be read."""

    document: Document
    attachments: tuple[Attachment, ...] = ()
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A verbatim span of a document: ``text == document.text[start:end]``.

    ``context`` (heading path, repeated table header) is embedded, indexed and shown to the model,
    and counts in the embedder's window; it is never quoted.
    """

    text: str
    context: str
    start: int
    end: int
    heading_path: tuple[str, ...] = ()
    page: int | None = None


def embedded_text(context: str, text: str) -> str:
    """What the embedder and the lexical index see of a chunk."""
    return f"{context}\n{text}" if context else text


# --- catalog ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Collection:
    """A set of documents searched together. Embedder and analyzer belong to it; so does its tenant."""

    id: int
    tenant_id: int
    name: str
    embedder: str
    """Fingerprint of the embedder whose vectors the collection holds."""
    embedding_model: str
    dimension: int
    analyzer: str
    """Fingerprint of the analyzer that made the lexical index."""
    published_seq: int
    """Readers see the rows with ``created_seq <= published_seq`` that were not yet retired at it."""
    calibration: str | None = None
    """When its questions are refused, as ``rag.calibration`` reads it; ``None`` takes the shipped one."""


DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose collections, and of these the ones that may be named; ``None`` is all. No other exists for whoever asks."""

    tenant: str = DEFAULT_TENANT
    collections: frozenset[str] | None = None


EVERYTHING = Scope()
"""All of the default tenant, whose a command line is."""


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the catalog knows it, with what a citation needs of its document."""

    row: int
    """Index row: an integer that is never reused."""
    id: str
    document_id: str
    version: str
    source: str
    title: str
    language: str | None
    start: int
    end: int
    page: int | None
    heading_path: tuple[str, ...]
    context: str
    text: str
    date: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A document as lists show it."""

    id: str
    source: str
    title: str
    media_type: str
    language: str | None
    version: str
    chunks: int
    pages: int | None
    size_bytes: int
    updated_at: str


@dataclass(frozen=True, slots=True)
class WithheldRemoval:
    """Documents of a synced folder whose files are gone, and that were kept: so many at once look like an accident."""

    folder: str
    missing: int
    documents: int
    """All that the collection has of the folder."""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did: documents by outcome, chunks written, wall seconds.

    ``seconds_by_step``: parsing, chunking, embedding, storing, indexing. Reading runs beside the rest, so together they
    may exceed ``seconds``.
    """

    added: int
    updated: int
    unchanged: int
    removed: int
    failed: tuple[Failure, ...]
    chunks: int
    seconds: float
    seconds_by_step: Mapping[str, float] = field(default_factory=dict)
    withheld: tuple[WithheldRemoval, ...] = ()


# --- retrieval ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """An index row and its score in one channel: higher is better, comparable within the channel only."""

    row: int
    score: float


@dataclass(frozen=True, slots=True)
class ChannelScore:
    """A hit in one channel: rank from 1, ``None`` if not among the channel's candidates; the channel's own score.

    ``normalised`` is what it adds to the hit's fused score.
    """

    rank: int | None
    score: float
    normalised: float


@dataclass(frozen=True, slots=True)
class FusedPlace:
    """A hit's place after fusion: rank from 1 and the fused score."""

    rank: int
    score: float


ScoreName = Literal["fused", "reranked"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved chunk. ``score`` is the one that placed it, higher is better; ``channels`` says how it came about.

    ``score_name`` says which score that is: scores of different names are not comparable. ``fused`` is the place that
    a reranker took the hit from.
    """

    chunk: StoredChunk
    score: float
    channels: Mapping[str, ChannelScore]
    score_name: ScoreName = "fused"
    fused: FusedPlace | None = None


# --- prompt -------------------------------------------------------------------------------------

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """A numbered passage shown to the model: one span of one document, merged from one or more chunks.

    ``text == document.text[start:end]``. ``number`` runs through the whole conversation.
    """

    number: int
    document_id: str
    version: str
    source: str
    title: str
    language: str | None
    start: int
    end: int
    page: int | None
    context: str
    text: str
    chunk_ids: tuple[str, ...]
    score: float
    date: str | None = None


DropReason = Literal["budget", "duplicate", "near-duplicate", "merged", "window"]
"""`duplicate`: it lies in a passage, or is one word for word. `near-duplicate`: another passage says nearly all of it,
and every number. `merged`: shown as part of a longer passage. `window`: shown in an earlier turn, and no longer for
want of room."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a document's current text, by the document's source."""

    source: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A chunk that is not shown by itself, and why.

    ``because`` is the chunk whose passage says it already; ``similarity`` the share of it that does, for a near one.
    ``tokens`` is what the chunk would have cost, where that was why.
    """

    chunk_id: str
    source: str
    reason: DropReason
    because: str | None = None
    similarity: float | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A chunk that is shown though no search found it: it stands beside one that was, in the same section."""

    chunk_id: str
    source: str
    beside: str


@dataclass(frozen=True, slots=True)
class PackingBudget:
    """What packing had to keep to and what it used, in the model's tokens; ``limit`` is ``None`` without a model."""

    limit: int | None
    used: int
    by_passage: Mapping[int, int] = field(default_factory=dict)
    """Evidence number to tokens, rendered."""


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier exchange exactly as it was rendered, so that its prompt bytes stay the same.

    ``question`` is what was asked; ``user`` is the message made of it, passages included.
    """

    question: str
    user: str
    assistant: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent to the model. ``tokens`` counts the rendered chat template, generation prompt included."""

    messages: tuple[Message, ...]
    evidence: tuple[Evidence, ...]
    dropped: tuple[Dropped, ...]
    tokens: int
    fingerprint: str


# --- answer -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of the answer tied to a verbatim span of a document.

    ``marker`` is the number printed in the answer as ``[marker]``. ``answer_start``/``answer_end`` is the
    sentence's span in ``Answer.text``. ``attributed`` is true where the model gave no marker and the
    source was found afterwards. ``supported`` says whether the quote supports the sentence. ``recognised``: the quote
    was read from a picture of its page, by OCR, and may hold misread letters.
    """

    marker: int
    document_id: str
    source: str
    title: str
    page: int | None
    start: int
    end: int
    quote: str
    supported: bool
    attributed: bool
    answer_start: int
    answer_end: int
    recognised: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two passages that don't agree: the older and the newer one by number, and what tells.

    ``kind``: a document says that it replaces the other one (``superseded``), or the two give different values for the
    same thing (``values``). Dates are ISO dates, as far as the documents or their files tell them.
    """

    kind: Literal["superseded", "values"]
    newer: int
    older: int
    newer_source: str
    older_source: str
    newer_date: str | None
    older_date: str | None
    newer_text: str
    """The words that tell: the sentence that gives the newer value, or the one that says what is replaced."""
    older_text: str
    note: str
    """The conflict in a sentence, in the question's language, with both markers."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens the model really read and wrote. ``cached_tokens`` is ``None`` where the engine doesn't tell."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class NearestDocument:
    """What an abstention points at: the documents that came closest to the question."""

    document_id: str
    source: str
    title: str
    score: float


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What is searched for, and who made it of the question: nobody (it has no history), the rules, or the model.

    ``note`` says why the rules stand in for the model. ``usage`` is what the model read and wrote for it.
    """

    query: str
    by: Literal["question", "rules", "model"]
    note: str | None = None
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Judgement:
    """Gate A's verdict: how probable it is that the documents answer the question, and from where on they do.

    ``parts`` is what each signal adds to the log odds, ``signals`` the values that were weighed.
    """

    probability: float
    threshold: float
    signals: Mapping[str, float]
    parts: Mapping[str, float]

    @property
    def enough(self) -> bool:
        return self.probability >= self.threshold


FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of the answer flow, the same streamed or not.

    ``fallback`` is the reason in words when the text is not the model's own but the best verbatim
    sentences, else ``None``. ``supported`` is gate B's verdict: ``None`` where nothing was checked
    (closed book). ``timings`` are seconds by step.
    """

    text: str
    abstained: bool
    strategy: str
    model: str
    citations: tuple[Citation, ...]
    evidence: tuple[Evidence, ...]
    nearest: tuple[NearestDocument, ...]
    supported: bool | None
    fallback: str | None
    finish_reason: FinishReason
    usage: Usage
    timings: Mapping[str, float]
    search_query: str | None = None
    """What was searched for: the question, or a follow-up rewritten to stand alone; ``None`` closed book."""
    rewriting: Rewriting | None = None
    """How the search query came about; its tokens are in ``usage`` too."""
    dropped: tuple[Dropped, ...] = ()
    hits: tuple[Hit, ...] = ()
    turn: Turn | None = None
    """This exchange as rendered, to be passed back as history of the next question."""
    adapter: str | None = None
    """The adapter that answered, by its name; a label in the request stood for it."""
    conflicts: tuple[Conflict, ...] = ()
    """Where passages that the answer rests on don't agree, or one of them has been replaced."""
    neighbours: tuple[Neighbour, ...] = ()
    packing: PackingBudget | None = None
    judgement: Judgement | None = None
    """Whether there was evidence, and why; ``None`` closed book."""
    prompt_hash: str | None = None
    """``rag.prompting.digest`` of what the model was sent; ``None`` where none was asked."""
    routed: str | None = None
    """The strategy that the router came to; ``None`` where another one was asked for."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an answer would rest on, and how it was found: the answer flow up to the prompt, without the model's words.

    ``enough`` is gate A's verdict; without enough evidence nothing is packed. ``prompt_tokens`` counts the whole
    prompt. ``timings`` are seconds by step.
    """

    rewriting: Rewriting
    hits: tuple[Hit, ...]
    enough: bool
    evidence: tuple[Evidence, ...]
    dropped: tuple[Dropped, ...]
    neighbours: tuple[Neighbour, ...]
    packing: PackingBudget | None
    prompt_tokens: int | None
    timings: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EvidencePacked:
    """Event: retrieval and packing are done; generation begins.

    Verbatim sentences that stand in for the model's answer may rest on further passages, numbered after these.
    """

    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Event: the next piece of the answer's text. The deltas concatenate to ``Answer.text``."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Event: the last one, with the whole answer."""

    answer: Answer


AnswerEvent = EvidencePacked | TextDelta | Finished


@dataclass(frozen=True, slots=True)
class Generated:
    """A piece of a model's stream. The last piece carries ``finish_reason`` and ``usage``."""

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate. Temperature 0 is greedy; ``seed`` matters only above it."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    json_schema: Mapping[str, object] | None = None
    """The text is to be JSON of this schema. An engine that can't hold it to that raises ``NotSupportedError``."""


# --- adapters -----------------------------------------------------------------------------------

AdapterKind = Literal["grounded", "closed-book", "cpt", "other"]
"""How an adapter was trained: to answer from passages, to answer without, on plain text (continued pretraining)."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter as an engine loads it. Under one name there is never another content."""

    name: str
    folder: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A measured condition that an adapter met or missed: the value with its confidence interval."""

    name: str
    value: float
    low: float
    high: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Exposure:
    """What an adapter was trained on: keys of facts, and ids of documents, which an erasure asks for."""

    fact_keys: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AdapterManifest:
    """Where an adapter comes from and what it fits. ``name`` is the label and the start of the content's hash."""

    name: str
    label: str
    content_hash: str
    """SHA-256 over the weights and the configuration as they are stored."""
    base: str
    """The reference of the model it was trained on."""
    base_type: str
    """The architecture's name in that model's ``config.json``."""
    base_hash: str
    """``rag.models.weights_hash`` of that model."""
    rank: int
    """The largest rank of any module."""
    alpha: float
    target_modules: tuple[str, ...]
    """The last parts of the adapted modules' paths, sorted."""
    created_at: str
    """ISO 8601, UTC."""
    kind: AdapterKind = "other"
    prompt_fingerprint: str | None = None
    mix_hash: str | None = None
    waiver: str | None = None
    """Why a rule of the mix was set aside, in the words of whoever did it."""
    exposure: Exposure = Exposure()
    gates: tuple[Gate, ...] = ()

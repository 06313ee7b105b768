"""What goes over the wire about what is kept: documents in lists, jobs, conversations, feedback.

Times are seconds since 1970, as OpenAI's are. Lists are paged by the id of the last entry that the client has.
"""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas import CitationOut, ConflictOut, EvidenceOut, NearestOut, Text, UsageOut, Wire

Limit = Annotated[int, Query(ge=1, le=1000)]
After = Annotated[str | None, Query(max_length=2000, description="The last entry of the page before, by its id.")]


def seconds(moment: str) -> int:
    """A moment of the catalog's."""
    return int(datetime.fromisoformat(moment).timestamp())


class Deleted(Wire):
    id: str
    deleted: Literal[True] = True


# --- collections and documents ------------------------------------------------------------------


class CollectionRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Text = Field(min_length=1, description="Up to 64 letters, digits, `.`, `_` and `-`.")


class DocumentInfoOut(Wire):
    """A document without its text."""

    id: str
    object: Literal["document"] = "document"
    document: str = Field(description="The document's source path.")
    title: str
    media_type: str
    language: str | None
    version: str = Field(description="SHA-256 of the file.")
    chunks: int
    pages: int | None
    size_bytes: int
    updated: int


class FailureOut(Wire):
    """A file that could not be read at its last ingest, and why."""

    object: Literal["failure"] = "failure"
    document: str = Field(description="The source path that it would have.")
    reason: str


class DocumentList(Wire):
    """Documents by their source; with `failed=true` what could not be read instead."""

    object: Literal["list"] = "list"
    collection: str
    data: list[DocumentInfoOut | FailureOut]
    has_more: bool


# --- jobs ---------------------------------------------------------------------------------------


class FileCounts(Wire):
    total: int
    done: int
    failed: int


class JobFileOut(Wire):
    document: str
    state: Literal["waiting", "reading", "done", "failed", "cancelled"]
    reason: str | None = Field(description="Why it failed.")


class JobOut(Wire):
    """Uploaded files on their way into a collection.

    `done` is a job whose every file was read or has failed; `failed` one that could not go on, see `error`.
    """

    id: str
    object: Literal["job"] = "job"
    collection: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    cancelling: bool = Field(description="It runs, and ends after the document that it is at.")
    files: FileCounts
    chunks: int
    current: str | None = Field(description="The document that is being read.")
    error: str | None
    created: int
    started: int | None
    ended: int | None


class JobDetail(JobOut):
    documents: list[JobFileOut]


class JobList(Wire):
    """The newest first."""

    object: Literal["list"] = "list"
    data: list[JobOut]
    has_more: bool


# --- conversations and feedback -----------------------------------------------------------------

RatingOut = Literal["up", "down"]


class FeedbackRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    conversation: Text = Field(min_length=1, max_length=100)
    turn: Text = Field(min_length=1, max_length=100, description="As the answer's `domainqa.turn` gave it.")
    rating: RatingOut
    comment: Text | None = Field(default=None, max_length=10_000)


class FeedbackOut(Wire):
    object: Literal["feedback"] = "feedback"
    conversation: str
    turn: str
    rating: RatingOut
    comment: str | None
    created: int


class TurnOut(Wire):
    """A question and its answer as they were. Of a `purged` turn only the question is left."""

    id: str
    object: Literal["turn"] = "turn"
    question: str
    answer: str
    abstained: bool
    supported: bool | None
    fallback: str | None
    purged: bool
    strategy: str
    engine_model: str
    finish_reason: str
    usage: UsageOut
    timings: dict[str, float]
    citations: list[CitationOut]
    nearest: list[NearestOut]
    conflicts: list[ConflictOut]
    evidence: list[EvidenceOut]
    rating: RatingOut | None
    comment: str | None
    created: int


class ConversationOut(Wire):
    id: str
    object: Literal["conversation"] = "conversation"
    title: str
    collection: str
    turns: int
    created: int
    updated: int


class ConversationDetail(ConversationOut):
    data: list[TurnOut] = Field(description="Every turn, the first one first.")


class ConversationList(Wire):
    """By last activity, the newest first."""

    object: Literal["list"] = "list"
    data: list[ConversationOut]
    has_more: bool


class RenameRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: Text = Field(min_length=1, max_length=200)

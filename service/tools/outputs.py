"""What the tools return. The descriptions reach the assistant's model as part of the schema."""

from collections.abc import Iterable
from typing import Protocol

from pydantic import BaseModel, Field

NOT_IN_THE_DOCUMENTS = "The documents do not answer this question. Do not answer it from memory as if they did."
NOT_ALL_SUPPORTED = "Not every sentence is supported by the documents: see `supported` of each citation."
UNCHECKED = "This answer was made without documents and is not checked."
SUPPORTED = "Every sentence is supported by the documents it cites."


class Passage(BaseModel):
    """A passage of a document, verbatim."""

    document: str = Field(description="The document's source path.")
    title: str
    page: int | None
    start: int = Field(description="Offset of `text` in the document's text, in code points.")
    end: int
    text: str
    score: float


class Passages(BaseModel):
    collection: str
    passages: list[Passage] = Field(description="Best first; empty where nothing was found.")


class Source(BaseModel):
    """A source of the answer, checked against the document's text."""

    marker: int = Field(description="The number printed in the answer as `[marker]`.")
    document: str
    title: str
    page: int | None
    start: int = Field(description="Offset of `quote` in the document's text, in code points.")
    end: int
    quote: str
    supported: bool = Field(description="Whether the quote supports the sentence that cites it.")


class NearestDocument(BaseModel):
    document: str
    title: str


class CheckedAnswer(BaseModel):
    verdict: str = Field(description="How far the answer can be trusted, in a sentence.")
    abstained: bool = Field(description="True where the documents do not answer the question.")
    supported: bool | None = Field(description="Whether the documents support all of it; null where not checked.")
    answer: str
    citations: list[Source]
    nearest: list[NearestDocument] = Field(description="Documents that came close, where the answer abstained.")


class _Cited(Protocol):
    """What the library's citation and the client's have in common, but for the name of the source."""

    @property
    def marker(self) -> int: ...
    @property
    def title(self) -> str: ...
    @property
    def page(self) -> int | None: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def quote(self) -> str: ...
    @property
    def supported(self) -> bool: ...


def checked_answer(
    text: str,
    *,
    abstained: bool,
    supported: bool | None,
    citations: Iterable[tuple[str, _Cited]],
    nearest: Iterable[tuple[str, str]],
) -> CheckedAnswer:
    """``citations`` come with their document, ``nearest`` are documents and titles."""
    sources = [
        Source(
            marker=each.marker,
            document=document,
            title=each.title,
            page=each.page,
            start=each.start,
            end=each.end,
            quote=each.quote,
            supported=each.supported,
        )
        for document, each in citations
    ]
    return CheckedAnswer(
        verdict=_verdict(abstained, supported),
        abstained=abstained,
        supported=supported,
        answer=text,
        citations=sources,
        nearest=[NearestDocument(document=document, title=title) for document, title in nearest],
    )


def _verdict(abstained: bool, supported: bool | None) -> str:
    if abstained:
        return NOT_IN_THE_DOCUMENTS
    if supported is None:
        return UNCHECKED
    return SUPPORTED if supported else NOT_ALL_SUPPORTED

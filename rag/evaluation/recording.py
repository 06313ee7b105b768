"""Questions and answers to answer records: where the gold evidence lies, and what is kept of an answer."""

from collections.abc import Sequence

from rag.abstaining import says_not_said
from rag.build import Library
from rag.errors import NotFoundError
from rag.evaluation.observing import group_of
from rag.evaluation.questions import EvaluationQuestion
from rag.evaluation.records import (
    AnswerRecord,
    ArmRecord,
    CitationRecord,
    EvidenceRecord,
    RetrievedRecord,
    SpanRecord,
    Status,
    TokensRecord,
)
from rag.types import Answer, Document


class GoldReader:
    """Finds the quotes of questions in a collection's documents, each read once."""

    def __init__(self, library: Library, collection: str) -> None:
        self._library = library
        self._collection = collection
        self._documents: dict[str, Document | None] = {}
        self.broken: list[str] = []
        """Questions with a quote that is in no document now."""

    def spans(self, question: EvaluationQuestion) -> tuple[SpanRecord, ...]:
        """Where the question's evidence stands; none at all where a quote of it is gone."""
        found = []
        for item in question.evidence:
            document = self._document(item.document)
            start = -1 if document is None else document.text.find(item.quote)
            if start < 0:
                self.broken.append(question.id)
                return ()
            found.append(SpanRecord(document=item.document, start=start, end=start + len(item.quote)))
        return tuple(found)

    def _document(self, source: str) -> Document | None:
        if source not in self._documents:
            try:
                self._documents[source] = self._library.document(self._collection, source)
            except NotFoundError:
                self._documents[source] = None
        return self._documents[source]


def blank(run: str, arm: ArmRecord, question: EvaluationQuestion, gold: Sequence[SpanRecord]) -> AnswerRecord:
    """What is known before the question is asked; its status says that nothing was measured."""
    return AnswerRecord(
        run=run,
        question=question.id,
        group=group_of(question),
        arm=arm.name,
        strategy=arm.strategy,
        adapter=arm.adapter,
        status="engine_fault",
        gold=tuple(gold),
    )


def filled(record: AnswerRecord, answer: Answer) -> AnswerRecord:
    values = {
        "strategy": answer.routed or record.strategy,
        "adapter": answer.adapter,
        "model": answer.model,
        "prompt_hash": answer.prompt_hash,
        "status": status_of(answer),
        "output": answer.text,
        "finish_reason": answer.finish_reason,
        "fallback": answer.fallback,
        "search_query": answer.search_query,
        "probability": None if answer.judgement is None else answer.judgement.probability,
        "retrieved": tuple(
            RetrievedRecord(
                document=hit.chunk.source, start=hit.chunk.start, end=hit.chunk.end, score=round(hit.score, 6)
            )
            for hit in answer.hits
        ),
        "evidence": tuple(
            EvidenceRecord(
                document=item.source,
                start=item.start,
                end=item.end,
                number=item.number,
                document_id=item.document_id,
                version=item.version,
                title=item.title,
                text=item.text,
            )
            for item in answer.evidence
        ),
        "citations": tuple(
            CitationRecord(
                document=item.source,
                start=item.start,
                end=item.end,
                marker=item.marker,
                quote=item.quote,
                supported=item.supported,
                attributed=item.attributed,
                answer_start=item.answer_start,
                answer_end=item.answer_end,
            )
            for item in answer.citations
        ),
        "tokens": TokensRecord(
            prompt=answer.usage.prompt_tokens,
            cached=answer.usage.cached_tokens,
            output=answer.usage.completion_tokens,
        ),
        "timings": {step: round(seconds, 6) for step, seconds in answer.timings.items()},
    }
    return record.model_copy(update=values)


def status_of(answer: Answer) -> Status:
    """A closed-book reply that says what the documents would, that they don't say, abstains too."""
    if answer.abstained or says_not_said(answer.text):
        return "abstained"
    if not answer.text.strip():
        return "empty"
    return "truncated" if answer.finish_reason == "length" else "ok"

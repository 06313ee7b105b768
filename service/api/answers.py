"""The parts of an answer as they go over the wire, the same for one just given and one from a conversation."""

from collections.abc import Mapping

from rag.types import Citation, Conflict, Evidence, NearestDocument, Usage
from service.api.schemas import CitationOut, ConflictOut, EvidenceOut, NearestOut, PromptTokensDetails, UsageOut


def usage_out(usage: Usage) -> UsageOut:
    cached = None if usage.cached_tokens is None else PromptTokensDetails(cached_tokens=usage.cached_tokens)
    return UsageOut(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=cached,
    )


def citation_out(each: Citation, numbers: Mapping[int, int]) -> CitationOut:
    """``numbers``: each marker's number for readers."""
    return CitationOut(
        marker=each.marker,
        number=numbers[each.marker],
        document=each.source,
        document_id=each.document_id,
        title=each.title,
        page=each.page,
        start=each.start,
        end=each.end,
        quote=each.quote,
        supported=each.supported,
        attributed=each.attributed,
        answer_start=each.answer_start,
        answer_end=each.answer_end,
        recognised=each.recognised,
    )


def nearest_out(each: NearestDocument) -> NearestOut:
    return NearestOut(document=each.source, document_id=each.document_id, title=each.title, score=each.score)


def conflict_out(each: Conflict) -> ConflictOut:
    return ConflictOut(
        kind=each.kind,
        newer=each.newer,
        older=each.older,
        newer_document=each.newer_source,
        older_document=each.older_source,
        newer_date=each.newer_date,
        older_date=each.older_date,
        newer_text=each.newer_text,
        older_text=each.older_text,
        note=each.note,
    )


def evidence_out(each: Evidence) -> EvidenceOut:
    return EvidenceOut(
        number=each.number,
        document=each.source,
        document_id=each.document_id,
        title=each.title,
        page=each.page,
        start=each.start,
        end=each.end,
        score=each.score,
        date=each.date,
    )

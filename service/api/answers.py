"""The parts of an answer as they go over the wire, the same for one just given and one from a conversation."""

from rag.types import Citation, Evidence, NearestDocument, Usage
from service.api.schemas import CitationOut, EvidenceOut, NearestOut, PromptTokensDetails, UsageOut


def usage_out(usage: Usage) -> UsageOut:
    cached = None if usage.cached_tokens is None else PromptTokensDetails(cached_tokens=usage.cached_tokens)
    return UsageOut(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=cached,
    )


def citation_out(each: Citation) -> CitationOut:
    return CitationOut(
        marker=each.marker,
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
    )


def nearest_out(each: NearestDocument) -> NearestOut:
    return NearestOut(document=each.source, document_id=each.document_id, title=each.title, score=each.score)


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
    )

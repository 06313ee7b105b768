"""Facts that a model makes of chunks: asked, checked, filtered, each rejection counted by its reason.

Two batches, of questions and of checks, each with a journal beside the output: a run that was stopped goes on where
it was, and a finished one asks nothing. Knows any chat model and any search.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.facts import Fact
from finetune.synthesis.asking import Ask, Pair, check_prompt, declines, question_prompt, read_pair, was_not_said
from finetune.synthesis.filters import Novelty, Rejection, Search, fault_of, follows, is_found, quoted_span
from finetune.synthesis.programmatic import fact_id
from rag.generation.batch import BatchProgress, generate_batch
from rag.generation.journal import BatchRequest
from rag.interfaces import ChatModel
from rag.types import Sampling

_QUESTION = Sampling(max_tokens=220)
_CHECK = Sampling(max_tokens=80)

Progress = Callable[[str, BatchProgress], None]


@dataclass(frozen=True, slots=True)
class Synthesised:
    facts: tuple[Fact, ...]
    asked: int
    rejected: Mapping[Rejection, int]


@dataclass(frozen=True, slots=True)
class _Candidate:
    ask: Ask
    pair: Pair


async def synthesise(
    model: ChatModel,
    asks: Sequence[Ask],
    group_of: Callable[[str], str],
    search: Search,
    novelty: Novelty,
    journals: Path,
    *,
    sampling: Sampling = _QUESTION,
    concurrency: int = 8,
    progress: Progress | None = None,
) -> Synthesised:
    """``group_of`` takes a document's source. ``novelty`` learns the questions that were kept.

    ``journals`` is the path that both journals' names begin with. Raises what ``generate_batch`` does.
    """
    rejected: Counter[Rejection] = Counter()
    candidates = await _candidates(model, asks, journals, sampling, concurrency, progress, rejected)
    checked = await _checked(model, candidates, journals, concurrency, progress, rejected)
    facts = []
    for each in checked:
        reason: Rejection | None = novelty.fault_of(each.pair.question)
        if reason is None and not is_found(each.ask, each.pair, search):
            reason = "our retriever does not find it"
        if reason is not None:
            rejected[reason] += 1
            continue
        novelty.add(each.pair.question)
        facts.append(_fact(each, group_of(each.ask.chunk.source)))
    return Synthesised(tuple(facts), len(asks), dict(sorted(rejected.items())))


async def _candidates(
    model: ChatModel,
    asks: Sequence[Ask],
    journals: Path,
    sampling: Sampling,
    concurrency: int,
    progress: Progress | None,
    rejected: Counter[Rejection],
) -> list[_Candidate]:
    requests = [BatchRequest(ask.id, question_prompt(ask), sampling) for ask in asks]
    results = await generate_batch(
        model, requests, _beside(journals, "questions"), concurrency, progress=_told(progress, "questions")
    )
    candidates = []
    for ask, result in zip(asks, results, strict=True):
        pair = read_pair(result.text)
        reason: Rejection | None
        if not result.ok:
            reason = "the request failed"
        elif declines(result.text):
            reason = "nothing to ask"
        else:
            reason = "unreadable reply" if pair is None else fault_of(ask, pair)
        if reason is not None:
            rejected[reason] += 1
        elif pair is not None:
            candidates.append(_Candidate(ask, pair))
    return candidates


async def _checked(
    model: ChatModel,
    candidates: Sequence[_Candidate],
    journals: Path,
    concurrency: int,
    progress: Progress | None,
    rejected: Counter[Rejection],
) -> list[_Candidate]:
    requests = [BatchRequest(each.ask.id, check_prompt(each.ask, each.pair), _CHECK) for each in candidates]
    results = await generate_batch(
        model, requests, _beside(journals, "checks"), concurrency, progress=_told(progress, "checks")
    )
    kept = []
    for each, result in zip(candidates, results, strict=True):
        if not result.ok:
            rejected["the request failed"] += 1
        elif was_not_said(result.text) or not follows(each.pair, result.text):
            rejected["the answer does not follow"] += 1
        else:
            kept.append(each)
    return kept


def _fact(candidate: _Candidate, group: str) -> Fact:
    chunk, pair = candidate.ask.chunk, candidate.pair
    span = quoted_span(chunk.text, pair.quote)
    assert span is not None
    start, end = chunk.start + span[0], chunk.start + span[1]
    return Fact(
        id=fact_id(candidate.ask.type, chunk.source, pair.question, pair.answer),
        question=pair.question,
        answer=pair.answer,
        quote=chunk.text[span[0] : span[1]],
        document=chunk.source,
        document_id=chunk.document_id,
        version=chunk.version,
        span=(start, end),
        language=candidate.ask.language,
        group=group,
        fact_key=f"{group}/{chunk.source}/{start}-{end}",
        kind=candidate.ask.type,
    )


def _beside(journals: Path, what: str) -> Path:
    return journals.with_name(f"{journals.name}.{what}.jsonl")


def _told(progress: Progress | None, what: str) -> Callable[[BatchProgress], None] | None:
    return None if progress is None else lambda update: progress(what, update)

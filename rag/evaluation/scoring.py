"""Answer records to scores, by question and arm. Asks nobody but the embedder; the same answers give the same scores.

An answer that nobody can use (empty, cut off, a prompt that didn't fit) scores 0; one that the engine owes has no
score. An unanswerable question is answered well by an abstention and not at all by anything else, as in SQuAD 2.0.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rag.evaluation.costs import money
from rag.evaluation.finding import citation_precision, citation_recall, ranked, recall
from rag.evaluation.metrics import contains, exact_match, shown_text, token_f1
from rag.evaluation.quantities import numeric_match
from rag.evaluation.questions import EvaluationQuestion
from rag.evaluation.records import WORTHLESS, AnswerRecord, Prices, ScoreRecord
from rag.interfaces import Embedder
from rag.sentences import sentence_spans

_DIGITS = 6
RECALL_DEPTHS = (1, 3, 5, 10)

METRICS: Mapping[str, str] = {
    "correct": "an accepted answer stands in it, or all its quantities; unanswerable: abstained",
    "token_f1": "overlap with the best accepted answer, in tokens",
    "exact_match": "equal to an accepted answer",
    "contains": "an accepted answer stands in it, word for word",
    "numeric_match": "gives the quantities of an accepted answer, whatever their units",
    "semantic_similarity": "cosine with the nearest accepted answer",
    "abstained": "says that the documents don't say",
    **{f"recall@{k}": f"gold passages among the first {k} hits" for k in RECALL_DEPTHS},
    "mrr": "one over the rank of the first gold passage",
    "ndcg": "nDCG@10 of the gold passages",
    "context_recall": "gold passages that the prompt shows",
    "citation_precision": "citations that touch a gold passage",
    "citation_recall": "gold passages that are cited",
    "faithfulness": "sentences that a citation supports",
    "prompt_tokens": "tokens read",
    "cached_tokens": "of these, tokens the engine had read before",
    "output_tokens": "tokens written",
    "machine_seconds": "seconds of the machine",
    "latency": "seconds to the whole answer, asked alone",
    "first_token": "seconds to the first token, asked alone",
    "money": "by the table of prices",
}
"""Name to what it says of one answer. Those of quality and finding lie in [0, 1] and are better higher."""


class Scorer:
    def __init__(
        self, questions: Mapping[str, EvaluationQuestion], prices: Prices, embedder: Embedder | None = None
    ) -> None:
        """Without an embedder there is no semantic similarity."""
        self._questions = questions
        self._prices = prices
        self._embedder = embedder

    def scores(self, answers: Sequence[AnswerRecord]) -> Iterator[ScoreRecord]:
        """In the order given."""
        searched = [each for each in answers if each.gold and each.search_query is not None and each.is_measured]
        places = ranked([each.retrieved for each in searched], [each.gold for each in searched])
        found = {each.key: place for each, place in zip(searched, places, strict=True)}
        alike = self._similarities(answers)
        for answer in answers:
            question = self._questions[answer.question]
            metrics: dict[str, float | None] = dict.fromkeys(METRICS)
            if answer.is_measured:
                metrics |= _quality(answer, question, alike.get(answer.key))
                metrics |= found.get(answer.key, {})
                metrics |= _grounding(answer)
                metrics |= self._cost(answer)
            yield ScoreRecord(
                question=answer.question,
                group=answer.group,
                arm=answer.arm,
                status=answer.status,
                tags=question.tags,
                language=question.language,
                answerable=question.answerable,
                metrics={name: None if each is None else round(each, _DIGITS) for name, each in metrics.items()},
            )

    def _similarities(self, answers: Sequence[AnswerRecord]) -> dict[tuple[str, str], float]:
        if self._embedder is None:
            return {}
        texts: dict[str, None] = {}
        scored = [each for each in answers if each.status == "ok" and self._questions[each.question].answerable]
        for each in scored:
            texts[shown_text(each.output)] = None
            texts.update(dict.fromkeys(self._questions[each.question].answers))
        vectors = dict(zip(texts, self._embedder.embed_documents(list(texts)), strict=True)) if texts else {}
        return {
            each.key: max(
                float(np.clip(vectors[shown_text(each.output)] @ vectors[accepted], 0.0, 1.0))
                for accepted in self._questions[each.question].answers
            )
            for each in scored
        }

    def _cost(self, answer: AnswerRecord) -> dict[str, float | None]:
        cached = answer.tokens.cached
        return {
            "prompt_tokens": float(answer.tokens.prompt),
            "cached_tokens": None if cached is None else float(cached),
            "output_tokens": float(answer.tokens.output),
            "machine_seconds": answer.machine_s,
            "latency": answer.timings.get("total") if answer.alone else None,
            "first_token": answer.timings.get("first_token") if answer.alone else None,
            "money": money(answer, self._prices),
        }


def _quality(answer: AnswerRecord, question: EvaluationQuestion, similarity: float | None) -> dict[str, float | None]:
    abstained = answer.status == "abstained"
    of_text = ("correct", "token_f1", "exact_match", "contains")
    if not question.answerable:
        return {"abstained": float(abstained), **dict.fromkeys(of_text, float(abstained))}
    accepted = question.answers
    text = "" if abstained or answer.status in WORTHLESS else answer.output
    numeric = numeric_match(shown_text(text), accepted, question.language)
    held = contains(text, accepted)
    return {
        "abstained": float(abstained),
        "correct": max(held, numeric or 0.0),
        "token_f1": token_f1(text, accepted),
        "exact_match": exact_match(text, accepted),
        "contains": held,
        "numeric_match": numeric,
        "semantic_similarity": 0.0 if similarity is None else similarity,
    }


def _grounding(answer: AnswerRecord) -> dict[str, float | None]:
    """What was found, shown and cited. A closed book has none of it."""
    if answer.search_query is None:
        return {}
    found: dict[str, float | None] = {f"recall@{k}": recall(answer.retrieved[:k], answer.gold) for k in RECALL_DEPTHS}
    found["context_recall"] = recall(answer.evidence, answer.gold)
    if answer.status == "abstained":
        return found
    found["citation_precision"] = citation_precision(answer.citations, answer.gold)
    found["citation_recall"] = citation_recall(answer.citations, answer.gold)
    found["faithfulness"] = faithfulness(answer)
    return found


def faithfulness(answer: AnswerRecord) -> float | None:
    """Share of the answer's sentences in which a supported citation lies; ``None`` for an answer without sentences.

    Support is what the answer flow's own check said, by words, numbers and names, or by the configured model of
    entailment; it is no opinion of another model's.
    """
    spans = sentence_spans(answer.output)
    if not spans:
        return None
    supported = [each for each in answer.citations if each.supported]
    return sum(
        any(each.answer_start < end and start < each.answer_end for each in supported) for start, end in spans
    ) / len(spans)

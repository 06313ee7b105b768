"""How close an answer comes to the accepted ones: exact match, token F1, contains, in [0, 1], higher is better.

Normalisation as in SQuAD (Rajpurkar et al. 2016): lower case, no punctuation, no English articles, single blanks.
Chinese and Japanese are compared by character, as in the official evaluation of MLQA.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from rag.types import Hit

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_IDEOGRAPHS = re.compile(r"([\u3040-\u30ff\u3400-\u9fff])")
_MARKERS = re.compile(r"\[\d+\]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def normalise(text: str) -> str:
    """Markers of citations are no part of an answer. A decimal sign stays (2.5 is not 25), a thousands comma goes."""
    text = unicodedata.normalize("NFKC", _MARKERS.sub(" ", text)).casefold()
    text = _THOUSANDS.sub("", text)
    kept = (sign for at, sign in enumerate(text) if unicodedata.category(sign)[0] != "P" or _is_decimal_sign(text, at))
    return " ".join(_ARTICLES.sub(" ", "".join(kept)).split())


def shown_text(text: str) -> str:
    """The answer without its citations' markers."""
    return " ".join(_MARKERS.sub(" ", text).split())


def answer_tokens(text: str) -> list[str]:
    return _IDEOGRAPHS.sub(r" \1 ", normalise(text)).split()


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    return float(any(answer_tokens(prediction) == answer_tokens(answer) for answer in answers))


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """The best F1 over the accepted answers."""
    return max((_f1(answer_tokens(prediction), answer_tokens(answer)) for answer in answers), default=0.0)


def contains(prediction: str, answers: Sequence[str]) -> float:
    """Whether the tokens of an accepted answer stand in a row in the prediction."""
    return float(any(_stands_in(answer_tokens(answer), answer_tokens(prediction)) for answer in answers))


def evidence_rank(hits: Sequence[Hit], source: str, start: int, end: int) -> int | None:
    """Rank from 1 of the first hit that overlaps the span by at least half of it."""
    for rank, hit in enumerate(hits, start=1):
        overlap = min(end, hit.chunk.end) - max(start, hit.chunk.start)
        if hit.chunk.source == source and overlap * 2 >= end - start:
            return rank
    return None


def _is_decimal_sign(text: str, at: int) -> bool:
    return 0 < at < len(text) - 1 and text[at] in ".," and text[at - 1].isdigit() and text[at + 1].isdigit()


def _f1(prediction: Sequence[str], answer: Sequence[str]) -> float:
    common = sum((Counter(prediction) & Counter(answer)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(prediction), common / len(answer)
    return 2 * precision * recall / (precision + recall)


def _stands_in(needle: Sequence[str], haystack: Sequence[str]) -> bool:
    length = len(needle)
    return length > 0 and any(
        list(haystack[at : at + length]) == list(needle) for at in range(len(haystack) - length + 1)
    )

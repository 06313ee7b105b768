"""Words that come with a page or a model and say nothing: known phrases, and sentences that half a source repeats."""

import math
import re
from collections import Counter
from collections.abc import Iterable

from rag.resemblance import normalised

_PHRASES = re.compile(
    r"\bas an ai(?: language)? model\b|\bi(?:'m| am) (?:just )?an ai\b|\bmy knowledge cutoff\b|\blorem ipsum\b"
    r"|\b(?:enable|activate) javascript\b|\bjavascript is (?:disabled|not enabled)\b|\baccept (?:all )?cookies\b"
    r"|\bthis (?:web)?site uses cookies\b|\bclick here to (?:read|subscribe|continue)\b|\ball rights reserved\b"
    r"|\bподдержк[аи] javascript\b|\bсайт использует (?:файлы )?cookie\b|\bкак языковая модель\b"
    r"|作为一个?(?:人工智能|AI)语言模型|本网站使用\s?cookie|请启用\s?javascript",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?。！？]+(?=\s|$|[\u3400-\u9fff])|\n|$)|[.!?。！？\n]+")
_FEWEST_WORDS = 6
_FEWEST_TIMES = 20
_LEAST_SHARE = 0.02


def boilerplate(text: str) -> str | None:
    """The phrase that gives it away, or ``None``."""
    match = _PHRASES.search(text)
    return match[0] if match else None


class RepeatedSentences:
    """Sentences that stand in many texts of one source: at least 20, and one in fifty."""

    def __init__(self, texts: Iterable[str]) -> None:
        counts: Counter[str] = Counter()
        total = 0
        for text in texts:
            total += 1
            counts.update({key for sentence in _SENTENCE.findall(text) if (key := _key(sentence))})
        fewest = max(_FEWEST_TIMES, math.ceil(_LEAST_SHARE * total))
        self.sentences = frozenset(key for key, count in counts.items() if count >= fewest)

    def without(self, text: str) -> str:
        """The text without them. What is left may be empty: then nothing in it was its own."""
        if not self.sentences:
            return text
        pieces = _SENTENCE.findall(text)
        kept = [piece for piece in pieces if _key(piece) not in self.sentences]
        return text if len(kept) == len(pieces) else "".join(kept).strip()


def _key(sentence: str) -> str:
    """Short sentences are nobody's boilerplate: "Yes." is an answer."""
    key = normalised(sentence)
    return key if len(key.split()) >= _FEWEST_WORDS else ""

"""Texts that say nearly the same: MinHash over runs of words finds candidates, the runs themselves decide.

Similarity is Jaccard's: runs that both have, as a share of those that either has; containment is the share of one
text's runs that another has. (A. Broder, On the resemblance and containment of documents, 1997.)
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from datasketch import MinHash, MinHashLSH

WORDS_PER_RUN = 5
_PERMUTATIONS = 128
# A sign of a script without spaces counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|\w+")
# 12.5, 3/4 and ZP-40/2 are one figure each, and 12,5 is 12.5.
_FIGURE = re.compile(r"(?:[^\W\d_]+-)*[^\W_]*\d[^\W_]*(?:[-./,][^\W_]*\d[^\W_]*)*")


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two texts by the keys they were given with, and their similarity in (0, 1]."""

    first: str
    second: str
    similarity: float


def near_duplicates(
    keys: Sequence[str], text_of: Callable[[str], str], threshold: float = 0.8
) -> Sequence[NearDuplicate]:
    """Pairs at least ``threshold`` similar, the most similar first, ties by key.

    Each text is asked for once, and again for each candidate pair. The search itself is approximate: of pairs right
    at the threshold about half are found, of clearer ones nearly all.
    """
    known = KnownTexts(threshold, text_of=text_of)
    found = []
    for key in keys:
        text = text_of(key)
        found += [NearDuplicate(other, key, similarity) for other, similarity in known.similar(text)]
        known.add(key, text)
    return sorted(found, key=lambda pair: (-pair.similarity, pair.first, pair.second))


class KnownTexts:
    """Texts by key, and which of them are nearly the same as another one."""

    def __init__(
        self,
        threshold: float = 0.8,
        words_per_run: int = WORDS_PER_RUN,
        text_of: Callable[[str], str] | None = None,
    ) -> None:
        """``text_of`` gives a text that was added again; without it they are kept."""
        self._index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
        self._threshold = threshold
        self._words_per_run = words_per_run
        self._kept: dict[str, str] = {}
        self._text_of = text_of or self._kept.__getitem__
        self._keeps = text_of is None

    def add(self, key: str, text: str) -> None:
        """A text without words is like none and is left out."""
        runs = word_runs(text, self._words_per_run)
        if runs:
            self._index.insert(key, _sketch(runs))
            if self._keeps:
                self._kept[key] = text

    def similar(self, text: str) -> list[tuple[str, float]]:
        """Keys and similarities of those at least ``threshold`` similar, the most similar first, ties by key."""
        runs = word_runs(text, self._words_per_run)
        if not runs:
            return []
        candidates: list[str] = self._index.query(_sketch(runs))
        pairs = [(key, _jaccard(runs, word_runs(self._text_of(key), self._words_per_run))) for key in candidates]
        close = [(key, similarity) for key, similarity in pairs if similarity >= self._threshold]
        return sorted(close, key=lambda pair: (-pair[1], pair[0]))


def normalised(text: str) -> str:
    """The words alone, casefolded, one blank between them: what two writings of one question have in common."""
    return " ".join(words_of(text))


def words_of(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def figures_of(text: str) -> frozenset[str]:
    """What holds a digit: numbers, codes, part numbers. Texts that differ in one do not say the same."""
    return frozenset(
        figure.replace(",", ".") for figure in _FIGURE.findall(unicodedata.normalize("NFKC", text).casefold())
    )


def word_runs(text: str, words_per_run: int = WORDS_PER_RUN) -> frozenset[str]:
    """All runs of so many words; a text of fewer words is one run."""
    words = words_of(text)
    ends = range(words_per_run, max(len(words), words_per_run) + 1)
    return frozenset(" ".join(words[end - words_per_run : end]) for end in ends) - {""}


def containment(part: frozenset[str], whole: frozenset[str]) -> float:
    """The share of ``part`` that stands in ``whole``; 0 for nothing."""
    return len(part & whole) / len(part) if part else 0.0


def _sketch(runs: Iterable[str]) -> MinHash:
    sketch = MinHash(num_perm=_PERMUTATIONS, hashfunc=_hash)
    sketch.update_batch([run.encode("utf-8", "surrogatepass") for run in runs])
    return sketch


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)

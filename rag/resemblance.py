"""Documents that say nearly the same: MinHash over runs of words finds candidates, the runs themselves decide.

Similarity is Jaccard's: runs that both have, as a share of those that either has. (A. Broder, On the resemblance and
containment of documents, 1997.)
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from datasketch import MinHash, MinHashLSH

_WORDS_PER_RUN = 5
_PERMUTATIONS = 128
# A sign of a script without spaces counts as a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|\w+")


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two documents by the keys they were given with, and their similarity in (0, 1]."""

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
    index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
    found = []
    for key in keys:
        runs = _runs(text_of(key))
        if not runs:
            continue
        sketch = _sketch(runs)
        for other in index.query(sketch):
            similarity = _jaccard(runs, _runs(text_of(other)))
            if similarity >= threshold:
                found.append(NearDuplicate(other, key, similarity))
        index.insert(key, sketch)
    return sorted(found, key=lambda pair: (-pair.similarity, pair.first, pair.second))


def _runs(text: str) -> frozenset[str]:
    """All runs of words; a text of fewer words is one run."""
    words = _WORD.findall(text.casefold())
    ends = range(_WORDS_PER_RUN, max(len(words), _WORDS_PER_RUN) + 1)
    return frozenset(" ".join(words[end - _WORDS_PER_RUN : end]) for end in ends) - {""}


def _sketch(runs: Iterable[str]) -> MinHash:
    sketch = MinHash(num_perm=_PERMUTATIONS, hashfunc=_hash)
    sketch.update_batch([run.encode("utf-8", "surrogatepass") for run in runs])
    return sketch


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)

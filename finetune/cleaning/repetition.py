"""Text that repeats itself: the measures of J. Rae and others, Scaling Language Models: Gopher, 2021, appendix A.

The thresholds are theirs, and meant for pages: a worked sum of a hundred words rightly names its pickles five times.
So short answers are judged by repeated lines, and by loops, alone.
"""

from collections import Counter
from collections.abc import Sequence

from rag.resemblance import words_of

_FEWEST_WORDS = 200
_MAX_DUPLICATE_LINES = 0.3
_MAX_TOP_RUN = {2: 0.20, 3: 0.18, 4: 0.16}
_MAX_DUPLICATE_RUNS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
_MAX_LOOP = 6
_FEWEST_LOOPS = 8


def repetition(text: str) -> str | None:
    """What repeats too much, in words; ``None`` where nothing does."""
    words = words_of(text)
    if _loops(words):
        return "one run of words again and again"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    repeated = sum(count - 1 for count in Counter(lines).values())
    if len(lines) > 3 and repeated / len(lines) > _MAX_DUPLICATE_LINES:
        return f"{repeated} of {len(lines)} lines are repeated"
    if len(words) < _FEWEST_WORDS:
        return None
    characters = sum(map(len, words))
    for size, most in _MAX_TOP_RUN.items():
        top, count = Counter(_runs(words, size)).most_common(1)[0]
        share = sum(map(len, top)) * count / characters
        if count > 2 and share > most:
            return f"{' '.join(top)!r} stands {count} times"
    for size, most in _MAX_DUPLICATE_RUNS.items():
        share = _covered(words, size) / characters
        if share > most:
            return f"{share:.0%} of it is in repeated runs of {size} words"
    return None


def _runs(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[at:] for at in range(size)), strict=False))


def _covered(words: Sequence[str], size: int) -> int:
    """Characters of words that lie in a run that stood before; each word counts once."""
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for at, run in enumerate(_runs(words, size)):
        if run in seen:
            covered.update(range(at, at + size))
        seen.add(run)
    return sum(len(words[at]) for at in covered)


def _loops(words: Sequence[str]) -> bool:
    """Whether up to six words come eight times on end, as models do that got stuck."""
    for size in range(1, _MAX_LOOP + 1):
        length = 0
        for at in range(size, len(words)):
            length = length + 1 if words[at] == words[at - size] else 0
            if length >= size * (_FEWEST_LOOPS - 1):
                return True
    return False

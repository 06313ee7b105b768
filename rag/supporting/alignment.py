"""Two texts' terms side by side: what one has in place of the other's, where it is nearly a copy.

A paraphrase is left to other comparisons; where most of a claim follows its source word by word, a word that was
exchanged is what the claim is about. Knows nothing of evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

_COPIED_SHARE = 0.8
"""Of the claim's terms that must stand in the source in the same order for it to be nearly a copy."""
_FEWEST_TERMS = 6


@dataclass(frozen=True, slots=True)
class Change:
    """Terms of the source and those that the claim has in their place; one of the two may be empty."""

    old: tuple[str, ...]
    new: tuple[str, ...]


def changes(source: Sequence[str], claim: Sequence[str]) -> list[Change]:
    """In the claim's order; none where it is no near copy."""
    if len(claim) < _FEWEST_TERMS:
        return []
    matcher = SequenceMatcher(None, source, claim, autojunk=False)
    if sum(block.size for block in matcher.get_matching_blocks()) < _COPIED_SHARE * len(claim):
        return []
    return [
        Change(tuple(source[one:two]), tuple(claim[three:four]))
        for kind, one, two, three, four in matcher.get_opcodes()
        if kind != "equal"
    ]

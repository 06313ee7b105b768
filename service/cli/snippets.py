"""Which stretch of a passage to show for a query, and which of its words to set off. Display only."""

import re

from rag.analysis import analyze, query_terms

Span = tuple[int, int]

_WORD = re.compile(r"\w+(?:[-/._]\w+)*")
_SHORTEST_WORD = 4
"""Shorter words without a digit are mostly articles and prepositions."""
_PAIR = 2
"""Scripts without spaces are searched by pairs of characters."""
_LEAD = 40


def query_words(text: str, query: str, language: str | None) -> list[Span]:
    """Where the query's words stand in the text, in any inflection that the search takes for the same."""
    wanted = {term for term in query_terms(query, {language}) if _tells_something(term)}
    spans = [
        match.span()
        for match in _WORD.finditer(text)
        if match.group()[0] < "\u0e01" and not wanted.isdisjoint(analyze(match.group(), language))
    ]
    pairs = "|".join(re.escape(term) for term in sorted(wanted) if len(term) <= _PAIR and term[0] >= "\u0e01")
    if pairs:
        # Pairs overlap, so look at every position.
        spans += [(match.start(1), match.end(1)) for match in re.finditer(f"(?=({pairs}))", text)]
    return sorted(spans)


def snippet(text: str, spans: list[Span], max_characters: int) -> Span:
    """The stretch with the most different query words, the first of equals, cut at spaces where there are any."""
    if len(text) <= max_characters:
        return 0, len(text)

    def worth(begin: int) -> int:
        return len({text[start:end].casefold() for start, end in spans if begin <= start and end <= begin + reach})

    reach = max_characters - _LEAD
    best = max((start for start, _ in spans), key=worth, default=0)
    begin = min(max(0, best - _LEAD), len(text) - max_characters)
    end = begin + max_characters
    if begin:
        begin = text.find(" ", begin, best) + 1 or begin
    if end < len(text):
        space = text.rfind(" ", begin, end)
        end = space if space > begin + max_characters // 2 else end
    return begin, end


def _tells_something(term: str) -> bool:
    return len(term) >= _SHORTEST_WORD or not term.isascii() or any(character.isdigit() for character in term)

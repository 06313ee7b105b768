"""How a right answer is said: the shortest words around it that a check of support can tell from another answer.

A bare number stands in many places of a passage, so beside the answer alone there are wordings that say what it is a
number of, in the document's own words. Knows nothing of passages or of the check.
"""

from collections.abc import Iterable, Iterator, Sequence

from rag.evaluation.metrics import answer_tokens, contains

_ENDS = ".!?。！？…"
_MOST_WORDS_BEFORE = 8
_SIGNS_A_WORD = 2
"""Of a script without blanks between its words."""


def wordings(answers: Sequence[str], quotes: Sequence[str], named: Iterable[str] = ()) -> Iterator[str]:
    """The accepted answers, those ``named`` by their column, then longer ones, the shortest first."""
    yield from answers
    yield from named
    if len(quotes) != 1:
        return
    quote = quotes[0].strip()
    if quote.startswith("|"):
        yield from _of_row([cell.strip() for cell in quote.strip("|").split("|")], answers)
        return
    for before in range(1, _MOST_WORDS_BEFORE + 1):
        for answer in answers:
            longer = _with_words_before(quote, answer, before)
            if longer is not None:
                yield longer
    if contains(quote, answers):
        yield quote


def sentence(wording: str, marked: str) -> str:
    """The wording as a sentence, its markers before the full stop."""
    wording = " ".join(wording.split()).rstrip(_ENDS).rstrip()
    stop = "。" if "\u3400" <= wording[-1:] <= "\u9fff" else "."
    return f"{wording} {marked}{stop}" if marked else f"{wording}{stop}"


def _of_row(cells: Sequence[str], answers: Sequence[str]) -> Iterator[str]:
    """What its first cell names, and the answer; where that name is the answer, what stands beside it."""
    name = cells[0]
    for answer in answers:
        if answer_tokens(answer) != answer_tokens(name):
            yield f"{name}: {answer}"
        elif len(cells) > 1:
            yield f"{name}: {cells[1]}"


def _with_words_before(quote: str, answer: str, count: int) -> str | None:
    """The answer as it stands in the quote with so many words in front of it; ``None`` where there are fewer."""
    at = quote.casefold().find(answer.casefold())
    if at < 0 or len(quote.casefold()) != len(quote):
        return None
    before, told = quote[:at], quote[at : at + len(answer)]
    if before and not before[-1].isspace():
        if len(before.rstrip()) < count * _SIGNS_A_WORD:
            return None
        return before[-count * _SIGNS_A_WORD :] + told
    words = before.split()
    return " ".join([*words[-count:], told]) if len(words) >= count else None

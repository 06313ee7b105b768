"""Long text to pieces that tile it, cut at the coarsest separators that will do. Knows nothing of documents."""

import re
from collections.abc import Callable, Iterator

from langchain_text_splitters.character import RecursiveCharacterTextSplitter

# From the coarsest to the finest; each keeps its sign with the text before it. The last one cuts anywhere.
_SEPARATORS = [
    r"\n\n+",
    r"\n",
    r"(?<=[.!?…])\s+",
    r"(?<=[。！？])",
    r"(?<=[;:])\s+|(?<=[；：])",
    r"(?<=,)\s+|(?<=[，、])",
    r"\s+",
    "",
]
SENTENCE_END = re.compile(r"[.!?…:;]['\"»”’)\]]*(?=\s)|[。！？；：][”’」』）]*")


def cut(text: str, start: int, end: int, max_tokens: int, count: Callable[[str], int]) -> Iterator[tuple[int, int]]:
    """Spans that tile ``[start, end)``, each of at most ``max_tokens`` by the sum of its parts."""
    splitter = RecursiveCharacterTextSplitter(
        separators=_SEPARATORS,
        is_separator_regex=True,
        keep_separator="end",
        chunk_size=max_tokens,
        chunk_overlap=0,
        length_function=count,
        strip_whitespace=False,
    )
    position = start
    for piece in splitter.split_text(text[start:end]):
        assert text.startswith(piece, position)
        yield position, position + len(piece)
        position += len(piece)
    assert position == end


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end

"""PDF: each page's plain text as kreuzberg reads it, with paragraphs and headings set off.

The pages' text is taken whole. kreuzberg's nodes only say where blocks begin and end: its Markdown drops what stands
beside a table on the same page. So tables stay lines of text, and nothing is lost or told twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rag.documents.extraction import extract, metadata_of
from rag.documents.layout import Layout, LayoutBuilder, clean

_MAX_HEADING_LINES = 3


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines ``[first, last]`` of a page; ``level`` 0 is no heading."""

    first: int
    last: int
    level: int


def read_pdf(data: bytes, passwords: Sequence[str] = ()) -> Layout:
    """The layout; ``passwords`` are tried in order where the file is encrypted."""
    result = extract(data, "application/pdf", passwords=passwords)
    nodes = [dict(node) for node in result.document["nodes"]] if result.document else []
    builder = LayoutBuilder()
    for page in result.pages or ():
        number = page["page_number"]
        builder.page(number)
        lines = [line.rstrip() for line in clean(page["content"]).split("\n")]
        blocks = sorted(_located(nodes, number, lines), key=lambda block: block.first)
        _write(builder, lines, blocks)
    return builder.build(metadata_of(result, "title"), metadata_of(result, "modified_at", "created_at"))


def _write(builder: LayoutBuilder, lines: Sequence[str], blocks: Sequence[_Block]) -> None:
    position = 0
    for block in blocks:
        if block.first < position:
            continue
        builder.paragraph("\n".join(lines[position : block.first]))
        text = lines[block.first : block.last + 1]
        if block.level:
            builder.heading(block.level, " ".join(text))
        else:
            builder.paragraph("\n".join(text))
        position = block.last + 1
    builder.paragraph("\n".join(lines[position:]))


def _located(nodes: Sequence[dict[str, Any]], page: int, lines: Sequence[str]) -> Iterator[_Block]:
    """The page's nodes whose text is a run of whole lines, white space aside."""
    squeezed = ["".join(line.split()) for line in lines]
    text = "".join(squeezed)
    first_at: dict[int, int] = {}
    last_at: dict[int, int] = {}
    offset = 0
    for index, line in enumerate(squeezed):
        if line:
            first_at[offset] = index
            offset += len(line)
            last_at[offset] = index
    cursor = 0
    for node in nodes:
        content = node["content"]
        wanted = "".join(clean(content.get("text") or "").split())
        if node.get("page") != page or not wanted:
            continue
        at = text.find(wanted, cursor)
        at = text.find(wanted) if at < 0 else at
        if at not in first_at or at + len(wanted) not in last_at:
            continue
        cursor = at + len(wanted)
        first, last = first_at[at], last_at[cursor]
        heading = content["node_type"] in ("title", "heading") and last - first < _MAX_HEADING_LINES
        yield _Block(first, last, (content.get("level") or 1) if heading else 0)

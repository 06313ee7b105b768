"""PDF: each page's plain text as kreuzberg reads it, with paragraphs and headings set off; scanned pages by OCR.

The pages' text is taken whole. kreuzberg's nodes only say where blocks begin and end: its Markdown drops what stands
beside a table on the same page. So tables stay lines of text, and nothing is lost or told twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag.documents.extraction import extract, metadata_of
from rag.documents.formats import PDF
from rag.documents.languages import detect_language
from rag.documents.layout import Layout, LayoutBuilder, clean
from rag.documents.options import ReadingOptions
from rag.documents.recognition import installed_languages, recognise_pages

_MAX_HEADING_LINES = 3


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines ``[first, last]`` of a page; ``level`` 0 is no heading."""

    first: int
    last: int
    level: int


def read_pdf(data: bytes, options: ReadingOptions) -> Layout:
    result = extract(data, PDF, passwords=options.passwords)
    nodes = [dict(node) for node in result.document["nodes"]] if result.document else []
    texts = {page["page_number"]: clean(page["content"]) for page in result.pages or ()}
    recognised = _recognised(data, texts, options)
    builder = LayoutBuilder()
    for number, text in texts.items():
        if number in recognised:
            builder.page(number, recognised=True)
            builder.paragraph(recognised[number])
            continue
        builder.page(number)
        lines = [line.rstrip() for line in text.split("\n")]
        blocks = sorted(_located(nodes, number, lines), key=lambda block: block.first)
        _write(builder, lines, blocks)
    return builder.build(metadata_of(result, "title"), metadata_of(result, "modified_at", "created_at"))


def _recognised(data: bytes, texts: Mapping[int, str], options: ReadingOptions) -> Mapping[int, str]:
    """What Tesseract reads on the pages without text; nothing where it isn't installed."""
    silent = [number for number, text in texts.items() if not text.strip()]
    if not silent or not options.ocr or not installed_languages():
        return {}
    return recognise_pages(data, silent, detect_language("\n".join(texts.values())), options.passwords)


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

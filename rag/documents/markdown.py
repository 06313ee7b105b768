"""Markdown files: the text as the author wrote it, with its headings and tables found by markdown-it's line maps.

Front matter goes to the title and the date. Knows nothing of rendering: the markup stays in the text.
"""

import itertools
import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from rag.documents.decoding import decode
from rag.documents.layout import Layout, clean, sections_from
from rag.types import Table

_PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)?(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_YAML_LINE = re.compile(r"\s*(?:#.*|- .*|[\w .-]+:(?:\s.*)?)?|\s+.*")
# An image inside the file as base64 is no text: thousands of chunks that mean nothing.
_EMBEDDED_DATA = re.compile(r"\(data:[^)\s]{100,}\)")


def read_markdown(data: bytes) -> Layout:
    text = _EMBEDDED_DATA.sub("()", clean(decode(data)))
    metadata, text = _split_front_matter(text)
    lines = [0, *itertools.accumulate(len(line) for line in text.splitlines(keepends=True))]
    headings: list[tuple[int, int, str]] = []
    tables: list[Table] = []
    tokens = _PARSER.parse(text)
    for position, token in enumerate(tokens):
        if token.map is None or token.level:
            continue
        start, end = lines[token.map[0]], lines[min(token.map[1], len(lines) - 1)]
        if token.type == "heading_open":
            name = _inline_text(tokens[position + 1].children or ())
            headings.append((start, int(token.tag[1:]), name))
        elif token.type == "table_open":
            end = start + len(text[start:end].rstrip())
            tables.append(Table(start, end, text[start:end].partition("\n")[0]))
    return Layout(
        text,
        sections_from([heading for heading in headings if heading[2]], len(text)),
        tables=tuple(tables),
        title=metadata.get("title"),
        date=metadata.get("date"),
    )


def _split_front_matter(text: str) -> tuple[dict[str, str], str]:
    match = _FRONT_MATTER.match(text)
    if match is None or not all(_YAML_LINE.fullmatch(line) for line in (match[1] or "").splitlines()):
        return {}, text
    found = re.findall(r"^(title|date):[ \t]*(.+)$", match[1] or "", flags=re.MULTILINE | re.IGNORECASE)
    return {key.lower(): value.strip().strip("\"'") for key, value in found}, text[match.end() :].lstrip("\n")


def _inline_text(children: Sequence[Token]) -> str:
    parts = []
    for child in children:
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append(" ")
    return " ".join("".join(parts).split())

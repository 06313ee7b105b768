"""PowerPoint, Excel, old Word, OpenDocument, RTF, EPUB and the like: kreuzberg's nodes to a layout.

Slides and sheets become pages; the pages of a word processor exist only once it is printed, so there are none.
"""

from collections.abc import Sequence
from typing import Any

from rag.documents.extraction import PAGE_MARK, extract, metadata_of
from rag.documents.layout import Layout, LayoutBuilder

_REPEATED_LAYERS = ("header", "footer")
_Node = dict[str, Any]


def read_office(data: bytes, media_type: str) -> Layout:
    slides = "presentation" in media_type or "powerpoint" in media_type
    result = extract(data, media_type, mark_pages=slides)
    metadata: _Node = dict(result.metadata)
    sheets: list[str] = list(metadata.get("sheet_names") or ())
    builder = LayoutBuilder()
    nodes: Sequence[_Node] = [dict(node) for node in result.document["nodes"]] if result.document else []
    sheet = 0
    numbers: dict[int, int] = {}
    for node in nodes:
        if node.get("content_layer") in _REPEATED_LAYERS:
            continue
        content = node["content"]
        kind, text = content["node_type"], content.get("text") or ""
        if slides and (mark := PAGE_MARK.fullmatch(text.strip())):
            builder.page(int(mark[1]))
        elif kind in ("title", "heading"):
            if sheet < len(sheets) and text == sheets[sheet]:
                sheet += 1
                builder.page(sheet)
            builder.heading(content.get("level") or 1, text)
        elif kind == "table":
            builder.table(_rows(content["grid"]))
        elif kind == "list_item":
            parent: int | None = node.get("parent")
            marker = "-"
            if parent is not None and nodes[parent]["content"].get("ordered"):
                numbers[parent] = numbers.get(parent, 0) + 1
                marker = f"{numbers[parent]}."
            builder.item(text, _list_depth(nodes, parent), marker)
        elif kind == "metadata_block":
            builder.paragraph("\n".join(f"{key}: {value}" for key, value in content["entries"]))
        elif kind == "image":
            builder.paragraph(content.get("description") or "")
        elif kind != "group":
            builder.paragraph(_without_image_link(text))
    return builder.build(metadata_of(result, "title", "subject"), metadata_of(result, "modified_at", "created_at"))


def _rows(grid: _Node) -> list[list[str]]:
    rows = [[""] * grid["cols"] for _ in range(grid["rows"])]
    for cell in grid["cells"]:
        rows[cell["row"]][cell["col"]] = cell["content"].replace("\\|", "|")
    return rows


def _list_depth(nodes: Sequence[_Node], parent: int | None) -> int:
    depth = -1
    while parent is not None:
        depth += nodes[parent]["content"]["node_type"] == "list"
        parent = nodes[parent].get("parent")
    return max(depth, 0)


def _without_image_link(text: str) -> str:
    """PowerPoint pictures come as a Markdown link to a file inside the archive."""
    return "" if text.startswith("![") and text.endswith(")") and "../media/" in text else text

"""Word (.docx) to a layout, from the XML itself.

kreuzberg 4.10 drops `<`, `>`, `&`, tabs and the text beside a text box from Word files without a word, so this reader
is ours. Deleted text of tracked changes is left out, inserted text is in; headers and footers are left out, because
they say the same on every page.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from rag.documents.layout import Layout, LayoutBuilder
from rag.errors import SourceError

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_STRICT_W = "http://purl.oclc.org/ooxml/wordprocessingml/main"
_MAX_PART_BYTES = 512 * 1024 * 1024
"""A part that unpacks to more is a bomb, not a document."""
_NOT_TEXT = frozenset({f"{_W}del", f"{_W}moveFrom", f"{_W}pPr", f"{_W}rPr", f"{_W}instrText", f"{_W}sdtPr"})
_SIGNS = {f"{_W}tab": "\t", f"{_W}ptab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}


def read_word(data: bytes) -> Layout:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        body = _part(archive, "word/document.xml").find(f"{_W}body")
        if body is None:
            raise KeyError("body")
        styles = _styles(archive)
        ordered = _ordered_lists(archive)
        notes = _notes(archive)
        core = _part(archive, "docProps/core.xml") if "docProps/core.xml" in archive.namelist() else Element("none")
    # NotImplementedError is zipfile's word for a compression or version that it does not know.
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, NotImplementedError, EOFError) as error:
        raise SourceError(f"the file is damaged or no Word document: {error}") from error
    reader = _Reader(styles, ordered)
    reader.blocks(body)
    for number, note in notes.items():
        if number in reader.noted:
            reader.builder.paragraph(f"[{number}] {note}")
    return reader.builder.build(_core(core, "title"), _core(core, "modified") or _core(core, "created"))


@dataclass(frozen=True, slots=True)
class _Style:
    """What a paragraph style says; ``heading`` 0 is no heading, ``list_id`` names its numbering."""

    heading: int = 0
    list_id: str | None = None


@dataclass(slots=True)
class _Reader:
    styles: dict[str, _Style]
    ordered: frozenset[tuple[str, str]]
    builder: LayoutBuilder = field(default_factory=LayoutBuilder)
    noted: set[str] = field(default_factory=set)
    _counts: dict[tuple[str, int], int] = field(default_factory=dict)

    def blocks(self, parent: Element) -> None:
        """Paragraphs and tables in order, however deep they lie in content controls and tracked changes."""
        for element in parent:
            if element.tag == f"{_W}p":
                self._paragraph(element)
            elif element.tag == f"{_W}tbl":
                self.builder.table(self._rows(element))
            elif element.tag not in _NOT_TEXT:
                self.blocks(element)

    def _paragraph(self, paragraph: Element) -> None:
        boxes: list[Element] = []
        text = self._text(paragraph, boxes)
        properties = paragraph.find(f"{_W}pPr")
        style = self.styles.get(_value(properties, "pStyle") or "", _Style())
        numbering = properties.find(f"{_W}numPr") if properties is not None else None
        list_id = _value(numbering, "numId") or style.list_id
        outline = _value(properties, "outlineLvl")
        if outline is not None and outline in "012345678":
            style = _Style(int(outline) + 1 if outline != "9" else 0)
        if not text.strip():
            pass
        elif style.heading:
            self.builder.heading(style.heading, text)
        elif list_id not in (None, "0"):
            assert list_id is not None
            level = _value(numbering, "ilvl") or "0"
            depth = int(level) if level.isdigit() else 0
            self.builder.item(text, min(depth, 8), self._marker(list_id, depth))
        else:
            self.builder.paragraph(text)
        for box in boxes:
            self.blocks(box)

    def _marker(self, list_id: str, depth: int) -> str:
        if (list_id, str(depth)) not in self.ordered:
            return "-"
        for deeper in [key for key in self._counts if key[0] == list_id and key[1] > depth]:
            del self._counts[deeper]
        number = self._counts[list_id, depth] = self._counts.get((list_id, depth), 0) + 1
        return f"{number}."

    def _text(self, element: Element, boxes: list[Element]) -> str:
        parts = []
        for child in element:
            if child.tag == f"{_W}t":
                parts.append(child.text or "")
            elif child.tag in _SIGNS:
                parts.append(_SIGNS[child.tag])
            elif child.tag in (f"{_W}footnoteReference", f"{_W}endnoteReference"):
                number = ("e" if "endnote" in child.tag else "") + (child.get(f"{_W}id") or "")
                self.noted.add(number)
                parts.append(f"[{number}]")
            elif child.tag == f"{_W}txbxContent":
                boxes.append(child)
            elif child.tag.endswith("}Fallback"):
                continue  # the same once more, for old readers
            elif child.tag not in _NOT_TEXT:
                parts.append(self._text(child, boxes))
        return "".join(parts)

    def _rows(self, table: Element) -> list[list[str]]:
        rows: list[list[str]] = []
        for row in _inside(table, f"{_W}tr"):
            cells: list[str] = []
            for cell in _inside(row, f"{_W}tc"):
                properties = cell.find(f"{_W}tcPr")
                merge = properties.find(f"{_W}vMerge") if properties is not None else None
                text = self._cell(cell)
                if merge is not None and merge.get(f"{_W}val", "continue") == "continue" and rows:
                    text = text or (rows[-1][len(cells)] if len(cells) < len(rows[-1]) else "")
                span = _value(properties, "gridSpan") or "1"
                cells += [text, *[""] * (min(int(span), 100) - 1 if span.isdigit() else 0)]
            rows.append(cells)
        return rows

    def _cell(self, cell: Element) -> str:
        """All text of a cell, that of tables and boxes in it as well, in one line."""
        lines = []
        for paragraph in _inside(cell, f"{_W}p"):
            boxes: list[Element] = []
            lines.append(self._text(paragraph, boxes))
            lines += [self._cell(box) for box in boxes]
        return " ".join(line for line in lines if line.strip())


def _inside(element: Element, tag: str) -> Iterator[Element]:
    """The nearest descendants of this tag, in order."""
    for child in element:
        if child.tag == tag:
            yield child
        elif child.tag not in _NOT_TEXT:
            yield from _inside(child, tag)


def _value(parent: Element | None, name: str) -> str | None:
    child = parent.find(f"{_W}{name}") if parent is not None else None
    return child.get(f"{_W}val") if child is not None else None


def _part(archive: zipfile.ZipFile, name: str) -> Element:
    if archive.getinfo(name).file_size > _MAX_PART_BYTES:
        raise SourceError(f"the file unpacks to more than {_MAX_PART_BYTES:,} bytes; split it")
    content = archive.read(name)
    if b"<!DOCTYPE" in content:  # forbidden in the format, and the way to entities that blow up or read other files
        raise SourceError(f"the file is damaged: {name} declares a document type")
    return ElementTree.fromstring(content.replace(_STRICT_W.encode(), _W[1:-1].encode()))  # noqa: S314


def _styles(archive: zipfile.ZipFile) -> dict[str, _Style]:
    if "word/styles.xml" not in archive.namelist():
        return {}
    elements = {
        style.get(f"{_W}styleId") or "": style
        for style in _part(archive, "word/styles.xml").iter(f"{_W}style")
        if style.get(f"{_W}type") == "paragraph"
    }
    return {name: _style(name, elements) for name in elements}


def _style(name: str, elements: dict[str, Element]) -> _Style:
    """What the style or one that it is based on says."""
    heading, list_id = 0, None
    seen: set[str] = set()
    while name in elements and name not in seen:
        seen.add(name)
        properties = elements[name].find(f"{_W}pPr")
        label = (_value(elements[name], "name") or "").lower()
        if not heading and (match := re.fullmatch(r"heading ([1-9])|title", label)):
            heading = int(match[1] or 1)
        outline = _value(properties, "outlineLvl")
        if not heading and outline is not None and outline in "012345678":
            heading = int(outline) + 1
        list_id = list_id or _value(properties.find(f"{_W}numPr") if properties is not None else None, "numId")
        name = _value(elements[name], "basedOn") or ""
    return _Style(heading, list_id)


def _ordered_lists(archive: zipfile.ZipFile) -> frozenset[tuple[str, str]]:
    """(list, level) pairs that are numbered rather than bulleted."""
    if "word/numbering.xml" not in archive.namelist():
        return frozenset()
    root = _part(archive, "word/numbering.xml")
    numbered: dict[str, set[str]] = {}
    for abstract in root.iter(f"{_W}abstractNum"):
        levels = {level.get(f"{_W}ilvl") or "": _value(level, "numFmt") for level in abstract.iter(f"{_W}lvl")}
        numbered[abstract.get(f"{_W}abstractNumId") or ""] = {
            level for level, kind in levels.items() if kind not in (None, "bullet", "none")
        }
    return frozenset(
        (number.get(f"{_W}numId") or "", level)
        for number in root.iter(f"{_W}num")
        for level in numbered.get(_value(number, "abstractNumId") or "", ())
    )


def _notes(archive: zipfile.ZipFile) -> dict[str, str]:
    notes = {}
    for part, tag, prefix in (("footnotes", "footnote", ""), ("endnotes", "endnote", "e")):
        name = f"word/{part}.xml"
        if name in archive.namelist():
            reader = _Reader({}, frozenset())
            for note in _part(archive, name).iter(f"{_W}{tag}"):
                notes[prefix + (note.get(f"{_W}id") or "")] = reader._cell(note)
    return notes


def _core(core: Element, name: str) -> str | None:
    element = next((element for element in core.iter() if element.tag.endswith("}" + name)), None)
    return element.text if element is not None else None

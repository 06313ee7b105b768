"""Make the sample corpus's PDF, Word and Excel files from text, with the same bytes every time.

Dates and ids are fixed and nothing is compressed, so that the bytes depend on no clock, no random number and no
zlib. A source's own date (the first one in its text) becomes the file's modification date. Knows the small Markdown
subset of the sources: `#` to `###`, paragraphs, `- ` lists and pipe tables.
"""

import calendar
import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import docx
import openpyxl
from docx.oxml.ns import qn
from openpyxl.styles import Font
from reportlab.lib import colors
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table

AUTHOR = "Orvane Fluid Technology"
UNDATED = datetime(2024, 1, 1, tzinfo=UTC)
_ENGLISH_MONTHS = list(calendar.month_name)
_RUSSIAN_MONTHS = "января февраля марта апреля мая июня июля августа сентября октября ноября декабря".split()  # noqa: SIM905

BlockKind = Literal["heading", "paragraph", "item", "table"]


@dataclass(frozen=True, slots=True)
class Block:
    kind: BlockKind
    text: str = ""
    level: int = 0
    rows: tuple[tuple[str, ...], ...] = ()


def render(name: str, source: str) -> bytes:
    """The file's bytes; ``name`` ends in ``.pdf``, ``.docx`` or ``.xlsx``."""
    renderers: dict[str, Callable[[str], bytes]] = {"pdf": render_pdf, "docx": render_docx, "xlsx": render_xlsx}
    return renderers[name.rpartition(".")[2]](source)


def blocks(source: str) -> Iterator[Block]:
    """The source's blocks in order. Raises ``ValueError`` for a table whose rows differ in length."""
    rows: list[tuple[str, ...]] = []
    for line in [*source.splitlines(), ""]:
        if line.startswith("|"):
            rows.append(tuple(cell.strip() for cell in line.strip().strip("|").split("|")))
            continue
        if rows:
            header, _, *body = rows
            if any(len(row) != len(header) for row in body):
                raise ValueError(f"the rows of the table {header} differ in length")
            yield Block("table", rows=(header, *body))
            rows = []
        if heading := re.fullmatch(r"(#{1,3}) (.+)", line):
            yield Block("heading", heading[2].strip(), len(heading[1]))
        elif line.startswith("- "):
            yield Block("item", line[2:].strip())
        elif line.strip():
            yield Block("paragraph", line.strip())


def written_date(text: str) -> datetime:
    """The first date in the text, as English, Russian or Chinese papers write it, else the fixed one."""
    for match in re.finditer(r"(\d{1,2}) (\w+) (\d{4})|(\d{4}) ?年 ?(\d{1,2}) ?月 ?(\d{1,2}) ?日", text):
        day, month, year, chinese_year, chinese_month, chinese_day = match.groups()
        if chinese_year:
            return datetime(int(chinese_year), int(chinese_month), int(chinese_day), tzinfo=UTC)
        if month in _ENGLISH_MONTHS:
            return datetime(int(year), _ENGLISH_MONTHS.index(month), int(day), tzinfo=UTC)
        if month in _RUSSIAN_MONTHS:
            return datetime(int(year), _RUSSIAN_MONTHS.index(month) + 1, int(day), tzinfo=UTC)
    return UNDATED


def render_pdf(source: str) -> bytes:
    """A4 pages in the standard fonts, which hold Latin-1 alone: anything else raises ``UnicodeEncodeError``."""
    source.encode("cp1252")
    content = list(blocks(source))
    body = ParagraphStyle("body", fontName="Helvetica", fontSize=10, leading=13.5, spaceAfter=6)
    cell = ParagraphStyle("cell", parent=body, fontSize=8.5, leading=11, spaceAfter=0)
    headings = {
        level: ParagraphStyle(
            f"h{level}", fontName="Helvetica-Bold", fontSize=size, leading=size * 1.25, spaceBefore=10, spaceAfter=5,
            keepWithNext=1,
        )
        for level, size in ((1, 18), (2, 14), (3, 11.5))
    }  # fmt: skip
    flowables: list[Flowable] = []
    for block in content:
        text = block.text.replace("&", "&amp;").replace("<", "&lt;")
        if block.kind == "heading":
            flowables.append(Paragraph(text, headings[block.level]))
        elif block.kind == "item":
            flowables.append(Paragraph(text, body, bulletText="•"))
        elif block.kind == "paragraph":
            flowables.append(Paragraph(text, body))
        else:
            rows = [
                [Paragraph(value.replace("&", "&amp;").replace("<", "&lt;"), cell) for value in row]
                for row in block.rows
            ]
            style = [("GRID", (0, 0), (-1, -1), 0.5, colors.grey), ("VALIGN", (0, 0), (-1, -1), "TOP")]
            flowables += [Table(rows, repeatRows=1, style=style), Spacer(0, 6)]
    date = written_date(source)

    def stamp(canvas: Canvas, _: object) -> None:
        time = canvas._doc._timeStamp
        time.t, time.lt, time.YMDhms = date.timestamp(), date.timetuple(), date.timetuple()[:6]

    buffer = io.BytesIO()
    margin = 22 * mm
    template = SimpleDocTemplate(
        buffer, title=_title(content), author=AUTHOR, creator=AUTHOR, subject=_title(content), invariant=1,
        pageCompression=0, leftMargin=margin, rightMargin=margin, topMargin=margin, bottomMargin=margin,
    )  # fmt: skip
    template.build(flowables, onFirstPage=stamp)
    return buffer.getvalue()


def render_docx(source: str) -> bytes:
    content = list(blocks(source))
    document = docx.Document()
    for block in content:
        if block.kind == "heading":
            document.add_heading(block.text, level=block.level)
        elif block.kind == "table":
            table = document.add_table(rows=0, cols=len(block.rows[0]), style="Table Grid")
            for row in block.rows:
                for cell, value in zip(table.add_row().cells, row, strict=True):
                    cell.text = value
        else:
            document.add_paragraph(block.text, style="List Bullet" if block.kind == "item" else None)
    properties, date = document.core_properties, written_date(source)
    properties.title, properties.author, properties.comments = _title(content), AUTHOR, ""
    properties.created = properties.modified = date
    _prune(document)
    buffer = io.BytesIO()
    document.save(buffer)
    return _stored(buffer.getvalue())


def _prune(document: "docx.document.Document") -> None:
    """Drop what python-docx's template brings along and nobody uses: 800 kB of styles, uncompressed."""
    styles = document.styles.element
    by_id = {style.get(qn("w:styleId")): style for style in styles.findall(qn("w:style"))}
    pending = [name for name, style in by_id.items() if style.get(qn("w:default")) == "1"]
    pending += [
        mark.get(qn("w:val")) for tag in ("pStyle", "tblStyle") for mark in document.element.iter(qn(f"w:{tag}"))
    ]
    kept: set[str] = set()
    while pending:
        name = pending.pop()
        if name in by_id and name not in kept:
            kept.add(name)
            pending += [mark.get(qn("w:val")) for tag in ("basedOn", "link", "next")
                        for mark in by_id[name].findall(qn(f"w:{tag}"))]  # fmt: skip
    for name, style in by_id.items():
        if name not in kept:
            styles.remove(style)
    for relations, ending in ((document.part.rels, "/stylesWithEffects"), (document.part.package.rels, "/thumbnail")):
        for key in [key for key, relation in relations.items() if relation.reltype.endswith(ending)]:
            del relations[key]


def render_xlsx(source: str) -> bytes:
    """Cells are numbers where the number reads exactly as the source wrote it, else text (`48.00` stays `48.00`)."""
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for part in re.split(r"^## ", source, flags=re.MULTILINE)[1:]:
        name, _, table = part.partition("\n")
        sheet = workbook.create_sheet(name.strip())
        for row in csv.reader(io.StringIO(table)):
            if row:
                sheet.append([_number(value) for value in row])
        for cell in sheet[1]:
            cell.font = Font(bold=True)
    workbook.properties.creator = AUTHOR
    workbook.properties.created = written_date(source).replace(tzinfo=None)
    buffer = io.BytesIO()
    workbook.save(buffer)
    return _stored(buffer.getvalue(), modified=written_date(source))


def _number(value: str) -> str | int | float:
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        if str(number) == value:
            return number
    return value


def _title(content: list[Block]) -> str:
    return next(block.text for block in content if block.kind == "heading")


def _stored(archive: bytes, modified: datetime | None = None) -> bytes:
    """The same ZIP entries, uncompressed and with one fixed time; ``modified`` replaces what the writer took from the
    clock."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if modified is not None and entry.filename == "docProps/core.xml":
                stamp = modified.strftime("%Y-%m-%dT%H:%M:%SZ")
                data = re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>" + stamp.encode(), data)
            info = zipfile.ZipInfo(entry.filename, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_STORED, 3, 0o600 << 16
            new.writestr(info, data)
    return buffer.getvalue()

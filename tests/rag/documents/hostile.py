"""Files that are made to harm whoever reads them, each a few kilobytes or megabytes."""

import gzip
import io
import struct
import zipfile
from collections.abc import Callable

import openpyxl

_W = "xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'"


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def word(body: str) -> bytes:
    return zipped({"word/document.xml": f"<w:document {_W}><w:body>{body}</w:body></w:document>".encode()})


def word_bomb() -> bytes:
    return zipped({"word/document.xml": b" " * 90_000_000})


def epub_bomb() -> bytes:
    return zipped({"mimetype": b"application/epub+zip", "a.xhtml": b" " * 90_000_000})


def odt_bomb() -> bytes:
    return zipped({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b" " * 90_000_000})


def lying_sheet_bomb() -> bytes:
    """A sheet that unpacks to 90 MB and says that it has 100 bytes."""
    buffer = io.BytesIO()
    openpyxl.Workbook().save(buffer)
    with zipfile.ZipFile(buffer) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    head, tail = members["xl/worksheets/sheet1.xml"].split(b"<sheetData")
    members["xl/worksheets/sheet1.xml"] = head + b" " * 90_000_000 + b"<sheetData" + tail
    size = len(members["xl/worksheets/sheet1.xml"])
    return zipped(members).replace(struct.pack("<L", size), struct.pack("<L", 100))


def far_cell() -> bytes:
    """Two cells that span a sheet of 17 thousand million."""
    workbook = openpyxl.Workbook()
    sheet = workbook.worksheets[0]
    sheet["A1"], sheet["XFD1048576"] = "near", "far"
    buffer = io.BytesIO()
    workbook.save(buffer)
    return buffer.getvalue()


def many_parts() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(20_001):
            archive.writestr(f"ppt/slides/{number}.xml", b"")
        archive.writestr("ppt/presentation.xml", b"")
    return buffer.getvalue()


def laughs() -> bytes:
    """A thousand million laughs, were the entities expanded."""
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    text = f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY l0 "ha">{entities}]>'
    return zipped(
        {"word/document.xml": f"{text}<w:document {_W}><w:body><w:p><w:r><w:t>&l9;</w:t></w:r></w:p></w:body>".encode()
         + b"</w:document>"}
    )  # fmt: skip


def deep_word() -> bytes:
    depth = 20_000
    return word("<w:sdt>" * depth + "<w:p><w:r><w:t>deep</w:t></w:r></w:p>" + "</w:sdt>" * depth)


def deep_html() -> bytes:
    depth = 50_000
    return b"<html>" + b"<div>" * depth + b"deep" + b"</div>" * depth


def deep_tables() -> bytes:
    depth = 3_000
    return b"<html>" + b"<table><tr><td>x" * depth + b"</td></tr></table>" * depth


def deep_mail() -> bytes:
    heads = "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(5_000))
    return f"Subject: deep\nMIME-Version: 1.0\n{heads}Content-Type: text/plain\n\nbody".encode()


def deep_json() -> bytes:
    return b"[" * 200_000 + b"]" * 200_000


def deep_xml() -> bytes:
    return b"<a>" * 200_000 + b"deep" + b"</a>" * 200_000


def _pdf(*objects: str) -> bytes:
    body = "%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF"
    return f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


def endless_pdf() -> bytes:
    """A tree of pages that is its own branch, and says that it has a thousand million pages."""
    return _pdf("<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 1000000000 >>")


def many_pages_pdf() -> bytes:
    pages = 4_000
    kids = " ".join("3 0 R" for _ in range(pages))
    return _pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Contents 4 0 R "
        "/Resources << /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        "<< /Length 32 >>\nstream\nBT /F 9 Tf 9 9 Td (page) Tj ET  \nendstream",
    )


def wide_table() -> bytes:
    """Rows of one cell under a header of 20,000: a full grid of them would have 400 million cells."""
    return b"<html><table><tr>" + b"<td>x" * 20_000 + b"</tr>" + b"<tr><td>y</tr>" * 20_000 + b"</table>"


def spanning_cells() -> bytes:
    return b"<html><table>" + b'<tr><td colspan="999999999" rowspan="999999999">x</td></tr>' * 200 + b"</table>"


def packed() -> bytes:
    return gzip.compress(bytes(50_000_000))


FILES: dict[str, Callable[[], bytes]] = {
    "bomb.docx": word_bomb,
    "bomb.epub": epub_bomb,
    "bomb.odt": odt_bomb,
    "lying.xlsx": lying_sheet_bomb,
    "far-cell.xlsx": far_cell,
    "many-parts.pptx": many_parts,
    "laughs.docx": laughs,
    "deep.docx": deep_word,
    "deep.html": deep_html,
    "deep-tables.html": deep_tables,
    "deep.eml": deep_mail,
    "deep.json": deep_json,
    "deep.xml": deep_xml,
    "endless.pdf": endless_pdf,
    "many-pages.pdf": many_pages_pdf,
    "wide.html": wide_table,
    "spans.html": spanning_cells,
    "packed.txt": packed,
}

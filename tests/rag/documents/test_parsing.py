import hashlib
import io
import itertools
import re
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from xml.sax.saxutils import escape

import docx
import openpyxl
import pytest
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Table

from rag.documents import parsing
from rag.documents.options import ReadingOptions
from rag.documents.parsing import parse, parse_file
from rag.documents.revision import parser_fingerprint
from rag.errors import SourceError
from rag.types import Document

Parse = Callable[[str, bytes | str], Document]


@pytest.fixture
def parsed(tmp_path: Path) -> Parse:
    """Parses bytes under a name, and checks what must hold of every document."""

    def parse_bytes(name: str, content: bytes | str) -> Document:
        data = content.encode("utf-8") if isinstance(content, str) else content
        (tmp_path / name).write_bytes(data)
        document = parse(tmp_path / name, f"folder/{name}")
        assert document.version == hashlib.sha256(data).hexdigest()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\ufeff]", document.text + document.title)
        edges = [0, *(section.end for section in document.sections)]
        assert [section.start for section in document.sections] == edges[:-1]
        assert edges[-1] == len(document.text)
        for table in document.tables:
            assert document.text[table.start : table.end].splitlines()[0] == table.header
        return document

    return parse_bytes


def _words(text: str) -> list[str]:
    return re.findall(r"[^\s|#]+", text)


def _pdf(flowables: list[object], **options: object) -> bytes:
    buffer = io.BytesIO()
    SimpleDocTemplate(buffer, pagesize=A4, invariant=1, **options).build(flowables)
    return buffer.getvalue()


def _pptx(slides: list[tuple[str, list[str]]]) -> bytes:
    """The least that is a presentation."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    names = (
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        f'xmlns:r="{office}" xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
    )
    kind = "application/vnd.openxmlformats-officedocument.presentationml"
    numbers = range(1, len(slides) + 1)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/ppt/presentation.xml" ContentType="{kind}.presentation.main+xml"/>'
        + "".join(f'<Override PartName="/ppt/slides/s{n}.xml" ContentType="{kind}.slide+xml"/>' for n in numbers)
        + "</Types>",
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" '
        f'Type="{office}/officeDocument" Target="ppt/presentation.xml"/></Relationships>',
        "ppt/presentation.xml": f"<p:presentation {names}><p:sldIdLst>"
        + "".join(f'<p:sldId id="{255 + n}" r:id="r{n}"/>' for n in numbers)
        + "</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        + "".join(f'<Relationship Id="r{n}" Type="{office}/slide" Target="slides/s{n}.xml"/>' for n in numbers)
        + "</Relationships>",
    }
    for number, (title, lines) in enumerate(slides, 1):
        shapes = "".join(
            f'<p:sp><p:nvSpPr><p:cNvPr id="{i}" name="s"/><p:cNvSpPr/><p:nvPr>{holder}</p:nvPr></p:nvSpPr><p:spPr/>'
            "<p:txBody><a:bodyPr/>"
            + "".join(f"<a:p><a:r><a:t>{escape(line)}</a:t></a:r></a:p>" for line in texts)
            + "</p:txBody></p:sp>"
            for i, holder, texts in ((2, '<p:ph type="title"/>', [title]), (3, '<p:ph idx="1"/>', lines))
        )
        parts[f"ppt/slides/s{number}.xml"] = f"<p:sld {names}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, f'<?xml version="1.0"?>{content}')
    return buffer.getvalue()


def test_markdown_keeps_the_authors_text(parsed: Parse) -> None:
    body = "# Pump *ZP*\n\nSome **bold** `code` <a@b> of the text.\n\n## Data\n\n"
    body += "| A | B |\n|---|---|\n| 1 | 2 |\n\nLast.\n"
    document = parsed("a.md", f'---\ntitle: "The pump"\ndate: 2024-03-12\n---\n{body}')
    assert document.text == body
    assert (document.title, document.date, document.language) == ("The pump", "2024-03-12", "en")
    assert [section.heading_path for section in document.sections] == [("Pump ZP",), ("Pump ZP", "Data")]
    (table,) = document.tables
    assert document.text[table.start : table.end] == "| A | B |\n|---|---|\n| 1 | 2 |"


def test_a_rule_at_the_top_is_no_front_matter(parsed: Parse) -> None:
    text = "---\nJust a sentence between rules, and no metadata\n---\n\n# Real title\n"
    document = parsed("a.md", text)
    assert document.text == text
    assert "Just a sentence" in document.text


def test_headings_in_code_are_no_headings(parsed: Parse) -> None:
    document = parsed("a.md", "# One\n\n```\n# not a heading\n```\n\nSetext\n------\n\ntext\n")
    assert [section.heading_path for section in document.sections] == [("One",), ("One", "Setext")]


def test_plain_text_is_faithful(parsed: Parse) -> None:
    document = parsed("notes.txt", "Release notes\r\n\r\n  indented\tline\r\nlast\x00 \x07line of the whole text")
    assert document.text == "Release notes\n\n  indented\tline\nlast line of the whole text"
    assert document.title == "Release notes"
    assert parsed("plain.txt", "A sentence ends here.\n\nAnd on.").title == "plain"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimited_tables(parsed: Parse, delimiter: str) -> None:
    rows = [["Part", "Price, net"], ["ZP-1", "4,20"], ["ZP-2", "a b"]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    document = parsed("spares.csv", text)
    header = "| Part | Price, net |"
    assert document.text == f"{header}\n| --- | --- |\n| ZP-1 | 4,20 |\n| ZP-2 | a b |"
    assert document.title == "spares"
    assert [table.header for table in document.tables] == [header]


def test_mail_shows_its_headers_and_body(parsed: Parse) -> None:
    mail = (
        "Received: from x\nFrom: A B <a@orvane.example>\nTo: c@orvane.example\nSubject: =?utf-8?b?0J3QsNGB0L7RgQ==?=\n"
        "Date: Wed, 09 Oct 2024 09:42:00 +0200\nContent-Type: text/plain; charset=utf-8\n"
        "Content-Transfer-Encoding: 8bit\n\nПервая строка\n\n> quoted <x>\n"
    )
    document = parsed("a.eml", mail)
    assert document.text == (
        "Subject: Насос\nFrom: A B <a@orvane.example>\nTo: c@orvane.example\nDate: Wed, 09 Oct 2024 09:42:00 +0200\n\n"
        "Первая строка\n\n> quoted <x>"
    )
    assert (document.title, document.date) == ("Насос", "2024-10-09")


def test_mail_with_html_alone_and_an_attachment(parsed: Parse) -> None:
    mail = (
        'Subject: s\nContent-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/html; charset=utf-8\n\n'
        "<p>Hello <b>there</b></p><ul><li>x</ul>\n--b\nContent-Type: application/pdf\n"
        "Content-Disposition: attachment; filename=plan.pdf\nContent-Transfer-Encoding: base64\n\nAAAA\n--b--\n"
    )
    assert parsed("a.eml", mail).text == "Subject: s\n\nHello there\n\n- x\n\nAttachments: plan.pdf"


def test_attachments_are_documents_of_their_own(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["Subject"] = "s"
    mail.set_content("See the files.")
    mail.add_attachment("# Plan\n\nOil in May.", subtype="markdown", filename="plan.md")
    mail.add_attachment("# Plan\n\nOil in June.", subtype="markdown", filename="plan.md")
    mail.add_attachment(_encrypted_pdf(), maintype="application", subtype="pdf", filename="../a/locked.pdf")
    mail.add_attachment(b"PK\x05\x06" + bytes(18), maintype="application", subtype="zip", filename="x.zip")
    mail.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="logo.png")
    mail.add_attachment(b"", maintype="application", subtype="octet-stream", filename="none.txt")
    path = tmp_path / "m.eml"
    path.write_bytes(mail.as_bytes())
    parsed = parse_file(path, "box/m.eml")
    assert "Attachments: plan.md, plan.md" in parsed.document.text
    assert [(each.document.source, each.document.text) for each in parsed.attachments] == [
        ("box/m.eml/plan.md", "# Plan\n\nOil in May.\n"),
        ("box/m.eml/plan (2).md", "# Plan\n\nOil in June.\n"),
    ]
    assert parsed.attachments[0].size_bytes == len(b"# Plan\n\nOil in May.\n")
    assert [(each.source, each.reason.split(";")[0]) for each in parsed.failures] == [
        ("box/m.eml/.._a_locked.pdf", "the file is encrypted"),
        ("box/m.eml/x.zip", "the file is an archive (zip)"),
        ("box/m.eml/none.txt", "the attachment is empty (0 bytes)"),
    ]
    opened = parse_file(path, "box/m.eml", ReadingOptions(("secret",)))
    assert [each.document.source for each in opened.attachments][-1] == "box/m.eml/.._a_locked.pdf"


def test_passwords_open_encrypted_pdfs(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(_encrypted_pdf())
    assert parse(path, "a.pdf", ReadingOptions(("wrong", "secret"))).text == "text"
    with pytest.raises(SourceError, match="none of the 1 passwords opens it"):
        parse(path, "a.pdf", ReadingOptions(("wrong",)))


def test_mail_prefers_plain_text_to_the_same_in_html(parsed: Parse) -> None:
    mail = (
        'Subject: s\nContent-Type: multipart/alternative; boundary="b"\n\n--b\nContent-Type: text/plain\n\nbody\n'
        "--b\nContent-Type: text/html\n\n<p>body</p>\n--b--\n"
    )
    assert parsed("a.eml", mail).text == "Subject: s\n\nbody"
    assert parsed("b.eml", mail.encode("utf-16")).text == "Subject: s\n\nbody"


def test_word_has_sections_lists_and_tables_without_markup(parsed: Parse) -> None:
    file = docx.Document()
    file.add_heading("Насос <GP> & Co", 1)
    file.add_paragraph("A *star*\tand_under_score: 5 < 6 & 7")
    file.add_heading("Data", 2)
    file.add_paragraph("first", style="List Bullet")
    file.add_paragraph("second", style="List Bullet")
    table = file.add_table(rows=0, cols=2)
    for row in (("A", "B"), ("1", "x|y")):
        for cell, value in zip(table.add_row().cells, row, strict=True):
            cell.text = value
    file.add_paragraph("last")
    buffer = io.BytesIO()
    file.save(buffer)
    document = parsed("a.docx", buffer.getvalue())
    assert document.text == (
        "# Насос <GP> & Co\n\nA *star*\tand_under_score: 5 < 6 & 7\n\n## Data\n\n- first\n- second\n\n"
        "| A | B |\n| --- | --- |\n| 1 | x\\|y |\n\nlast"
    )
    assert document.title == "Насос <GP> & Co"
    assert document.sections[1].heading_path == ("Насос <GP> & Co", "Data")
    assert (len(document.tables), document.pages) == (1, ())


def test_word_text_in_boxes_notes_and_tracked_changes(parsed: Parse) -> None:
    run = "<w:r><w:t>{}</w:t></w:r>".format
    box = f"<w:txbxContent><w:p>{run('boxed')}</w:p></w:txbxContent>"
    choice = f"<mc:AlternateContent xmlns:mc='urn:x'><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
    body = (
        f"<w:p>{run('before')}<w:r>{choice}</mc:AlternateContent></w:r>{run(' after')}</w:p>"
        f"<w:p><w:ins>{run('new')}</w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del>"
        "<w:r><w:footnoteReference w:id='2'/></w:r></w:p>"
        f"<w:sdt><w:sdtContent><w:p>{run('controlled')}</w:p></w:sdtContent></w:sdt>"
        f"<w:tbl><w:tr><w:tc><w:p>{run('a')}</w:p><w:p>{run('b')}</w:p></w:tc><w:tc><w:p>{run('c')}</w:p></w:tc></w:tr>"
        f"<w:tr><w:tc><w:tcPr><w:gridSpan w:val='2'/></w:tcPr><w:p>{run('wide')}</w:p></w:tc></w:tr></w:tbl>"
    )
    names = "xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("word/document.xml", f"<w:document {names}><w:body>{body}</w:body></w:document>")
        note = f"<w:footnote w:id='2'><w:p>{run('noted')}</w:p></w:footnote>"
        archive.writestr("word/footnotes.xml", f"<w:footnotes {names}>{note}</w:footnotes>")
    assert parsed("a.docx", buffer.getvalue()).text == (
        "before after\n\nboxed\n\nnew[2]\n\ncontrolled\n\n| a b | c |\n| --- | --- |\n| wide |  |\n\n[2] noted"
    )


def test_rich_text(parsed: Parse) -> None:
    document = parsed("a.rtf", r"{\rtf1\ansi The gear oil {\b must} be changed.\par Second.}")
    assert document.text == "The gear oil must be changed.\n\nSecond."


def test_sheets_are_pages(parsed: Parse) -> None:
    workbook = openpyxl.Workbook()
    for name, rows in (("Parts", [["Part", "Price"], ["ZP-1", 4.25], [None, None], ["ZP-2", 7]]), ("Kits", [["Kit"]])):
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    workbook.remove(workbook.worksheets[0])
    buffer = io.BytesIO()
    workbook.save(buffer)
    document = parsed("list.xlsx", buffer.getvalue())
    pages = [(page.number, document.text[page.start : page.end].strip()) for page in document.pages]
    assert pages == [
        (1, "## Parts\n\n| Part | Price |\n| --- | --- |\n| ZP-1 | 4.25 |\n| ZP-2 | 7 |"),
        (2, "## Kits\n\n| Kit |\n| --- |"),
    ]
    assert document.title == "list"


def test_slides_are_pages_even_when_they_say_the_same(parsed: Parse) -> None:
    document = parsed("deck.pptx", _pptx([("Same", ["alpha & <beta>"]), ("Same", ["alpha & <beta>", "ä"]), ("C", [])]))
    pages = [(page.number, document.text[page.start : page.end].strip()) for page in document.pages]
    assert pages == [(1, "## Same\n\nalpha & <beta>"), (2, "## Same\n\nalpha & <beta>\n\nä"), (3, "## C")]


def test_pdf_pages_headings_and_tables_lose_nothing_and_repeat_nothing(parsed: Parse) -> None:
    styles = getSampleStyleSheet()
    long = " ".join(f"word{i} runs on." for i in range(120))
    rows = [["Code", "Meaning"], *[[f"K-{i}", f"fault number {i}"] for i in range(12)]]
    content = [
        "Pump manual",
        "Before the table.",
        *itertools.chain(*rows),
        "After the table.",
        "Care",
        long,
        "Page two, 5 °C.",
    ]
    data = _pdf(
        [
            Paragraph("Pump manual", styles["Heading1"]),
            Paragraph("Before the table.", styles["Normal"]),
            Table(rows, style=[("GRID", (0, 0), (-1, -1), 1, "black")]),
            Paragraph("After the table.", styles["Normal"]),
            Paragraph("Care", styles["Heading2"]),
            Paragraph(long, styles["Normal"]),
            PageBreak(),
            Paragraph("Page two, 5 °C.", styles["Normal"]),
        ],
        title="Pump manual",
    )
    document = parsed("a.pdf", data)
    assert sorted(_words(document.text)) == sorted(_words(" ".join(content)))
    assert document.title == "Pump manual"
    assert document.sections[-1].heading_path == ("Pump manual", "Care")
    first, second = document.pages
    assert (first.number, second.number) == (1, 2)
    assert document.text[second.start : second.end] == "Page two, 5 °C."
    assert "\n\n## Care\n\n" in document.text


def _encrypted_pdf() -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, encrypt="secret")
    canvas.drawString(100, 100, "text")
    canvas.save()
    return buffer.getvalue()


def _drawing_pdf() -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer)
    canvas.rect(10, 10, 100, 100)
    canvas.save()
    return buffer.getvalue()


_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"", "empty"),
        ("a.pdf", _encrypted_pdf(), "encrypted"),
        ("a.docx", _OLE + "EncryptedPackage".encode("utf-16-le") + bytes(50), "encrypted"),
        ("a.xlsx", _OLE + "EncryptedPackage".encode("utf-16-le") + bytes(50), "encrypted"),
        ("a.pdf", _drawing_pdf(), "no text"),
        ("a.md", b" \n\n\t\n", "no text"),
        ("a.html", b"<html><script>x</script></html>", "no text"),
        ("a.pdf", b"%PDF-1.4 torn", "damaged"),
        ("a.docx", b"PK\x03\x04 torn", "damaged"),
        ("a.pptx", bytes(range(256)) * 10, "not what its name says"),
        ("a.pptx", b"PK\x05\x06" + bytes(18), "not what its name says"),
        ("a.xlsx", b"", "empty"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(20), "image"),
        ("picture.txt", b"\x89PNG\r\n\x1a\n" + bytes(20), "image"),
        ("a.bin", bytes(range(256)) * 10, "not supported"),
        ("binary.txt", bytes(range(256)) * 10, "binary"),
        ("a.zip", b"PK\x05\x06" + bytes(18), "unpack"),
        ("a.eml", b"Content-Type: multipart/encrypted; boundary=b\n\n--b--\n", "encrypted"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(parsed: Parse, name: str, data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as error:
        parsed(name, data)
    assert "\n" not in str(error.value)


def test_a_file_over_the_bound_is_refused(parsed: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MAX_BYTES", 10)
    with pytest.raises(SourceError, match="11 bytes"):
        parsed("a.txt", b"x" * 11)


def test_a_missing_file_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be opened"):
        parse(tmp_path / "gone.txt", "gone.txt")


def test_a_readers_bug_is_a_source_error_but_lack_of_memory_is_not(
    parsed: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(error: Exception) -> Callable[[bytes], object]:
        def read(_: bytes) -> object:
            raise error

        return read

    monkeypatch.setitem(parsing._READERS, "text/plain", broken(LookupError("too\ndeep")))
    with pytest.raises(SourceError, match="LookupError: too deep"):
        parsed("a.txt", b"x")
    monkeypatch.setitem(parsing._READERS, "text/plain", broken(RecursionError()))
    with pytest.raises(SourceError, match="nested too deeply"):
        parsed("a.txt", b"x")
    monkeypatch.setitem(parsing._READERS, "text/plain", broken(MemoryError()))
    with pytest.raises(MemoryError):
        parsed("a.txt", b"x")


def test_text_without_a_known_ending_is_plain_text(parsed: Parse) -> None:
    assert parsed("LICENSE", "Some licence text").media_type == "text/plain"


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Pump manual", "Pump manual"),
        ("untitled", "First"),
        ("(anonymous)", "First"),
        ("Microsoft Word - draft7.doc", "First"),
        ("12345", "First"),
    ],
)
def test_titles_that_say_nothing_are_not_taken(parsed: Parse, title: str, expected: str) -> None:
    data = _pdf([Paragraph("First", getSampleStyleSheet()["Heading1"]), *_paragraphs(6)], title=title)
    assert parsed("scan_0001.pdf", data).title == expected


def _paragraphs(count: int) -> list[Paragraph]:
    return [Paragraph("Plain text of some length follows here. " * 4, getSampleStyleSheet()["Normal"])] * count


def test_the_fingerprint_names_the_parser() -> None:
    assert "kreuzberg" in parser_fingerprint()

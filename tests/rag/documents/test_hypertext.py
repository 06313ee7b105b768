import re

from hypothesis import given
from hypothesis import strategies as st

from rag.documents.hypertext import read_html


def _text(html: str) -> str:
    return read_html(html.encode("utf-8")).text


def test_text_outside_of_paragraphs_is_kept() -> None:
    html = "<div>loose <b>bold</b></div>tail<blockquote>quoted</blockquote><dl><dt>Term<dd>Meaning</dl>"
    assert _text(html) == "loose bold\n\ntail\n\nquoted\n\nTerm\n\nMeaning"


def test_markup_signs_of_the_text_are_kept_as_they_are() -> None:
    assert _text("<p>a &lt;b@c&gt; *star* 5 &amp; 6 <a href='x'>link</a></p>") == "a <b@c> *star* 5 & 6 link"


def test_what_a_browser_hides_is_no_text() -> None:
    html = "<style>p{}</style><script>if (a<b) x()</script><p>seen</p><div hidden>secret <div>x</div></div><p>also"
    assert _text(html) == "seen\n\nalso"


def test_lists_keep_their_order_and_depth() -> None:
    html = "<ul><li>one<ul><li>inner</ul><li><p>two</p><p>more</p></ul><ol><li>a<li>b</ol>"
    assert _text(html) == "- one\n  - inner\n- two\n  more\n1. a\n2. b"


def test_tables_become_pipe_tables_with_spans_filled() -> None:
    html = "<table><caption>Cap</caption><tr><th>A|x<th>B<th>C<tr><td rowspan=2>1<td>2<td>3<tr><td colspan=2>4</table>"
    layout = read_html(html.encode())
    (table,) = layout.tables
    assert layout.text[table.start : table.end] == "| A\\|x | B | C |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n| 1 | 4 |  |"
    assert table.header == "| A\\|x | B | C |"
    assert layout.text.startswith("Cap\n\n")


def test_a_table_for_the_looks_is_no_table() -> None:
    html = "<table><tr><td><h2>Title</h2><p>text</p><table><tr><td>1<td>2<tr><td>3<td>4</table><td>side</table>"
    layout = read_html(html.encode())
    assert layout.text == "## Title\n\ntext\n\n| 1 | 2 |\n| --- | --- |\n| 3 | 4 |\n\nside"
    assert [section.heading_path for section in layout.sections] == [("Title",)]


def test_title_and_date_are_metadata() -> None:
    layout = read_html(b"<title>A &amp; B</title><meta name=date content=2024-03-01><p>x</p>")
    assert (layout.title, layout.date, layout.text) == ("A & B", "2024-03-01", "x")


def test_the_declared_encoding_is_used() -> None:
    page = '<meta charset="windows-1251"><p>Насос</p>'
    assert read_html(page.encode("cp1251")).text == "Насос"


_WORD = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
_TAGS = ["p", "div", "b", "ul", "li", "table", "tr", "td", "th", "h2", "pre", "span", "ol", "blockquote", "caption"]


@given(
    st.lists(
        st.one_of(
            _WORD, st.sampled_from(_TAGS).map(lambda t: f"<{t}>"), st.sampled_from(_TAGS).map(lambda t: f"</{t}>")
        )
    )
)
def test_no_word_is_lost_or_told_twice_however_the_tags_nest(parts: list[str]) -> None:
    words = [part for part in parts if not part.startswith("<")]
    found = re.findall(r"[a-z]+", _text(" ".join(parts)))
    assert sorted(found) == sorted(words)

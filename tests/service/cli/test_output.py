import io
import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cli import output

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))
# What a file's name can hold: bytes that are no UTF-8 come as surrogates of the low half.
NAMES = st.text(alphabet=st.characters(exclude_categories=("Cs",)) | st.sampled_from("\udc80\udcff"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=5,
)


@given(ANY_TEXT)
def test_printable_text_cannot_drive_a_terminal(text: str) -> None:
    shown = output.printable(text)
    assert all(
        unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        for character in shown
        if character not in "\n\t"
    )
    assert all(unicodedata.bidirectional(character) not in ("LRO", "RLO", "LRI", "RLI", "FSI") for character in shown)


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "M", "Zs"))))
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert output.printable(text) == text


@given(ANY_TEXT)
def test_a_name_takes_one_line(text: str) -> None:
    assert not set(output.name(text)) & {"\n", "\t", "\r", "\x1b"}


def test_names_tell_what_was_escaped() -> None:
    assert output.name("a\x1b[2Jb\nc\u202ed\udcff") == "a\\x1b[2Jb\\nc\\u202ed\\udcff"


def test_white_space_in_a_line_is_one_space() -> None:
    assert output.one_line("  Valve\n\n torque \t 12 Nm\r\n") == "Valve torque 12 Nm"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
@given(value=JSON)
def test_json_comes_back_whole_through_any_encoding(encoding: str, value: output.Json) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
    old, sys.stdout = sys.stdout, stream
    try:
        output.print_json(value)
    finally:
        sys.stdout = old
    stream.flush()
    assert json.loads(raw.getvalue().decode(encoding)) == value


def test_an_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_error("the file \x1b[31mplan\n.pdf\x1b[0m is encrypted")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: the file \\x1b[31mplan .pdf\\x1b[0m is encrypted\n"


def test_a_table_shows_every_cell_and_reads_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("document", "score"), [("[bold]x[/bold].pdf", 0.25), ("y" * 100, None)], numbers=["score"])
    out, _ = capsys.readouterr()
    assert "[bold]x[/bold].pdf" in out
    assert "0.250" in out
    assert out.splitlines()[-1].startswith("y" * 100), "a row is a line where nobody watches"
    assert "-" in out


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (83_506_384, "84 MB"), (2_500_000_000, "2.5 GB")]
)
def test_sizes_are_rounded_for_people(count: int, shown: str) -> None:
    assert output.size(count) == shown

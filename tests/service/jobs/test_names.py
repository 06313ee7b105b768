"""Whatever passes as a name is harmless everywhere it will stand, and whatever is refused is refused in one line."""

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag.errors import UsageError
from service.jobs.names import MAX_BYTES, MAX_PART_BYTES, source_of

PIECES = st.sampled_from(
    [
        "a",
        "..",
        ".",
        "/",
        "\\",
        "con",
        "NUL",
        ".txt",
        " ",
        "\0",
        "\n",
        "\u202e",
        "\ud800",
        "é",
        "e\u0301",
        "~$",
        ":",
        "C:",
    ]
)
NAMES = st.one_of(st.text(), st.lists(PIECES, max_size=8).map("".join))


@given(NAMES)
@example("../../etc/passwd")
@example("a/../b")
def test_what_passes_is_harmless(name: str) -> None:
    try:
        source = source_of(name)
    except UsageError as error:
        said = str(error)
        source = None
    if source is None:
        assert said.isprintable()
        said.encode()
        return
    assert source == unicodedata.normalize("NFC", name)
    assert source_of(source) == source
    source.encode()
    assert len(source.encode()) <= MAX_BYTES
    path = PurePosixPath(source)
    assert not path.is_absolute()
    assert path.as_posix() == source, "no part that a file system would leave out"
    assert ".." not in path.parts
    windows = PureWindowsPath(source)
    assert not windows.drive
    assert windows.parts == path.parts
    assert all(len(part.encode()) <= MAX_PART_BYTES for part in path.parts)
    assert all(unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") for character in source)


@pytest.mark.parametrize(
    "name",
    [
        "manual.pdf", "pumps/zp-40.md", "a b.txt", "…и так далее.docx", "手册.pdf", "a..b", "Straße (2).pdf",
        "re: x.txt", "console.log", "nulls.txt", "com10.txt", "100%.txt", "क्‍ष.txt",
    ],
)  # fmt: skip
def test_names_that_people_use_pass_unchanged(name: str) -> None:
    assert source_of(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("../secret", "'..'"),
        ("a/./b", "'.'"),
        ("a//b", "''"),
        ("a/", "''"),
        ("/etc/passwd", "absolute"),
        ("C:/x", "absolute"),
        ("C:\\x", "backslash"),
        ("..\\x", "backslash"),
        ("a\0b", r"U\+0000"),
        ("a\r\nb", r"U\+000D"),
        ("\u202egpj.exe", r"U\+202E"),
        ("a\ud800", r"U\+D800"),
        ("\ufdd0", r"U\+FDD0"),
        (".bashrc", "hidden"),
        ("~$report.docx", "hidden"),
        ("a/.git/config", "hidden"),
        ("con", "reserved"),
        ("AUX.txt", "reserved"),
        ("nul .tar.gz", "reserved"),
        ("LPT¹.md", "reserved"),
        ("x/com3", "reserved"),
        ("ends. ", "space"),
        ("ends.", "dot"),
        ("a" * 256, "longer than 255"),
        ("é" * 128, "longer than 255"),
        ("/".join(["a" * 200] * 6), "longer than 1024"),
    ],
)
def test_what_is_wrong_is_said(name: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        source_of(name)

"""The parser gives what was put in, wherever the bytes are cut."""

from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import UsageError
from service.api.multipart import MultipartReader, PartData, PartEnd, PartStart, boundary_of

BOUNDARY = b"xyz"


def parts_of(body: bytes, cuts: list[int], boundary: bytes = BOUNDARY) -> list[tuple[str, str | None, bytes]]:
    reader = MultipartReader(boundary)
    parts: list[tuple[str, str | None, bytes]] = []
    ends = 0
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        for event in reader.feed(body[start:end]):
            match event:
                case PartStart(name, filename):
                    parts.append((name, filename, b""))
                case PartData(data):
                    name, filename, before = parts[-1]
                    parts[-1] = (name, filename, before + data)
                case PartEnd():
                    ends += 1
    reader.close()
    assert ends == len(parts)
    return parts


CONTENTS = st.binary(max_size=200) | st.lists(
    st.sampled_from([b"\r\n", b"--", b"-", b"\r", b"\n", b"xy", b"\r\n--xy", b"\r\n--"]), max_size=12
).map(b"".join)


@given(st.lists(CONTENTS.filter(lambda data: b"\r\n--xyz" not in b"\r\n" + data), max_size=4), st.lists(st.integers(0)))
def test_every_cut_gives_the_same_parts(contents: list[bytes], cuts: list[int]) -> None:
    body = b"preamble\r\n" + b"".join(
        b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="%d"\r\nX: y\r\n\r\n%s\r\n' % (number, content)
        for number, content in enumerate(contents)
    )
    assert parts_of(body + b"--xyz--\r\nepilogue", cuts) == [("f", str(n), each) for n, each in enumerate(contents)]


@pytest.mark.parametrize(
    "name", ["a.txt", 'quo"te.txt', "手册.pdf", "line\r\nbreak", "semi;colon=x.txt", "back\\slash"]
)
def test_what_a_client_library_sends_is_understood(name: str) -> None:
    request = httpx.Request("POST", "http://x", files=[("file", (name, b"\0\r\n"))], data={"field": "value"})
    boundary = boundary_of(request.headers["content-type"])
    assert boundary is not None
    parts = parts_of(request.read(), [], boundary)
    assert parts == [("field", None, b"value"), ("file", name, b"\0\r\n")]


def test_the_extended_form_of_a_name_wins() -> None:
    header = b"form-data; name=f; filename=\"x\"; filename*=UTF-8''%E6%89%8B.pdf"
    body = b"--xyz\r\nContent-Disposition: " + header + b"\r\n\r\n\r\n--xyz--"
    assert parts_of(body, []) == [("f", "手.pdf", b"")]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b"', b"a b"),
        ("multipart/form-data", None),
        ("multipart/mixed; boundary=abc", None),
        ("application/json", None),
        (f"multipart/form-data; boundary={'a' * 71}", None),
    ],
)
def test_boundaries(content_type: str, boundary: bytes | None) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\ncut off',
        b"--xyz junk\r\n",
        b"--xyz\r\n\r\nno headers\r\n--xyz--",
        b"--xyz\r\nContent-Disposition: attachment; name=f\r\n\r\n\r\n--xyz--",
        b"--xyz\r\nContent-Disposition: form-data; filename=f\r\n\r\n\r\n--xyz--",
        b"--xyz\r\nContent-Disposition: form-data; name=\xff\r\n\r\n\r\n--xyz--",
        b"--xyz\r\nContent-Disposition: form-data; name=f; filename*=nix''%ff\r\n\r\n\r\n--xyz--",
        b"--xyz\r\nX: " + b"a" * 20_000,
        b"--xyz" + b" " * 20_000,
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError):
        parts_of(body, [])

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.chunking import Chunker
from rag.config import ChunkingSettings
from rag.documents.layout import LayoutBuilder
from rag.documents.parsing import parse
from rag.errors import ConfigError
from rag.fakes import FakeEmbedder
from rag.types import Chunk, Document, embedded_text


class LetterEmbedder(FakeEmbedder):
    """Three letters are a token, a sign is one: words have to be cut, and the parts don't add up exactly."""

    def count_tokens(self, text: str) -> int:
        return len(re.findall(r"\w{1,3}|[^\w\s]", text)) + 2


def _document(builder: LayoutBuilder, title: str = "Pump manual") -> Document:
    layout = builder.build()
    return Document(
        "a.md", title, layout.text, "text/markdown", "0", sections=layout.sections, pages=layout.pages,
        tables=layout.tables,
    )  # fmt: skip


def _bare(text: str, title: str = "Title of it") -> Document:
    return Document("a.txt", title, text, "text/plain", "0")


def _check(document: Document, chunks: Sequence[Chunk], embedder: FakeEmbedder, window: int) -> None:
    covered: set[int] = set()
    for chunk in chunks:
        assert document.text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert embedder.count_tokens(embedded_text(chunk.context, chunk.text)) <= window
        covered.update(range(chunk.start, chunk.end))
    assert [chunk.start for chunk in chunks] == sorted({chunk.start for chunk in chunks})
    assert all(document.text[i].isspace() for i in set(range(len(document.text))) - covered)


_BLOCKS = st.lists(
    st.one_of(
        st.tuples(st.just("heading"), st.integers(1, 4), st.text(min_size=1, max_size=60)),
        st.tuples(st.just("paragraph"), st.just(0), st.text(max_size=400)),
        st.tuples(st.just("words"), st.integers(1, 150), st.sampled_from(["oil. ", "насос ", "油温。", "a-b/2, "])),
        st.tuples(st.just("item"), st.integers(0, 3), st.text(max_size=80)),
        st.tuples(st.just("table"), st.integers(1, 40), st.text(max_size=30)),
        st.tuples(st.just("page"), st.just(0), st.just("")),
    ),
    max_size=12,
)


@st.composite
def _documents(draw: st.DrawFn) -> Document:
    builder = LayoutBuilder()
    pages = itertools.count(1)
    for kind, number, text in draw(_BLOCKS):
        if kind == "heading":
            builder.heading(number, text)
        elif kind == "item":
            builder.item(text, number)
        elif kind == "table":
            builder.table([["Key", "Value"], *([f"K-{row}", text] for row in range(number))])
        elif kind == "page":
            builder.page(next(pages))
        else:
            builder.paragraph(text * number if kind == "words" else text)
    return _document(builder, draw(st.text(max_size=80)))


@given(
    _documents(),
    st.sampled_from([FakeEmbedder, LetterEmbedder]),
    st.integers(32, 300),
    st.floats(0.01, 0.5),
    st.integers(0, 16),
)
@settings(max_examples=300, deadline=None)
def test_chunks_fit_and_cover_every_document(
    document: Document, kind: type[FakeEmbedder], window: int, share: float, overlap: int
) -> None:
    embedder = kind(max_tokens=window)
    chunker = Chunker(ChunkingSettings(context_share=share, overlap_tokens=overlap), embedder)
    _check(document, chunker.chunk(document), embedder, window)


@given(st.text(max_size=3000))
@settings(deadline=None)
def test_chunks_fit_and_cover_any_text(text: str) -> None:
    embedder = LetterEmbedder(max_tokens=40)
    _check(_bare(text), Chunker(ChunkingSettings(), embedder).chunk(_bare(text)), embedder, 40)


@pytest.mark.parametrize("text", ["x" * 5000, "油" * 3000, "油温上限。" * 800, "a" * 4999 + " b", "🤠" * 700])
@pytest.mark.parametrize("kind", [FakeEmbedder, LetterEmbedder])
def test_text_without_spaces_is_cut(text: str, kind: type[FakeEmbedder]) -> None:
    embedder = kind(max_tokens=64)
    chunks = Chunker(ChunkingSettings(), embedder).chunk(_bare(text))
    _check(_bare(text), chunks, embedder, 64)
    assert max(len(chunk.text) for chunk in chunks) <= 64 * 10


def test_a_blank_document_has_no_chunks() -> None:
    assert Chunker(ChunkingSettings(), FakeEmbedder()).chunk(_bare(" \n\t ")) == []


def _section(builder: LayoutBuilder, level: int, name: str, words: int) -> None:
    builder.heading(level, name)
    if words:
        builder.paragraph(" ".join([name.lower().replace(" ", "")] * words))


def test_large_sections_are_never_mixed_and_small_ones_are_merged() -> None:
    builder = LayoutBuilder()
    _section(builder, 1, "Manual", 0)
    for name, words in (("Large one", 45), ("Large two", 45), ("Small one", 6), ("Small two", 6), ("Large three", 45)):
        _section(builder, 2, name, words)
    chunks = Chunker(ChunkingSettings(), FakeEmbedder(max_tokens=64)).chunk(_document(builder, "Manual"))
    headings = [re.findall(r"^#+ (.+)$", chunk.text, re.MULTILINE) for chunk in chunks]
    assert headings == [["Manual", "Large one"], ["Large two"], ["Small one", "Small two"], ["Large three"]]
    assert [chunk.heading_path for chunk in chunks] == [
        ("Manual",), ("Manual", "Large two"), ("Manual",), ("Manual", "Large three")
    ]  # fmt: skip
    assert [chunk.context for chunk in chunks] == ["", "Manual", "Manual", "Manual"]


def test_sections_below_different_parents_are_not_merged() -> None:
    builder = LayoutBuilder()
    for parent in ("A", "B"):
        builder.heading(1, f"Parent {parent}")
        for child in ("x", "y"):
            _section(builder, 2, f"Child {parent}{child}", 5)
    chunks = Chunker(ChunkingSettings(), FakeEmbedder(max_tokens=200)).chunk(_document(builder))
    for chunk in chunks:
        assert len(set(re.findall(r"Child (\w)", chunk.text))) <= 1


def test_a_heading_never_stands_alone_before_its_text() -> None:
    builder = LayoutBuilder()
    _section(builder, 1, "Title", 0)
    _section(builder, 2, "Care", 300)
    chunks = Chunker(ChunkingSettings(), FakeEmbedder(max_tokens=64)).chunk(_document(builder))
    assert chunks[0].text.startswith("# Title\n\n## Care\n\ncare care")
    assert all(chunk.context == "Pump manual > Title > Care" for chunk in chunks[1:])


def test_the_context_does_not_repeat_the_text_and_keeps_its_share() -> None:
    builder = LayoutBuilder()
    for level in range(1, 6):
        builder.heading(level, f"Level {level} " + "very long heading " * 3)
    builder.paragraph("word " * 400)
    embedder = FakeEmbedder(max_tokens=64)
    chunks = Chunker(ChunkingSettings(context_share=0.25), embedder).chunk(_document(builder))
    for chunk in chunks:
        assert embedder.count_tokens(chunk.context) - 2 <= 0.25 * 62
        for name in chunk.heading_path:
            assert not (f"{name}\n" in chunk.text and name in chunk.context)


def test_a_table_that_fits_is_whole() -> None:
    builder = LayoutBuilder()
    builder.heading(1, "Data")
    builder.paragraph("word " * 30)
    rows = [["Key", "Value"], *([f"K{i}", str(i)] for i in range(5))]
    builder.table(rows)
    chunks = Chunker(ChunkingSettings(), FakeEmbedder(max_tokens=64)).chunk(_document(builder))
    assert sum("| K0 | 0 |" in chunk.text and "| K4 | 4 |" in chunk.text for chunk in chunks) == 1
    assert not any("| Key |" in chunk.context for chunk in chunks)


def test_a_split_table_is_cut_between_rows_and_repeats_its_header_in_the_context() -> None:
    builder = LayoutBuilder()
    builder.heading(1, "Prices")
    builder.table([["Part", "Price"], *([f"P{i}", f"{i} EUR"] for i in range(60))])
    document = _document(builder)
    chunks = Chunker(ChunkingSettings(), FakeEmbedder(max_tokens=64)).chunk(document)
    assert len(chunks) > 3
    for chunk in chunks[1:]:
        assert chunk.context.splitlines()[-1] == "| Part | Price |"
        assert "| Part |" not in chunk.text
        assert all(re.fullmatch(r"\| P\d+ \| \d+ EUR \|", line) for line in chunk.text.splitlines())
    assert "| Part |" not in chunks[0].context
    sizes = [len(chunk.text.splitlines()) for chunk in chunks[1:]]
    assert max(sizes) - min(sizes) <= 3, "rows are spread evenly"


def test_pages_are_those_the_chunks_start_on_and_a_sentence_is_not_torn() -> None:
    builder = LayoutBuilder()
    builder.heading(1, "Care")
    for number, text in ((1, "First page. The oil is"), (2, "changed yearly. Second page."), (3, "Third page.")):
        builder.page(number)
        builder.paragraph(text)
    chunks = Chunker(ChunkingSettings(), FakeEmbedder(max_tokens=64)).chunk(_document(builder))
    assert [(chunk.page, chunk.text) for chunk in chunks[-3:]] == [
        (None, "# Care\n\nFirst page. The oil is\n\nchanged yearly."), (2, "Second page."), (3, "Third page.")
    ]  # fmt: skip
    assert chunks[-1].context == "Pump manual > Care"


def test_overlap_begins_with_whole_sentences_of_the_chunk_before() -> None:
    sentences = [f"Sentence number {i} ends here." for i in range(40)]
    document = _bare(" ".join(sentences))
    embedder = FakeEmbedder(max_tokens=64)
    chunks = Chunker(ChunkingSettings(overlap_tokens=14), embedder).chunk(document)
    _check(document, chunks, embedder, 64)
    for earlier, later in itertools.pairwise(chunks):
        assert later.start < earlier.end
        assert (
            document.text[later.start : earlier.end]
            == " ".join(sentences[: 2 * len(sentences)])[later.start : earlier.end]
        )
        assert document.text[later.start : earlier.end].startswith("Sentence number")


def test_the_fingerprint_tells_settings_and_embedders_apart() -> None:
    fingerprints = {
        Chunker(ChunkingSettings(), FakeEmbedder()).fingerprint,
        Chunker(ChunkingSettings(), FakeEmbedder(max_tokens=128)).fingerprint,
        Chunker(ChunkingSettings(overlap_tokens=3), FakeEmbedder()).fingerprint,
        Chunker(ChunkingSettings(context_share=0.1), FakeEmbedder()).fingerprint,
    }
    assert len(fingerprints) == 4
    assert Chunker(ChunkingSettings(), FakeEmbedder()).fingerprint in fingerprints


@pytest.mark.parametrize("wrong", [ChunkingSettings(max_tokens=65), ChunkingSettings(overlap_tokens=40)])
def test_settings_that_do_not_fit_the_embedder_are_refused(wrong: ChunkingSettings) -> None:
    with pytest.raises(ConfigError, match=r"6[45]|40"):
        Chunker(wrong, FakeEmbedder(max_tokens=64))


def test_the_sample_corpus_is_chunked_soundly() -> None:
    folder = Path(__file__).parents[2] / "data" / "sample" / "documents"
    embedder = LetterEmbedder(max_tokens=256)
    chunker = Chunker(ChunkingSettings(), embedder)
    for path in sorted(folder.rglob("*.*")):
        document = parse(path, path.name)
        _check(document, chunker.chunk(document), embedder, 256)

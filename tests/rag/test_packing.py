"""Packing never exceeds its budget, and every passage is a true span of its document."""

import itertools
import string

from hypothesis import given
from hypothesis import strategies as st

from rag.fakes import WordCounter
from rag.packing import contains, numbered, pack, pack_documents
from rag.prompting import render_evidence
from rag.types import Document, Evidence, Hit, StoredChunk

COUNTER = WordCounter()
TEXTS = {f"doc{n}": " ".join(f"{letter}{n}" for letter in string.ascii_lowercase) for n in range(3)}


def read_span(document_id: str, version: str, start: int, end: int) -> str:
    return TEXTS[document_id][start:end]


def hit(document_id: str, start: int, end: int, score: float) -> Hit:
    text = TEXTS[document_id][start:end]
    chunk_id = f"{document_id}:{start}:{end}"
    return Hit(
        StoredChunk(
            0, chunk_id, document_id, "v", f"{document_id}.md", document_id, "en", start, end, None, (), "", text
        ),
        score,
        {},
    )


@st.composite
def hits(draw: st.DrawFn) -> list[Hit]:
    found = []
    for rank in range(draw(st.integers(0, 12))):
        document_id = draw(st.sampled_from(sorted(TEXTS)))
        start = draw(st.integers(0, 70))
        end = draw(st.integers(start + 1, len(TEXTS[document_id])))
        if TEXTS[document_id][start:end].strip():
            found.append(hit(document_id, start, end, 1.0 - rank / 100))
    return found


def rendered_tokens(evidence: tuple[Evidence, ...]) -> int:
    return COUNTER.count_text("\n".join(render_evidence(item) for item in evidence))


@given(hits(), st.integers(0, 200), st.sampled_from(["document", "score", "edges", "best-document"]))
def test_budget_spans_and_account(found: list[Hit], budget: int, order: str) -> None:
    packed = pack(found, budget_tokens=budget, counter=COUNTER, read_span=read_span, order=order)  # type: ignore[arg-type]
    assert rendered_tokens(packed.evidence) <= packed.tokens <= max(budget, 0)
    for item in packed.evidence:
        assert TEXTS[item.document_id][item.start : item.end] == item.text
    assert [item.number for item in packed.evidence] == list(range(1, len(packed.evidence) + 1))
    # Every hit is either shown or named as dropped; merged ones are both.
    shown = {chunk_id for item in packed.evidence for chunk_id in item.chunk_ids}
    named = {item.chunk_id for item in packed.dropped}
    assert {h.chunk.id for h in found} <= shown | named


@given(hits())
def test_passages_of_a_document_never_overlap(found: list[Hit]) -> None:
    packed = pack(found, budget_tokens=10_000, counter=COUNTER, read_span=read_span)
    by_place = sorted(packed.evidence, key=lambda item: (item.document_id, item.start))
    for first, second in itertools.pairwise(by_place):
        assert first.document_id != second.document_id or first.end < second.start


@given(st.permutations([("doc0", 0, 8), ("doc1", 0, 8), ("doc2", 20, 40), ("doc0", 40, 60)]))
def test_canonical_order_does_not_depend_on_scores(spans: list[tuple[str, int, int]]) -> None:
    found = [hit(*span, 1.0 - rank / 10) for rank, span in enumerate(spans)]
    packed = pack(found, budget_tokens=10_000, counter=COUNTER, read_span=read_span)
    assert [(item.source, item.start) for item in packed.evidence] == [
        ("doc0.md", 0),
        ("doc0.md", 40),
        ("doc1.md", 0),
        ("doc2.md", 20),
    ]


def test_the_document_with_the_best_passage_comes_first_and_reads_in_its_own_order() -> None:
    spans = [("doc1", 40, 60), ("doc0", 0, 8), ("doc2", 20, 40), ("doc1", 0, 8), ("doc0", 40, 60)]
    found = [hit(*span, 1.0 - rank / 10) for rank, span in enumerate(spans)]
    packed = pack(found, budget_tokens=10_000, counter=COUNTER, read_span=read_span, order="best-document")
    assert [(item.number, item.source, item.start) for item in packed.evidence] == [
        (1, "doc1.md", 0),
        (2, "doc1.md", 40),
        (3, "doc0.md", 0),
        (4, "doc0.md", 40),
        (5, "doc2.md", 20),
    ]


def test_the_best_stand_at_both_ends_and_the_weakest_in_the_middle() -> None:
    spans = [("doc0", 0, 8), ("doc1", 0, 8), ("doc2", 0, 8), ("doc0", 40, 60), ("doc1", 40, 60)]
    found = [hit(*span, 1.0 - rank / 10) for rank, span in enumerate(spans)]
    packed = pack(found, budget_tokens=10_000, counter=COUNTER, read_span=read_span, order="edges")
    assert [item.score for item in packed.evidence] == [1.0, 0.8, 0.6, 0.7, 0.9]


def beside(chunk: StoredChunk) -> list[StoredChunk]:
    """The words before and after, eight characters each."""
    spans = [(chunk.end + 1, min(chunk.end + 9, 77)), (max(0, chunk.start - 9), chunk.start - 1)]
    return [hit(chunk.document_id, start, end, 0.0).chunk for start, end in spans if start < end]


@given(hits(), st.integers(0, 200), st.floats(0, 0.5))
def test_neighbours_keep_to_their_share_and_never_cost_the_first_hit(
    found: list[Hit], budget: int, share: float
) -> None:
    without = pack(found, budget_tokens=budget, counter=COUNTER, read_span=read_span)
    packed = pack(found, budget_tokens=budget, counter=COUNTER, read_span=read_span, beside=beside, beside_share=share)
    assert rendered_tokens(packed.evidence) <= packed.tokens <= budget
    assert sum(cost for _, cost in packed.costs) == packed.tokens
    for item in packed.evidence:
        assert TEXTS[item.document_id][item.start : item.end] == item.text
    ids = {each.chunk.id for each in found}
    for neighbour in packed.neighbours:
        assert neighbour.beside in ids
        assert any(neighbour.chunk_id in item.chunk_ids for item in packed.evidence)
    if share == 0:
        assert packed == without
    if without.evidence:
        best = found[0].chunk if not any(d.chunk_id == found[0].chunk.id for d in without.dropped) else None
        assert best is None or any(contains(item, best) for item in packed.evidence)


def test_a_neighbour_joins_its_passage_and_is_named() -> None:
    packed = pack(
        [hit("doc0", 9, 17, 1.0)],
        budget_tokens=1000,
        counter=COUNTER,
        read_span=read_span,
        beside=beside,
        beside_share=0.5,
    )
    (item,) = packed.evidence
    assert (item.start, item.end) == (0, 26)
    assert [each.chunk_id for each in packed.neighbours] == ["doc0:18:26", "doc0:0:8"]
    assert packed.dropped == ()


def test_touching_chunks_become_one_passage() -> None:
    packed = pack(
        [hit("doc0", 0, 8, 1.0), hit("doc0", 9, 17, 0.9)], budget_tokens=1000, counter=COUNTER, read_span=read_span
    )
    (item,) = packed.evidence
    assert (item.start, item.end, item.score) == (0, 17, 1.0)
    assert [d.reason for d in packed.dropped] == ["merged"]


def test_a_passage_shown_in_an_earlier_turn_is_not_shown_again_and_numbers_go_on() -> None:
    first = pack([hit("doc0", 0, 8, 1.0)], budget_tokens=1000, counter=COUNTER, read_span=read_span)
    second = pack(
        [hit("doc0", 0, 8, 1.0), hit("doc1", 0, 8, 0.5)],
        budget_tokens=1000,
        counter=COUNTER,
        read_span=read_span,
        shown=first.evidence,
    )
    assert [(item.document_id, item.number) for item in second.evidence] == [("doc1", 2)]
    assert [d.reason for d in second.dropped] == ["duplicate"]


def test_a_hit_too_large_is_dropped_whole_and_a_smaller_one_still_fits() -> None:
    packed = pack(
        [hit("doc0", 0, 77, 1.0), hit("doc1", 0, 8, 0.5)], budget_tokens=30, counter=COUNTER, read_span=read_span
    )
    assert [item.document_id for item in packed.evidence] == ["doc1"]
    assert [(d.chunk_id, d.reason) for d in packed.dropped] == [("doc0:0:77", "budget")]


def test_whole_documents_while_they_fit() -> None:
    documents = [(name, Document(f"{name}.md", name, text, "text/plain", "v"), 1.0) for name, text in TEXTS.items()]
    one = COUNTER.count_text(
        render_evidence(
            numbered(pack_documents(documents[:1], budget_tokens=1000, counter=COUNTER).evidence, 999, "document")[0]
        )
    )
    packed = pack_documents(documents, budget_tokens=2 * one + 4, counter=COUNTER, first=5)
    assert [item.number for item in packed.evidence] == [5, 6]
    assert [item.text for item in packed.evidence] == [TEXTS["doc0"], TEXTS["doc1"]]
    assert [d.reason for d in packed.dropped] == ["budget"]


def test_a_document_shown_whole_is_not_shown_again_and_numbers_go_on() -> None:
    documents = [(name, Document(f"{name}.md", name, text, "text/plain", "v"), 1.0) for name, text in TEXTS.items()]
    first = pack_documents(documents[:1], budget_tokens=1000, counter=COUNTER)
    second = pack_documents(documents[:2], budget_tokens=1000, counter=COUNTER, shown=first.evidence)
    assert [(item.document_id, item.number) for item in second.evidence] == [("doc1", 2)]
    assert [(item.chunk_id, item.reason) for item in second.dropped] == [("doc0", "duplicate")]
    changed = [("doc0", Document("doc0.md", "doc0", TEXTS["doc0"], "text/plain", "w"), 1.0)]
    third = pack_documents(changed, budget_tokens=1000, counter=COUNTER, shown=first.evidence, first=7)
    assert [(item.version, item.number) for item in third.evidence] == [("w", 7)]

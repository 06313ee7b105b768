"""Readers at a number see exactly what was stored up to it: the old version or the new, never both, never neither."""

from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rag.workshop import Workshop

# A history is a list of changes: a document's new text, or its removal (None).
TEXTS = st.sampled_from(["red", "green\nblue", "red\ngreen", "white"])
CHANGES = st.lists(st.tuples(st.sampled_from("abc"), st.one_of(TEXTS, TEXTS, st.none())), max_size=10)


names = count()


# The home is shared, but each example has collections of its own.
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, sweep_at=st.integers(0, 12))
def test_every_number_shows_one_state(workshop: Workshop, changes: list[tuple[str, str | None]], sweep_at: int) -> None:
    collection = workshop.collection(f"c{next(names)}")
    other = workshop.collection(f"c{next(names)}")
    workshop.put(other, "a", "red\ngreen")
    state: dict[str, str] = {}
    states: dict[int, dict[str, str]] = {0: {}}
    for source, text in changes:
        if text is not None:
            state = {**state, source: text}
            states[workshop.put(collection, source, text)] = state
        elif source in state:
            # A removal reaches every number: that is what it is for.
            workshop.catalog.remove_document(collection, source)
            state = {name: kept for name, kept in state.items() if name != source}
            states = {
                seq: {name: kept for name, kept in then.items() if name != source} for seq, then in states.items()
            }
    workshop.catalog.sweep(collection, min(sweep_at, max(states)))
    for seq, expected in states.items():
        if seq >= sweep_at:
            assert _visible(workshop, collection.id, seq) == expected
            rows = workshop.catalog.rows_for_index(collection.id, {seq}).tolist()
            assert workshop.catalog.visible_rows(collection.id, rows, seq) == set(rows)
            for source, text in expected.items():
                assert workshop.catalog.document(collection, source, seq).text == text
    assert _visible(workshop, other.id, 1) == {"a": "red\ngreen"}
    assert {info.source for info in workshop.catalog.documents(collection)} == set(state)
    assert workshop.catalog.damage() == []


def _visible(workshop: Workshop, collection_id: int, seq: int) -> dict[str, str]:
    """Every document as its visible chunks spell it: two versions at once would spell another text."""
    chunks = workshop.catalog.chunks(collection_id, range(3000), seq).values()
    lines: dict[str, list[str]] = {}
    for chunk in sorted(chunks, key=lambda chunk: (chunk.source, chunk.start)):
        lines.setdefault(chunk.source, []).append(chunk.text)
    return {source: "\n".join(texts) for source, texts in lines.items()}

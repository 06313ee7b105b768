from hypothesis import given
from hypothesis import strategies as st

from rag.index.ties import best_rows
from rag.types import ScoredRow


@given(st.lists(st.sampled_from([0.1, 0.5, 0.9]), max_size=60), st.integers(0, 70), st.randoms())
def test_ties_are_broken_by_row_whatever_the_index_prefers(scores: list[float], limit: int, random: object) -> None:
    hits = [ScoredRow(row, score) for row, score in enumerate(scores)]
    shuffled = list(hits)
    random.shuffle(shuffled)
    stored = sorted(shuffled, key=lambda hit: -hit.score)  # stable: equal scores stay shuffled
    expected = sorted(hits, key=lambda hit: (-hit.score, hit.row))[:limit]
    assert best_rows(lambda count: stored[:count], limit, len(stored)) == expected


@given(st.integers(1, 30), st.integers(0, 30))
def test_an_index_may_have_fewer_matches_than_rows(limit: int, matches: int) -> None:
    stored = [ScoredRow(row, 1.0) for row in range(matches)]
    assert best_rows(lambda count: stored[:count], limit, 1000) == stored[:limit]

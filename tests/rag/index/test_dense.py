from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.index.dense import DenseIndex
from rag.types import ScoredRow


def _unit(matrix: np.ndarray) -> np.ndarray:
    return (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 40), st.integers(0, 50), st.sets(st.integers(0, 60)), st.integers(0, 2**32 - 1))
def test_search_equals_a_naive_one(size: int, limit: int, removed: set[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    # Few distinct vectors, so that many scores are equal.
    vectors = _unit(random.integers(-1, 2, (size, 4)) + 0.5)
    rows = random.permutation(60)[:size]
    index = DenseIndex(4)
    index.add(rows[: size // 2], vectors[: size // 2])
    index.add(rows[size // 2 :], vectors[size // 2 :])
    index.remove(np.array(sorted(removed), np.int64))
    query = _unit(random.normal(size=(1, 4)))[0]
    kept = {int(row): vector for row, vector in zip(rows, vectors, strict=True) if row not in removed}
    naive = sorted(kept, key=lambda row: (-round(float(kept[row] @ query), 5), row))[:limit]
    assert len(index) == len(kept)
    assert sorted(index.rows.tolist()) == sorted(kept)
    assert [hit.row for hit in index.search(query, limit)] == naive
    for hit in index.search(query, limit):
        assert hit.score == pytest.approx(float(kept[hit.row] @ query), abs=1e-6)
        assert np.array_equal(index.vector(hit.row), kept[hit.row])
    some = [int(row) for row in rows[::2] if row not in removed]
    assert index.scores(query, some) == pytest.approx({row: float(kept[row] @ query) for row in some}, abs=1e-6)


def test_it_is_the_same_after_saving_and_loading(tmp_path: Path) -> None:
    vectors = _unit(np.random.default_rng(0).normal(size=(50, 8)))
    index = DenseIndex(8)
    index.add(np.arange(100, 150), vectors)
    index.save(tmp_path / "dense")
    loaded = DenseIndex.load(tmp_path / "dense")
    assert loaded.search(vectors[7], 20) == index.search(vectors[7], 20)
    assert loaded.search(vectors[7], 1) == [ScoredRow(107, pytest.approx(1.0))]
    loaded.remove(np.array([107]))
    assert loaded.search(vectors[7], 1)[0].row != 107
    assert len(index) == 50


def test_views_and_other_types_are_taken_as_they_mean(tmp_path: Path) -> None:
    columns = np.asfortranarray(_unit(np.random.default_rng(0).normal(size=(4, 8)))[:, ::-1])
    index = DenseIndex(8)
    index.add(np.array([9, 8, 7, 6], np.int32)[::-1], columns.astype(np.float64))
    assert index.search(columns[0].astype(np.float64), 1)[0].row == 6


def test_wrong_shapes_are_named() -> None:
    index = DenseIndex(8)
    with pytest.raises(ValueError, match=r"\(1, 4\), expected \(1, 8\)"):
        index.add(np.array([1]), np.ones((1, 4), np.float32))
    with pytest.raises(ValueError, match=r"\(4,\), expected \(8,\)"):
        index.search(np.ones(4, np.float32), 1)


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dense").write_bytes(b"nonsense" * 100)
    with pytest.raises(RuntimeError):
        DenseIndex.load(tmp_path / "dense")
    with pytest.raises(RuntimeError):
        DenseIndex.load(tmp_path / "absent")

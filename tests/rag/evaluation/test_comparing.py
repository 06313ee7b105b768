"""A planted regression is found, noise and small losses are not, and what can't be judged says so."""

from pathlib import Path

import numpy as np
import pytest

from rag.errors import StateError, UsageError
from rag.evaluation.comparing import Comparison, Run, compare, read, runs_in
from rag.evaluation.records import ArmRecord, RunRecord, ScoreRecord, write_run, write_scores


def record(name: str, **changed: object) -> RunRecord:
    values: dict[str, object] = {
        "name": name,
        "key": name,
        "created_at": "2026-01-01T00:00:00Z",
        "questions_file": "q.jsonl",
        "questions_sha256": "q",
        "question_ids": (),
        "collection": "default",
        "collection_sha256": "c",
        "model": "m",
        "arms": (ArmRecord(name="rag", strategy="rag"), ArmRecord(name="base", strategy="base")),
        "primary": "f1",
        "contrasts": (),
        "seed": 1,
        "settings": {},
        "versions": {},
    }
    return RunRecord.model_validate(values | changed)


def scored(shift: float = 0.0, groups: int = 20, seed: int = 1, missing: int = 0) -> list[ScoreRecord]:
    """Arm ``rag`` is moved by ``shift``; ``base`` is the same but for the noise."""
    random = np.random.default_rng(seed)
    return [
        ScoreRecord(
            question=f"q{at}",
            group=f"g{at % groups}",
            arm=arm,
            status="ok",
            metrics={"f1": None if at < missing else 0.5 + moved + float(random.normal(0, 0.1))},
        )
        for arm, moved in (("rag", shift), ("base", 0.0))
        for at in range(100)
    ]


def run(name: str, scores: list[ScoreRecord], **changed: object) -> Run:
    return Run(record(name, **changed), {score.key: score for score in scores})


def compared(shift: float, margin: float = 0.0, **after: int) -> Comparison:
    return compare(run("a", scored()), run("b", scored(shift, seed=2, **after)), margin=margin)


def test_a_planted_regression_is_found_in_its_arm() -> None:
    result = compared(-0.1)
    assert [arm.arm for arm in result.losses] == ["rag"]
    assert "worse by more than 0: -0." in result.arms[0].words
    assert result.arms[0].judged.interval.high <= 0


@pytest.mark.parametrize(("shift", "margin"), [(0.0, 0.0), (0.1, 0.0), (-0.1, 0.1), (-0.05, 0.1)])
def test_noise_gains_and_losses_within_the_margin_are_no_loss(shift: float, margin: float) -> None:
    result = compared(shift, margin)
    assert result.has_verdict
    assert result.losses == ()
    assert result.arms[0].words.startswith(f"no loss of more than {margin:g} shown")


def test_a_loss_beyond_the_margin_is_one() -> None:
    assert len(compared(-0.2, 0.1).losses) == 1


def test_too_few_groups_or_too_much_unmeasured_is_no_verdict() -> None:
    few = compare(run("a", scored(groups=11)), run("b", scored(-0.5, groups=11, seed=2)))
    unmeasured = compared(-0.5, missing=3)
    for result, words in ((few, "11 independent groups"), (unmeasured, "unmeasured")):
        assert not result.has_verdict
        assert result.losses == ()
        assert words in result.arms[0].words
    assert compared(-0.5, missing=2).losses


def test_only_shared_questions_and_arms_are_compared() -> None:
    later = [score for score in scored(seed=2) if score.arm == "rag" and score.question != "q7"]
    result = compare(run("a", scored()), run("b", later))
    assert ([arm.arm for arm in result.arms], result.questions) == (["rag"], 99)
    assert (result.only_before, result.only_after) == (1, 0)


def test_what_else_differs_is_said() -> None:
    changed = {"model": "n", "seed": 2, "versions": {"torch": "2"}, "collection_sha256": "d"}
    arms = (ArmRecord(name="rag", strategy="rag", examples=3),)
    result = compare(run("a", scored(), versions={"torch": "1"}), run("b", scored(), **changed, arms=arms))
    told = " | ".join(result.differences)
    for part in (
        "models differ: m and n",
        "seeds",
        "torch is 1 and 2",
        "documents",
        "rag is configured",
        "base is in one",
    ):
        assert part in told
    assert compare(run("a", scored()), run("b", scored())).differences == ()


def test_refused(tmp_path: Path) -> None:
    whole = run("a", scored())
    with pytest.raises(UsageError, match="no metric 'accuracy'; it has f1"):
        compare(whole, whole, metric="accuracy")
    with pytest.raises(UsageError, match="share no arm"):
        compare(whole, run("b", []))
    with pytest.raises(UsageError, match="margin is 1"):
        compare(whole, whole, margin=1)
    with pytest.raises(StateError, match="holds no run"):
        read(tmp_path)
    write_run(tmp_path / "empty", record("empty"))
    with pytest.raises(UsageError, match="has no scores"):
        read(tmp_path / "empty")
    with pytest.raises(UsageError, match="no folder"):
        runs_in(tmp_path / "none")


def test_runs_are_read_and_listed(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_run(tmp_path / name, record(name))
        write_scores(tmp_path / name, scored())
    (tmp_path / "notes").mkdir()
    assert [each.name for each in runs_in(tmp_path)] == ["a", "b"]
    assert read(tmp_path / "a") == run("a", scored())

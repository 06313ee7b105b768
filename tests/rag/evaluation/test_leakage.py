"""Planted leaks of each kind are caught, told apart, and nothing else is."""

import json
from pathlib import Path

import numpy as np
import pytest

from rag.errors import UsageError
from rag.evaluation.leakage import Audit, Leak, audit, with_and_without
from rag.evaluation.questions import EvaluationQuestion, HistoryMessage, QuotedEvidence
from rag.evaluation.records import ScoreRecord
from rag.evaluation.trained import TrainedText, question_of, read_trained

OIL = EvaluationQuestion(
    id="oil",
    question="How often must the gear oil of the ZP-40/2 be changed?",
    answers=("every 2000 hours",),
    evidence=(QuotedEvidence(document="oil.md", quote="The gear oil of the ZP-40/2 is changed every 2000 hours."),),
    fact_key="oil/interval",
    group="oil",
)
SEAL = EvaluationQuestion(
    id="seal",
    question="Which ring seals the shaft of the pump at the drive end?",
    answers=("the graphite ring",),
    evidence=(QuotedEvidence(document="seal.md", quote="At the drive end the shaft is sealed by the graphite ring."),),
    fact_key="seal/ring",
    group="seal",
)
QUESTIONS = (OIL, SEAL)
INNOCENT = TrainedText("t0", ("Who signs the travel expenses of a fitter?",), ("The head of service.",))


def trained(asked: str = "", answer: str = "", fact_key: str = "") -> TrainedText:
    return TrainedText("t1", (asked,) if asked else (), tuple(filter(None, (asked, answer))), fact_key)


def found(item: TrainedText, transductive: bool = False) -> Audit:
    return audit(QUESTIONS, {"sft.jsonl": [INNOCENT, item]}, {}, transductive=transductive)


@pytest.mark.parametrize(
    ("asked", "how"),
    [
        ("how often must the GEAR OIL of the ZP-40/2 be changed", "same question"),
        ("How often must gear oil of the ZP-40/2 be changed?", "near duplicate"),
        (
            "My predecessor left no papers at all when he went to live by the sea, so: "
            "how often must the gear oil of the ZP-40/2 be changed, and by whom?",
            "same words",
        ),
    ],
)
def test_a_question_that_was_trained_on_is_blocked(asked: str, how: str) -> None:
    result = found(trained(asked, "Often."), transductive=True)
    assert [(leak.question, leak.kind, leak.how, leak.item) for leak in result.leaks] == [
        ("oil", "question", how, "t1")
    ]
    assert result.blocked == {"oil"}


def test_a_question_inside_a_pretraining_text_is_blocked() -> None:
    page = f"Questions we are asked. {OIL.question} Ask your dealer."
    assert found(TrainedText("page", (), (page,)), transductive=True).blocked == {"oil"}


@pytest.mark.parametrize(
    ("item", "how"),
    [
        (trained("What is the oil's life?", "2000 hours.", "OIL/interval"), "same fact key"),
        (trained("After how many hours is the gear oil of a ZP-40/2 changed?", "Every 2000 hours."), "same answer"),
        (TrainedText("t1", (), (f"Care. {OIL.evidence[0].quote} Wear gloves.",)), "same evidence"),
    ],
)
def test_the_same_fact_is_allowed_where_it_is_declared(item: TrainedText, how: str) -> None:
    result = found(item)
    assert [(leak.question, leak.kind, leak.how) for leak in result.leaks] == [("oil", "fact", how)]
    assert result.blocked == {"oil"}
    assert found(item, transductive=True).blocked == frozenset()


@pytest.mark.parametrize(
    "item",
    [
        # Another part: the words are the same, the question is not.
        trained("How often must the gear oil of the ZP-60/1 be changed?", "Every 2000 hours."),
        trained("How often must the filter be cleaned?", "Every 500 hours."),
        trained("What is changed every 2000 hours?", "The air filter, every 2000 hours."),
        TrainedText("t1", (), ("The gear oil of the ZP-60/1 is changed every 4000 hours.",)),
        INNOCENT,
    ],
)
def test_what_asks_for_something_else_is_no_leak(item: TrainedText) -> None:
    assert found(item).leaks == ()


def test_evidence_in_the_documents_is_expected_and_what_lacks_it_is_named() -> None:
    texts = [("manual/oil.md", f"# Oil\n\n{OIL.evidence[0].quote}\n"), ("other.md", "Nothing of the kind.")]
    result = audit(QUESTIONS, {}, {"default": texts})
    assert result.leaks == (Leak("oil", "evidence", "same evidence", "default", "manual/oil.md"),)
    assert (result.blocked, result.unsupported) == (frozenset(), ("seal",))


def test_all_kinds_side_by_side() -> None:
    items = [trained(SEAL.question, "The graphite ring."), trained("What is the oil's life?", "Long.", "oil/interval")]
    result = audit(QUESTIONS, {"sft": items}, {"kb": [("seal.md", SEAL.evidence[0].quote)]}, transductive=True)
    told = [result.leaked(kind) for kind in ("question", "fact", "evidence")]
    assert told == [{"seal"}, {"oil", "seal"}, {"seal"}]
    assert result.blocked == {"seal"}


def test_a_paraphrase_without_common_words_is_found_by_meaning() -> None:
    def embed(texts):
        return np.array([[1.0, 0.0] if "lubric" in text or "gear oil" in text else [0.0, 1.0] for text in texts])

    item = trained("Lubricant renewal, ZP-40/2: what is its interval?", "Long.")
    other = trained("Lubricant renewal, ZP-60/1: what is its interval?", "Long.")
    lower = [TrainedText("t1", (each.asked[0].lower(),), each.texts) for each in (item, other)]
    assert audit((OIL,), {"sft": lower[:1]}, {}, embed=embed).leaks[0].how == "same meaning"
    assert audit((OIL,), {"sft": lower[1:]}, {}, embed=embed).leaks == ()


def test_a_follow_up_is_met_again_only_with_what_came_before() -> None:
    history = (
        HistoryMessage(role="user", content="Is the oil changed?"),
        HistoryMessage(role="assistant", content="Yes."),
    )
    question = EvaluationQuestion(id="f", question="And how often?", answers=("daily",), history=history)
    alone = TrainedText("alone", ("And how often?",), ())
    whole = TrainedText("whole", ("Is the oil changed?", "And how often?"), ())
    assert [leak.item for leak in audit((question,), {"sft": [alone, whole]}, {}).leaks] == ["whole"]


def test_scores_with_and_without_what_leaked() -> None:
    scores = [
        ScoreRecord(question=f"q{at}", group=f"g{at}", arm=arm, status="ok", metrics={"f1": value})
        for arm, values in (("sft", (1.0, 0.0, 0.5)), ("rag", (0.5, 0.5, None)))
        for at, value in enumerate(values)
    ]
    sft, rag = with_and_without(scores, "f1", frozenset({"q0"}))
    assert (sft.arm, sft.all.value, sft.clean.value) == ("sft", 0.5, 0.25)
    assert (rag.all.questions, rag.all.unmeasured, rag.clean.questions) == (2, 1, 1)


def test_training_files_of_every_form(tmp_path: Path) -> None:
    user = '<passage number="1" from="oil.md">\nOil.\n</passage>\n\nQuestion: How often?'
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": user},
        {"role": "assistant", "content": "A"},
    ]
    lines = (
        {"id": "chat", "messages": messages, "provenance": {"fact_key": "k", "document": "d"}, "family": "domain"},
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        {"id": 7, "text": "Raw."},
    )
    path = tmp_path / "train.jsonl"
    path.write_text("\n\n".join(map(json.dumps, lines)))
    assert list(read_trained(path)) == [
        TrainedText("chat", ("How often?",), (user, "A"), "k"),
        TrainedText("line 3", ("Add.\n1 2",), ("Add.\n1 2", "3")),
        TrainedText("7", (), ("Raw.",)),
    ]
    (tmp_path / "book.txt").write_text("A book.")
    assert list(read_trained(tmp_path / "book.txt")) == [TrainedText("book.txt", (), ("A book.",))]
    assert question_of("No passage.\n\nQuestion: x") == "No passage.\n\nQuestion: x"


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"messages": [{"role": "user"}]}'])
def test_a_training_line_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(f'{{"text": "a"}}\n{line}\n')
    with pytest.raises(UsageError, match=r"train\.jsonl, line 2"):
        list(read_trained(path))
    with pytest.raises(UsageError, match="cannot be read"):
        list(read_trained(tmp_path / "none.jsonl"))

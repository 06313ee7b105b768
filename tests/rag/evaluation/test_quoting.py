from rag.evaluation.questions import EvaluationQuestion, QuotedEvidence
from rag.evaluation.quoting import check_quotes

TEXTS = {
    "oil.md": "# Oil\n\nThe gear oil is changed\nevery 3000 hours of operation.\n",
    "new.md": "The seal is checked monthly.",
}


def question(name: str, document: str, quote: str) -> EvaluationQuestion:
    return EvaluationQuestion(
        id=name, question="x", answers=("y",), evidence=(QuotedEvidence(document=document, quote=quote),)
    )


def test_broken_quotes_are_told_apart() -> None:
    questions = (
        question("whole", "oil.md", "The gear oil is changed every 3000 hours"),
        question("edited", "oil.md", "The gear oil is changed every 2000 hours of operation."),
        question("moved", "seal.md", "The seal is checked monthly."),
        question("gone", "lost.md", "Nobody says this."),
    )
    found = check_quotes(questions, list(TEXTS), TEXTS.__getitem__)
    told = [(each.question, each.fault, each.moved_to) for each in found.broken]
    assert found.quotes == 4
    assert told == [
        ("edited", "quote gone", None),
        ("moved", "document gone", "new.md"),
        ("gone", "document gone", None),
    ]
    # Of eight runs of three words those three with the new number are gone.
    assert found.broken[0].similarity == 5 / 8
    assert dict(found.faults) == {"quote gone": 1, "document gone": 2}


def test_only_named_documents_are_read_where_all_is_well() -> None:
    read = []
    whole = question("whole", "oil.md", "every 3000 hours")
    assert (
        check_quotes((whole, whole), list(TEXTS), lambda source: (read.append(source), TEXTS[source])[1]).broken == ()
    )
    assert read == ["oil.md"]

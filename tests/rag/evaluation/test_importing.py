"""Foreign question sets become ours: ids, answers, evidence that stands in the documents written beside them."""

import json
from pathlib import Path

import pytest

from rag.errors import UsageError
from rag.evaluation.importing import Imported, guess_format, import_questions, write_documents, write_questions
from rag.evaluation.questions import read_questions

CONTEXT = "\ufeffThe pump is old.\nIts oil lasts 2000 hours. Its seal lasts a year."
ANSWER = {"text": "2000 hours", "answer_start": CONTEXT.index("2000")}
SQUAD = {
    "data": [
        {
            "title": "Pumps/and more",
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "id": "q1",
                            "question": " How long? ",
                            "answers": [{"text": "2000 hours", "answer_start": 32}] * 2,
                        },
                        {"id": "q2", "question": "What colour?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ]
}


def imported(path: Path) -> Imported:
    found = import_questions(path, guess_format(path))
    for question in found.questions:
        for evidence in question.evidence:
            if found.documents:
                assert evidence.quote in found.documents[evidence.document]
    return found


def test_squad(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(SQUAD))
    first, second = imported(path).questions
    assert (first.id, first.question, first.answers, first.group) == (
        "q1",
        "How long?",
        ("2000 hours",),
        "Pumps/and more",
    )
    assert first.evidence[0].quote == "Its oil lasts 2000 hours. Its seal lasts a year."
    assert first.evidence[0].document == "0000-000-Pumps_and_more.txt"
    assert (second.answerable, second.answers, second.evidence) == (False, (), ())


def test_beir(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    corpus = ({"_id": "d1", "title": "Oil", "text": "Oil lasts."}, {"_id": "d2", "text": "Seals leak."})
    queries = ({"_id": "1", "text": "oil?"}, {"_id": "2", "text": "unjudged?"}, {"_id": "3", "text": "lost?"})
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n1\td1\t1\n1\td2\t0\n3\td9\t1\n")
    found = imported(tmp_path)
    (question,) = found.questions
    assert (question.evidence[0].document, question.tags) == ("d1.txt", ("beir", "retrieval-only"))
    assert dict(found.documents) == {"d1.txt": "Oil\n\nOil lasts.", "d2.txt": "Seals leak."}
    assert dict(found.skipped) == {"without a relevant document": 2, "relevant documents missing": 1}


def test_mtrag(tmp_path: Path) -> None:
    def task(number: int, kind: str) -> dict[str, object]:
        turns = [("user", "Is oil changed?"), ("agent", "Yes."), ("user", "When?")]
        return {
            "task_id": f"t{number}",
            "conversation_id": "c",
            "answerability": [kind],
            "input": [{"speaker": speaker, "text": text} for speaker, text in turns],
            "targets": [{"text": "Daily."}],
            "contexts": [{"document_id": "p<1>", "text": "\nOil is changed daily. "}],
        }

    path = tmp_path / "tasks.jsonl"
    kinds = ("ANSWERABLE", "UNANSWERABLE", "PARTIAL")
    path.write_text("\n".join(json.dumps(task(at, kind)) for at, kind in enumerate(kinds)))
    found = imported(path)
    first, second = found.questions
    assert [turn.role for turn in first.history] == ["user", "assistant"]
    assert (first.question, first.answers, first.group) == ("When?", ("Daily.",), "c")
    assert (second.answerable, second.evidence) == (False, ())
    assert (dict(found.documents), dict(found.skipped)) == ({"p_1.txt": "Oil is changed daily."}, {"partial": 1})


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text(
        "\ufeffquestion,answers,document,quote,tags\nHow often?,daily|every day,a.md,It is daily.,x|y\nWhy?,,,,\n"
    )
    first, second = imported(path).questions
    assert (first.id, first.answers, first.tags) == ("asked-1", ("daily", "every day"), ("x", "y"))
    assert first.evidence[0].document == "a.md"
    assert (second.id, second.answerable, second.evidence) == ("asked-2", False, ())


def test_what_was_imported_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(SQUAD))
    found = imported(path)
    write_questions(tmp_path / "ours.jsonl", found.questions)
    write_documents(tmp_path / "documents", found.documents)
    assert read_questions(tmp_path / "ours.jsonl") == list(found.questions)
    assert [file.name for file in (tmp_path / "documents").iterdir()] == list(found.documents)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.json", "{", "not of the format squad"),
        ("a.json", "{}", "'data' is missing"),
        ("a.json", '{"data": []}', "holds no questions"),
        ("a.jsonl", '{"contexts": []}', "is missing"),
        ("a.csv", "wrong\nx\n", "'question' is missing"),
        ("a.csv", "question,answerable\nx,perhaps\n", "give true or false"),
        ("a.csv", "question,answerable\nx,true\n", "an answerable question has answers"),
        ("a.csv", "id,question,answers\n1,x,y\n1,z,y\n", "'1' stands twice"),
        ("a.pdf", "", "say what it is with --format"),
    ],
)
def test_what_is_no_question_set_is_refused(tmp_path: Path, name: str, content: str, fault: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UsageError, match=fault):
        imported(path)


def test_a_folder_without_a_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no corpus\.jsonl"):
        imported(tmp_path)

"""The shipped corpus is what its sources say, sound as a benchmark, and large enough for its statistics."""

import importlib.util
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rag.documents.discovery import discover
from rag.documents.parsing import parse
from rag.types import Document

SAMPLE = Path(__file__).parent.parent / "data" / "sample"
FORMATS = {"pdf", "docx", "xlsx", "md", "html", "txt", "csv", "eml"}


@pytest.fixture(scope="module")
def build() -> Iterator[ModuleType]:
    """The script as a module, with its folder importable as it is when the script runs."""
    sys.path.insert(0, str(SAMPLE))
    try:
        spec = importlib.util.spec_from_file_location("sample_build", SAMPLE / "build.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(SAMPLE))


@pytest.fixture(scope="module")
def documents() -> dict[str, Document]:
    return {file.source: parse(file.path, file.source) for file in discover([SAMPLE / "documents"])}


@pytest.fixture(scope="module")
def questions() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLE / "questions.jsonl").read_text("utf-8").splitlines()]


def test_everything_generated_is_up_to_date(build: ModuleType) -> None:
    assert build.build(SAMPLE, check=True) == []


def test_documents_cover_all_formats_and_languages(documents: dict[str, Document]) -> None:
    assert {source.rpartition(".")[2] for source in documents} == FORMATS
    languages = Counter(document.language for document in documents.values())
    assert languages["ru"] >= 6
    assert languages["zh"] >= 6
    assert set(languages) == {"en", "ru", "zh"}


def test_quotes_are_verbatim_and_hold_an_answer(
    documents: dict[str, Document], questions: list[dict[str, Any]]
) -> None:
    for question in questions:
        assert bool(question["evidence"]) == bool(question["answers"]) == question["answerable"], question["id"]
        quotes = [entry["quote"] for entry in question["evidence"]]
        for entry in question["evidence"]:
            assert entry["quote"] in documents[entry["document"]].text, question["id"]
        if question["answerable"] and "numeric" not in question["tags"]:
            told = " ".join(" ".join(quotes).casefold().split())
            assert any(" ".join(answer.casefold().split()) in told for answer in question["answers"]), question["id"]


def test_there_is_enough_of_everything(questions: list[dict[str, Any]]) -> None:
    unanswerable = [question for question in questions if not question["answerable"]]
    assert len(questions) >= 600
    assert 0.2 <= len(unanswerable) / len(questions) <= 0.3
    assert len({question["group"] for question in questions}) >= 48
    test = [question for question in questions if question["split"] == "test"]
    assert len({question["group"] for question in test}) >= 24
    assert sum(question["answerable"] for question in test) >= 200
    assert sum(not question["answerable"] for question in test) >= 60


def test_nothing_is_asked_twice(questions: list[dict[str, Any]]) -> None:
    for name in ("id", "question"):
        assert [value for value, count in Counter(question[name] for question in questions).items() if count > 1] == []
    assert [question["id"] for question in questions] == sorted(question["id"] for question in questions)


def test_splits_share_no_group_and_no_document_and_probes_ask_for_trained_facts(
    questions: list[dict[str, Any]],
) -> None:
    by_split: dict[str, set[str]] = defaultdict(set)
    for question in questions:
        split = "train" if question["split"] == "probe" else question["split"]
        by_split[split] |= {question["group"], *(entry["document"] for entry in question["evidence"])}
    assert set(by_split) == {"train", "dev", "test"}
    assert not by_split["train"] & by_split["dev"]
    assert not by_split["train"] & by_split["test"]
    assert not by_split["dev"] & by_split["test"]
    trained = {question["fact_key"]: question for question in questions if question["split"] == "train"}
    probes = [question for question in questions if question["split"] == "probe" and question["answerable"]]
    assert probes
    for probe in probes:
        assert trained[probe["fact_key"]]["answers"] == probe["answers"], probe["id"]


# --- the build itself, on a corpus small enough to reckon by hand -----------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    for name, content in {
        "sources/f/spares.xlsx.csv": "## Parts\nPart,Price (EUR),Mass (kg)\n"
        + "".join(f"Q-{i}1,{i}.50,{i}\n" for i in range(1, 7)),
        "sources/f/manual.pdf.md": "# Q pump\n\nRevision 1, 3 May 2021.\n\nThe oil of the Q is\n\n## Care\n\n- Look.\n",
        "documents/f/notes.md": "# Notes\n\nThe seal\nis made of FKM.\n",
        "authored/f.toml": '[[group]]\nname="q"\nsplit="train"\ndocuments=["f/spares.xlsx","f/manual.pdf",'
        '"f/notes.md"]\n',
        "authored/f.tables.toml": '[[table]]\ngroup="q"\ndocument="f/spares.xlsx"\nkey="Part"\nkind="part"\n'
        'language="en"\nmax_rows=2\n[[table.ask]]\ncolumn="Price (EUR)"\nanswer=["{value} EUR"]\n'
        'wordings=["Price of {key}?","Cost of {key}?"]\n',
        "authored/f.jsonl": json.dumps({
            "id": "q-1", "group": "q", "fact_key": "q/seal", "question": "Seal?", "answers": ["FKM"],
            "evidence": [{"document": "f/notes.md", "quote": "The seal is made of FKM."}], "answerable": True,
            "history": [], "tags": ["single"], "language": "en", "probe": False,
        }),
    }.items():  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
    return tmp_path


def test_a_small_corpus_is_built_the_same_twice_and_checked(build: ModuleType, small: Path) -> None:
    assert build.build(small, check=False) == []
    first = {path: path.read_bytes() for path in small.rglob("*.*") if path.is_file()}
    assert build.build(small, check=False) == []
    assert {path: path.read_bytes() for path in small.rglob("*.*") if path.is_file()} == first
    assert build.build(small, check=True) == []
    pdf = small / "documents/f/manual.pdf"
    pdf.write_bytes(first[pdf] + b"% touched")
    (small / "questions.jsonl").write_text("", "utf-8")
    assert build.build(small, check=True) == [
        "documents/f/manual.pdf differs from its source: run build.py",
        "questions.jsonl differs from authored/: run build.py",
    ]


def test_table_questions_quote_their_row_and_compare_numbers(build: ModuleType, small: Path) -> None:
    assert build.build(small, check=False) == []
    questions = {q["id"]: q for q in map(json.loads, (small / "questions.jsonl").read_text("utf-8").splitlines())}
    assert questions["q-1"]["evidence"] == [{"document": "f/notes.md", "quote": "The seal\nis made of FKM."}]
    largest = questions["q-t1-m01"]
    assert (largest["answers"], largest["tags"]) == (["Q-61"], ["table", "numeric"])
    assert largest["evidence"] == [{"document": "f/spares.xlsx", "quote": "| Q-61 | 6.50 | 6 |"}]
    difference = questions["q-t1-d01"]
    prices = [float(entry["quote"].split("|")[2]) for entry in difference["evidence"]]
    assert difference["answers"] == [f"{prices[0] - prices[1]:.2f} EUR"]
    for number in (1, 2):
        fact, probe = questions[f"q-t1-r0{number}"], questions[f"q-t1-r0{number}p"]
        part = fact["evidence"][0]["quote"].split("|")[1].strip()
        assert {fact["question"], probe["question"]} == {f"Price of {part}?", f"Cost of {part}?"}
        assert (fact["split"], probe["split"]) == ("train", "probe")
        assert fact["answers"] == probe["answers"] == [f"{part[2]}.50 EUR"]
    unknown = questions["q-t1-u01"]
    assert (unknown["answerable"], unknown["answers"], unknown["evidence"]) == (False, [], [])


def test_all_quotes_that_are_not_found_are_named(build: ModuleType, small: Path) -> None:
    path = small / "authored/f.jsonl"
    path.write_text(path.read_text("utf-8").replace("made of FKM.", "made of EPDM."), "utf-8")
    assert build.build(small, check=False) == ["q-1: not found in f/notes.md: The seal is made of EPDM."]
    assert not (small / "questions.jsonl").exists()


def test_rendered_documents_carry_their_own_dates(build: ModuleType, small: Path) -> None:
    build.build(small, check=False)
    manual = parse(small / "documents/f/manual.pdf", "manual.pdf")
    assert (manual.title, manual.date) == ("Q pump", "2021-05-03")
    assert "## Care" in manual.text

import json
from pathlib import Path

import pytest

from finetune.sources.collection import SourceDocument
from finetune.synthesis.programmatic import Gathered, gather
from rag.documents.parsing import parse
from rag.evaluation.metrics import contains, token_f1
from rag.types import Document

CORPUS = Path(__file__).parents[3] / "data" / "sample"

ENGLISH = """# ZP-40 diaphragm pump: manual

The ZP-40 is a small dosing pump with a plastic head for water works. It weighs nothing worth telling.

| Version | Flow (l/h) | Mass (kg) | Head |
| --- | --- | --- | --- |
| ZP-40/1 | 120 | 41 | steel |
| ZP-40/2 | 240 | 67 | PVDF |
| ZP-40/3 | 355 | 99 | titanium |
| ZP-40/4 | 401 | 12 | PVC |

The gear oil is changed every 2000 hours. The bolts of the ZP-40 are tightened to 45 Nm, then sealed.
The pressure must not exceed 12.5 bar. The pallet holds 24 boxes. If it leaks, 3 litres are lost.

- Code 31: rupture of the diaphragm. The pump stops.
- See also https://example.org: nothing
"""
RUSSIAN = """# Насос ZP-65: руководство

| Исполнение | Масса (кг) |
| --- | --- |
| ZP-65/1 | 41,5 |
| ZP-65/2 | 52 |

Точность дозирования ZP-65 составляет 0,8 процента. Гидравлическое масло меняют каждые 3 000 часов работы.
"""
CHINESE = """# DR-80D 干燥机说明

| 型号 | 重量 (kg) |
| --- | --- |
| DR-80D/1 | 86 |
| DR-80D/2 | 132 |

发票保存 10 年。顶盖螺钉的拧紧力矩为 42 Nm，垫片每次都要换新。湿度保持在 38% 至 46%。
"""


def document(tmp_path: Path, text: str, name: str = "manual.md") -> Document:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return parse(path, name)


def gathered(*documents: Document, **options: int) -> Gathered:
    return gather([SourceDocument(each, each.source) for each in documents], **options)


def answers(found: Gathered) -> dict[str, str]:
    return {fact.question: fact.answer for fact in found.facts}


def test_every_quote_is_verbatim_and_holds_the_answer(tmp_path: Path) -> None:
    for name, text in (("a.md", ENGLISH), ("b.md", RUSSIAN), ("c.md", CHINESE)):
        own = document(tmp_path, text, name)
        facts = gathered(own).facts
        assert facts
        for fact in facts:
            assert fact.span is not None
            assert fact.quote == own.text[fact.span[0] : fact.span[1]]
            value = fact.answer.split(" ")[0]
            assert value.casefold() in fact.quote.casefold(), fact
            assert fact.fact_key
            assert fact.fact_key.startswith(f"{name}/")


def test_the_same_documents_give_the_same_facts(tmp_path: Path) -> None:
    own = document(tmp_path, ENGLISH)
    assert gathered(own) == gathered(own)


def test_english_sentences_become_questions(tmp_path: Path) -> None:
    found = answers(gathered(document(tmp_path, ENGLISH)))
    title = 'According to "ZP-40 diaphragm pump: manual"'
    assert found["What is the ZP-40?"] == "a small dosing pump with a plastic head for water works"
    assert found[f"{title}, how often is the gear oil changed?"] == "every 2000 hours"
    assert found["To what torque are the bolts of the ZP-40 tightened?"] == "45 Nm"
    assert found[f"{title}, what must the pressure not exceed?"] == "12.5 bar"
    assert found[f"{title}, how many boxes does the pallet hold?"] == "24 boxes"
    assert found[f"{title}, what does code 31 mean?"] == "rupture of the diaphragm"
    assert not any("leak" in question or "weigh nothing" in question or "https" in question for question in found)


def test_russian_and_chinese_sentences_become_questions(tmp_path: Path) -> None:
    russian = answers(gathered(document(tmp_path, RUSSIAN)))
    assert russian["Сколько составляет точность дозирования ZP-65?"] == "0,8 процента"
    assert russian["По документу «Насос ZP-65: руководство»: Как часто меняют гидравлическое масло?"] == (
        "каждые 3 000 часов работы"
    )
    chinese = answers(gathered(document(tmp_path, CHINESE)))
    assert chinese["根据《DR-80D 干燥机说明》，发票保存多少年？"] == "10 年"
    assert chinese["根据《DR-80D 干燥机说明》，顶盖螺钉的拧紧力矩为多少 Nm？"] == "42 Nm"
    assert not any("湿度" in question for question in chinese)  # two numbers: which one is meant?


def test_a_table_is_asked_by_cell_by_value_and_by_extreme(tmp_path: Path) -> None:
    facts = gathered(document(tmp_path, ENGLISH), wordings_per_fact=3).facts
    by_key: dict[str | None, set[str]] = {}
    for fact in facts:
        by_key.setdefault(fact.fact_key, set()).add(fact.answer)
    key = "manual.md/table-1"
    assert by_key[f"{key}/ZP-40/2/Mass (kg)"] == {"67 kg"}
    assert by_key[f"{key}/ZP-40/2/Head"] == {"PVDF"}
    assert by_key[f"{key}/largest/Mass (kg)"] == {"ZP-40/3"}
    assert by_key[f"{key}/smallest/Mass (kg)"] == {"ZP-40/4"}
    assert by_key[f"{key}/ZP-40/3/key"] == {"ZP-40/3"}
    wordings = [fact.question for fact in facts if fact.fact_key == f"{key}/ZP-40/2/Mass (kg)"]
    assert len(set(wordings)) == 3


@pytest.mark.parametrize(
    ("table", "key", "answer"),
    [
        ("| Item | Value | Unit |\n| --- | --- | --- |\n| Bolt | 12 | Nm |\n| Gap | 3 | mm |", "Bolt/Value", "12 Nm"),
        ("| Property | ZP-1/05 | ZP-1/10 |\n| --- | --- | --- |\n| Mass (kg) | 4 | 6 |", "ZP-1/10/Mass (kg)", "6 kg"),
        ("| Nr | Part |\n| --- | --- |\n| 1 | nut |\n| 2 | bolt |", "bolt/Nr", "2"),
    ],
)
def test_units_and_keys_are_found_where_they_stand(tmp_path: Path, table: str, key: str, answer: str) -> None:
    facts = gathered(document(tmp_path, f"# Data\n\nThis sheet lists the data of some parts.\n\n{table}\n")).facts
    assert {fact.answer for fact in facts if fact.fact_key == f"manual.md/table-1/{key}"} == {answer}


def test_a_table_whose_rows_nothing_tells_apart_is_left_alone(tmp_path: Path) -> None:
    text = "# Log of visits\n\n| Day | Note |\n| --- | --- |\n| Monday | dry |\n| Monday | dry |\n"
    assert gathered(document(tmp_path, text)).facts == ()


def test_what_two_documents_answer_differently_is_dropped_and_counted(tmp_path: Path) -> None:
    one = document(tmp_path, ENGLISH, "one.md")
    other = document(tmp_path, ENGLISH.replace("45 Nm", "50 Nm"), "other.md")
    found = gathered(one, other)
    assert not any("bolts of the ZP-40" in fact.question for fact in found.facts)
    assert found.dropped["ambiguous"] == 2
    assert found.dropped["repeated"] == len(found.facts)
    assert {fact.document for fact in found.facts} == {"one.md"}
    assert found.without == ()


def test_answers_agree_with_the_sample_corpus_own_questions() -> None:
    """The corpus's authors asked for cells of the same tables: under the same key stands the same answer."""
    questions = [json.loads(line) for line in (CORPUS / "questions.jsonl").read_text("utf-8").splitlines()]
    authored = {
        each["fact_key"]: each["answers"]
        for each in questions
        if each["answerable"] and "table" in each["tags"] and "/difference/" not in each["fact_key"]
    }
    group_of = {item["document"]: each["group"] for each in questions for item in each["evidence"]}
    sources = []
    for path in sorted((CORPUS / "documents").rglob("*.*")):
        source = path.relative_to(CORPUS / "documents").as_posix()
        sources.append(SourceDocument(parse(path, source), group_of.get(source, source)))
    found: dict[str | None, str] = {fact.fact_key: fact.answer for fact in gather(sources).facts}
    common = [key for key in authored if key in found]
    assert len(common) > 0.9 * len(authored)
    wrong = [
        (key, found[key], authored[key])
        for key in common
        if not contains(found[key], authored[key]) and token_f1(found[key], authored[key]) < 0.5
    ]
    assert wrong == []

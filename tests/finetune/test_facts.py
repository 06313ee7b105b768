from pathlib import Path

import pytest

from finetune.facts import Fact, read_facts, write_facts
from rag.errors import UsageError


def fact(**changes: object) -> Fact:
    values = {
        "id": "f1",
        "question": "How heavy is the ZP-40?",
        "answer": "42 kg",
        "quote": "The ZP-40 weighs 42 kg.",
        "document": "pumps/zp-40.md",
        "span": (10, 33),
        "language": "en",
        "group": "zp-40",
        "kind": "statement",
    }
    return Fact.model_validate(values | changes)


def test_facts_come_back_as_they_were_written(tmp_path: Path) -> None:
    facts = [fact(), fact(id="f2", span=None, fact_key="zp-40/mass", document_id="d", version="v", question="Сколько?")]
    path = tmp_path / "facts.jsonl"
    assert write_facts(path, facts) == 2
    first = path.read_bytes()
    assert list(read_facts(path)) == facts
    write_facts(path, facts)
    assert path.read_bytes() == first


def test_a_span_that_is_not_as_long_as_the_quote_is_refused() -> None:
    with pytest.raises(ValueError, match="not as long"):
        fact(span=(10, 30))


def test_faults_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    write_facts(path, [fact()])
    path.write_text(path.read_text("utf-8") * 2, "utf-8")
    with pytest.raises(UsageError, match="line 2: the id 'f1' was used before"):
        list(read_facts(path))
    path.write_text('{"id": "x"}\n', "utf-8")
    with pytest.raises(UsageError, match="line 1: question"):
        list(read_facts(path))

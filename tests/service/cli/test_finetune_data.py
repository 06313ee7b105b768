"""Cleaning, synthesis and replay on the command line."""

import json
from pathlib import Path

import pytest

from finetune.examples import read_examples
from finetune.facts import read_facts
from rag.build import Library
from rag.config import Settings
from rag.fakes import FakeEmbedder, ScriptedModel

MANUAL = """# ZP-40 pump: manual

The gear oil of the ZP-40 is changed every 2000 hours. The casing of the ZP-40 is painted blue and has a shiny finish.

| Version | Mass (kg) |
| --- | --- |
| ZP-40/1 | 41 |
| ZP-40/2 | 67 |
"""
REPLY = (
    "QUESTION: What colour is the casing of the ZP-40?\nANSWER: blue\nQUOTE: The casing of the ZP-40 is painted blue"
)


@pytest.fixture
def ingested(cli, tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "zp-40.md").write_text(MANUAL, "utf-8")
    model = ScriptedModel(lambda messages: REPLY if "QUOTE:" in messages[0].content else "Painted blue.")
    settings = Settings.model_validate({"parsing": {"workers": 0}})
    cli.library = Library(cli.home, settings, embedder=FakeEmbedder(), chat_model=model)
    cli.library.ingest([folder])
    return tmp_path


def questions(path: Path, text: str) -> Path:
    evidence = [{"document": "zp-40.md", "quote": "painted blue"}]
    record = {"id": "q1", "question": text, "answers": ["x"], "evidence": evidence, "group": "zp-40", "split": "train"}
    path.write_text(json.dumps(record) + "\n", "utf-8")
    return path


def test_facts_by_rule_and_by_model_and_their_closed_book_examples(cli, ingested: Path) -> None:
    out, closed_book = ingested / "facts.jsonl", ingested / "closed.jsonl"
    file = questions(ingested / "q.jsonl", "Where does the pump stand in the hall?")
    result = cli(
        "finetune", "synthesize", "--out", str(out), "--closed-book", str(closed_book), "--groups", str(file), "--json"
    )
    told = json.loads(result.stdout)
    facts = list(read_facts(out))
    assert told["questions"] == len(facts)
    assert told["by_kind"]["table"] == 4
    assert told["by_kind"]["statement"] == 1
    assert told["asked"] == sum(told["rejected"].values()) + 1
    assert {fact.group for fact in facts} == {"zp-40"}
    assert [example.provenance.fact_key for example in read_examples(closed_book)] == [fact.fact_key for fact in facts]


def test_by_rule_alone_needs_no_model_and_no_library(cli, ingested: Path) -> None:
    cli.library = None
    out = ingested / "facts.jsonl"
    result = cli("finetune", "synthesize", "--programmatic-only", "--out", str(out))
    assert result.exit_code == 0
    assert cli.asked_for == []
    assert "statement" in result.stdout
    file = questions(ingested / "q.jsonl", "How often is the gear oil of the ZP-40 changed?")
    cli("finetune", "synthesize", "--programmatic-only", "--out", str(out), "--against", str(file))
    assert {fact.kind for fact in read_facts(out)} == {"table", "table-reverse"}
    refused = cli("finetune", "synthesize", "--programmatic-only", "--out", str(out), "--split", "test")
    assert refused.exit_code == 2
    refused = cli(
        "finetune", "synthesize", "--programmatic-only", "--out", str(out), "--groups", str(file), "--split", "test"
    )
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "gave no facts" in refused.stderr


def test_cleaning_writes_examples_and_says_what_was_dropped(cli, tmp_path: Path) -> None:
    records = [
        {"instruction": "What is blue?", "output": "The casing."},
        {"instruction": "What is blue?", "output": "the casing"},
        {"instruction": "Who painted the casing of the pump?", "output": "Nobody."},
    ]
    source = tmp_path / "own.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    file = questions(tmp_path / "q.jsonl", "Who painted the casing of the pump?")
    out = tmp_path / "clean"
    result = cli("finetune", "clean", f"alpaca:{source}", "--out", str(out), "--against", str(file), "--json")
    assert json.loads(result.stdout)["kept"] == 1
    assert [example.messages[1].content for example in read_examples(out / "examples.jsonl")] == ["The casing."]
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert {each["reason"] for each in report["dropped"]} == {"exact duplicate", "contamination"}
    assert report["inputs"][0]["kind"] == "alpaca"
    assert len(report["inputs"][0]["sha256"]) == len(report["against"][0]["sha256"]) == 64
    assert (out / "report.txt").read_text("utf-8").startswith("source")
    refused = cli("finetune", "clean", f"alpaca:{source}", "--out", str(out), "--against-split", "test")
    assert refused.exit_code == 2


def test_replay_writes_the_models_own_answers(cli, ingested: Path) -> None:
    prompts = ingested / "prompts.jsonl"
    prompts.write_text('{"id": "a", "family": "lists", "prompt": "List things."}\n', "utf-8")
    out = ingested / "replay.jsonl"
    result = cli("finetune", "replay", "--prompts", str(prompts), "--out", str(out), "--json")
    assert json.loads(result.stdout)["examples"] == 1
    (example,) = read_examples(out)
    assert (example.family, example.messages[-1].content) == ("general", "Painted blue.")

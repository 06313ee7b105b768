from pathlib import Path

import pytest

from finetune.sources.spec import parse_spec, read_specs, specs_of
from rag.errors import UsageError


def test_a_specification_says_kind_place_and_options() -> None:
    spec = parse_spec("alpaca:data/qa, v2.jsonl,family=general,weight=0.5,group=doc.id,instruction=q,input=,output=a")
    assert (spec.kind, spec.where, spec.family, spec.weight) == ("alpaca", "data/qa, v2.jsonl", "general", 0.5)
    assert (spec.group, spec.columns.instruction, spec.columns.input, spec.columns.output) == ("doc.id", "q", None, "a")
    assert spec.label == "qa, v2"


def test_a_well_known_layout_can_be_told_apart_from_its_options() -> None:
    spec = parse_spec("medquad:GARD.jsonl.gz,weight=2,name=gard")
    assert (spec.kind, spec.family, spec.group, spec.weight, spec.label) == ("alpaca", "domain", "doc_id", 2, "gard")
    assert parse_spec("gsm8k:train.jsonl").label == "gsm8k"


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ("data.jsonl", "names no kind"),
        ("parquet:data", "kinds are examples, facts"),
        ("chat:a.jsonl,weight=0", "weight: Input should be greater than 0"),
        ("chat:a.jsonl,family=both", "family"),
        ("chat:a.jsonl,colour=red", "colour: Extra inputs"),
        ("chat:", "where"),
    ],
)
def test_what_is_wrong_is_named(told: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_spec(told)


def test_a_file_of_sources_counts_paths_from_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_text(
        '[[source]]\nkind = "chat"\nwhere = "logs.jsonl"\nfamily = "general"\n'
        '[[source]]\nkind = "alpaca"\nwhere = "/elsewhere/qa.jsonl"\ncolumns = { output = "reply" }\n'
        '[[source]]\nkind = "collection"\nwhere = "default"\n',
        "utf-8",
    )
    logs, pairs, collection = read_specs(path)
    assert logs.where == str(tmp_path / "logs.jsonl")
    assert (pairs.where, pairs.columns.output) == ("/elsewhere/qa.jsonl", "reply")
    assert collection.where == "default"
    assert specs_of([str(path)]) == [logs, pairs, collection]
    with pytest.raises(UsageError, match="two sources are called 'qa'"):
        specs_of([str(path), "facts:qa.jsonl"])
    path.write_text("sources = []", "utf-8")
    with pytest.raises(UsageError, match="no \\[\\[source\\]\\] tables"):
        read_specs(path)

import gzip
import json
import sys
from pathlib import Path

import pytest

from finetune.examples import TrainingExample, write_examples
from finetune.facts import Fact, write_facts
from finetune.sources.collection import groups_of, read_documents
from finetune.sources.reading import read_sources
from finetune.sources.spec import parse_spec
from rag.build import Library
from rag.catalog import Catalog
from rag.config import Settings
from rag.errors import UsageError
from rag.fakes import FakeEmbedder
from rag.prompting import build


def no_catalog() -> Catalog:
    raise AssertionError("no source here is a collection")


def read(*told: str) -> list[TrainingExample]:
    return list(read_sources([parse_spec(each) for each in told], no_catalog))


def lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


def said(example: TrainingExample) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in example.messages]


def test_chat_in_both_manners(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "chat.jsonl",
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], "thread": 7},
        {
            "messages": [
                {"from": "human", "value": "a"},
                {"from": "gpt", "value": "b"},
                {"from": "human", "value": "left over"},
            ],
            "thread": 8,
        },
    )
    one, other = read(f"chat:{path},family=general,group=thread,weight=2")
    assert (said(one), one.family, one.group, one.weight, one.source) == (
        [("user", "Hi"), ("assistant", "Hello")],
        "general",
        "chat/7",
        2,
        "chat",
    )
    assert said(other) == [("user", "a"), ("assistant", "b")]
    lines(path, {"messages": [{"role": "user", "content": "Hi"}]})
    with pytest.raises(UsageError, match=r"chat\.jsonl, line 1: there is no turn of the assistant"):
        read(f"chat:{path}")


def test_columns_by_name_path_and_layout(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"instruction": "Sum up.", "input": "Long text.", "output": "Text.", "k": "f/1"})
    (example,) = read(f"alpaca:{path},fact_key=k")
    assert said(example) == [("user", "Sum up.\n\nLong text."), ("assistant", "Text.")]
    assert example.provenance.fact_key == "f/1"
    choices = [{"label": "A", "text": "bank"}, {"label": "B", "text": "library"}]
    question = {"stem": "Where are books?", "choices": choices, "question_concept": "books"}
    path = lines(tmp_path / "c.jsonl", {"id": "q1", "answerKey": "B", "question": question})
    (example,) = read(f"commonsenseqa:{path}")
    assert said(example) == [("user", "Where are books?\nA. bank\nB. library"), ("assistant", "B. library")]
    assert (example.id, example.group) == ("commonsenseqa-q1", "commonsenseqa/books")
    path = lines(tmp_path / "g.jsonl", {"question": "2 + 2?", "answer": "It is <<2+2=4>>4.\n#### 4"})
    (example,) = read(f"gsm8k:{path}")
    assert said(example)[1] == ("assistant", "It is 4.\n#### 4")
    path = lines(
        tmp_path / "s.jsonl", {"id": "s1", "instruction": "Say it.", "instances": [{"input": "", "output": "It."}]}
    )
    assert said(read(f"self-instruct:{path}")[0]) == [("user", "Say it."), ("assistant", "It.")]


def test_json_csv_and_gzip_are_records_too(tmp_path: Path) -> None:
    record = {"instruction": "q", "output": "a"}
    (tmp_path / "a.json").write_text(json.dumps([record]), "utf-8")
    (tmp_path / "b.csv").write_text("instruction,output\nq,a\n", "utf-8")
    with gzip.open(tmp_path / "c.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    for name in ("a.json", "b.csv", "c.jsonl.gz"):
        (example,) = read(f"alpaca:{tmp_path / name}")
        assert said(example) == [("user", "q"), ("assistant", "a")]
    (tmp_path / "b.csv").write_text("instruction,output\nq\n", "utf-8")
    with pytest.raises(UsageError, match="record 1: it has not as many cells"):
        read(f"alpaca:{tmp_path / 'b.csv'}")


def test_the_same_record_twice_is_two_examples(tmp_path: Path) -> None:
    record = {"instruction": "q", "output": "a"}
    path = lines(tmp_path / "a.jsonl", record, record)
    assert len({example.id for example in read(f"alpaca:{path}")}) == 2
    assert [example.id for example in read(f"alpaca:{path}")] == [example.id for example in read(f"alpaca:{path}")]
    assert len(read(f"alpaca:{path},limit=1")) == 1


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"prompt": "q", "output": "a"})
    with pytest.raises(UsageError, match="line 1: 'instruction' is missing; it has prompt, output"):
        read(f"alpaca:{path}")
    with pytest.raises(UsageError, match="there is no file or folder"):
        read("alpaca:/nowhere.jsonl")


def test_raw_text_is_a_file_a_folder_or_a_column(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.txt").write_text("Beta", "utf-8")
    (folder / "sub" / "a.md").write_bytes("Альфа".encode("cp1251"))
    (folder / "c.bin").write_bytes(b"\0\1")
    examples = read(f"text:{folder}")
    assert [(each.text, each.group) for each in examples] == [("Beta", "texts/b.txt"), ("Альфа", "texts/sub/a.md")]
    assert [each.text for each in read(f"text:{folder / 'b.txt'}")] == ["Beta"]
    path = lines(tmp_path / "t.jsonl", {"body": "Gamma", "page": "p"})
    (example,) = read(f"text:{path},text=body,group=page")
    assert (example.text, example.group, example.messages) == ("Gamma", "t/p", ())


def test_facts_become_closed_book_examples_under_the_served_rules(tmp_path: Path) -> None:
    fact = Fact(
        id="f", question="How heavy?", answer="42 kg", quote="It weighs 42 kg", document="a.md", language="en",
        group="a", kind="statement", fact_key="a/mass",
    )  # fmt: skip
    write_facts(tmp_path / "facts.jsonl", [fact])
    (example,) = read(f"facts:{tmp_path / 'facts.jsonl'}")
    prompt = build("How heavy?", grounded=False)
    assert said(example) == [*((each.role, each.content) for each in prompt), ("assistant", "42 kg")]
    assert (example.group, example.provenance.fact_key) == ("a", "a/mass")


def test_an_id_in_two_sources_is_a_fault(tmp_path: Path) -> None:
    example = read(f"alpaca:{lines(tmp_path / 'a.jsonl', {'instruction': 'q', 'output': 'a'})}")
    for name in ("x.jsonl", "y.jsonl"):
        write_examples(tmp_path / name, example)
    with pytest.raises(UsageError, match="stands in another source too"):
        read(f"examples:{tmp_path / 'x.jsonl'}", f"examples:{tmp_path / 'y.jsonl'}")


def test_a_data_set_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delitem(sys.modules, "finetune.sources.hub", raising=False)
    with pytest.raises(UsageError, match=r"pip install 'domainqa\[finetune\]'"):
        read("hub:owner/name")


def test_local_files_of_a_data_set_are_read_as_rows(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="comes with the extra finetune")
    path = lines(tmp_path / "rows.jsonl", {"instruction": "q", "output": "a", "input": None})
    (example,) = read(f"hub:{path}")
    assert said(example) == [("user", "q"), ("assistant", "a")]
    path = lines(tmp_path / "t.jsonl", {"text": "Delta"})
    assert [each.text for each in read(f"hub:{path},form=text")] == ["Delta"]


def test_a_collection_gives_its_documents_and_question_files_their_groups(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("a.md", "b.md", "c.md"):
        (folder / name).write_text(f"# Manual {name}\n\nThe pump {name} is painted blue.\n", "utf-8")
    library = Library(tmp_path / "home", Settings.model_validate({"parsing": {"workers": 0}}), embedder=FakeEmbedder())
    library.ingest([folder])
    catalog = library.catalog
    examples = list(read_sources([parse_spec("collection:default")], lambda: catalog))
    assert [example.provenance.span for example in examples] == [(0, len(example.text or "")) for example in examples]
    assert [example.group for example in examples] == ["a.md", "b.md", "c.md"]

    def question(number: int, source: str, group: str, split: str) -> dict[str, object]:
        evidence = [{"document": source, "quote": "painted blue"}]
        return {
            "id": f"q{number}",
            "question": "Colour?",
            "answers": ["blue"],
            "evidence": evidence,
            "group": group,
            "split": split,
        }

    path = lines(
        tmp_path / "q.jsonl",
        question(1, "a.md", "pumps", "train"),
        question(2, "b.md", "pumps", "probe"),
        question(3, "c.md", "valves", "test"),
    )
    groups = groups_of([path])
    train = list(read_documents(catalog, "default", groups, frozenset({"train"})))
    assert [(each.document.source, each.group) for each in train] == [("a.md", "pumps"), ("b.md", "pumps")]
    lines(path, question(1, "a.md", "pumps", "train"), question(2, "a.md", "valves", "test"))
    with pytest.raises(UsageError, match=r"a\.md is in the groups 'pumps' and 'valves'"):
        groups_of([path])
    catalog.close()

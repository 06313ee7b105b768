import json
from pathlib import Path

from finetune.examples import read_examples, write_examples
from finetune.mixing import mix_hash, read_manifest
from tests.service.cli.finetune.dialogues import dialogue


def test_a_mix_is_written_reported_and_the_same_twice(cli, tmp_path: Path, domain: Path, general: Path, tokenizer):
    arguments = ("finetune", "mix", "--domain", str(domain), "--general", str(general), "--seed", "3", "--json")
    told = json.loads(cli(*arguments, "--out", str(tmp_path / "one")).stdout)
    assert cli.asked_for == [str(tokenizer)]
    again = json.loads(cli(*arguments, "--out", str(tmp_path / "two")).stdout)
    assert told["mix_hash"] == again["mix_hash"] == mix_hash(tmp_path / "one")
    # "Because." and "Why not?" are 8 bytes each, and the token that ends the turn.
    assert told["amounts"]["domain"] == {"distinct": 38, "examples": 38, "supervised_tokens": 38 * 9, "loss": 38 * 9.0}
    assert told["shares"]["domain"]["loss"] == 0.5
    assert told["validation"] == {"domain": 2, "general": 2}
    manifest = read_manifest(tmp_path / "one")
    assert told["length"] == len(manifest.order) == 76
    assert manifest.options.model == str(tokenizer)
    trained, held = (list(read_examples(tmp_path / "one" / f"{name}.jsonl")) for name in ("train", "validation"))
    assert {each.id for each in trained} == set(manifest.order)
    assert len(held) == 4


def test_the_table_tells_shares_and_sources(cli, tmp_path: Path, domain: Path, general: Path):
    result = cli("finetune", "mix", "--domain", str(domain), "--general", str(general), "--out", str(tmp_path / "mix"))
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1] == ["domain", "38", "342", "0.500", "0.500", "0.500", "2"]
    assert ["general", "source", "general", "198", "38", "38", "1"] in lines
    assert "oversampled" not in result.stderr


def test_oversampling_and_what_was_left_out_are_told(cli, tmp_path: Path, domain: Path):
    general = tmp_path / "few.jsonl"
    few = [dialogue(f"g{number}", "Why not?", "general") for number in range(20)]
    write_examples(general, [*few, dialogue("long", "why " * 500, "general")])
    result = cli("finetune", "mix", "--domain", str(domain), "--general", str(general), "--out", str(tmp_path / "mix"))
    assert result.exit_code == 0
    assert "general source is oversampled" in result.stderr
    assert "1 examples were left out" in result.stderr
    assert "'long'" in result.stderr


def test_a_missed_ratio_is_an_error_in_one_line_unless_a_reason_is_given(cli, tmp_path: Path, domain: Path):
    arguments = ("finetune", "mix", "--domain", str(domain), "--out", str(tmp_path / "mix"))
    refused = cli(*arguments)
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert "--allow-ratio REASON" in refused.stderr
    assert not (tmp_path / "mix").exists()
    assert cli(*arguments, "--allow-ratio", " ").exit_code == 2
    allowed = cli(*arguments, "--allow-ratio", "an arm of the sweep", "--json")
    assert json.loads(allowed.stdout)["waiver"] == "an arm of the sweep"
    assert "waived: an arm of the sweep" in allowed.stderr
    assert read_manifest(tmp_path / "mix").waiver == "an arm of the sweep"


def test_a_reason_that_was_not_needed_is_not_kept(cli, tmp_path: Path, domain: Path, general: Path):
    result = cli(
        "finetune", "mix", "--domain", str(domain), "--general", str(general), "--out", str(tmp_path / "mix"),
        "--allow-ratio", "to be safe", "--json",
    )  # fmt: skip
    assert json.loads(result.stdout)["waiver"] is None
    assert "not needed" in result.stderr


def test_continued_pretraining_is_refused_above_its_share(cli, tmp_path: Path):
    def texts(family: str, count: int) -> Path:
        path = tmp_path / f"{family}.jsonl"
        examples = [dialogue(f"{family}{number}", "x", family) for number in range(count)]
        write_examples(path, [each.model_copy(update={"messages": (), "text": "a" * 99}) for each in examples])
        return path

    arguments = ("finetune", "mix", "--objective", "cpt", "--domain", str(texts("domain", 10)), "--validation", "0")
    refused = cli(*arguments, "--general", str(texts("general", 20)), "--out", str(tmp_path / "mix"))
    assert refused.exit_code == 1
    assert "more general tokens are needed; 9 to 12.5 % domain is advised" in refused.stderr
    made = cli(*arguments, "--general", str(texts("general", 100)), "--out", str(tmp_path / "mix"), "--json")
    assert abs(json.loads(made.stdout)["shares"]["domain"]["supervised_tokens"] - 0.1) < 0.001


def test_a_folder_that_is_not_empty_is_left_alone(cli, tmp_path: Path, domain: Path, general: Path):
    (tmp_path / "mix").mkdir()
    (tmp_path / "mix" / "notes.txt").write_text("mine")
    result = cli("finetune", "mix", "--domain", str(domain), "--general", str(general), "--out", str(tmp_path / "mix"))
    assert result.exit_code == 1
    assert "not empty" in result.stderr
    assert [path.name for path in (tmp_path / "mix").iterdir()] == ["notes.txt"]

import json
from pathlib import Path

import pytest

from finetune.examples import write_examples
from tests.service.cli.finetune.dialogues import dialogue

PROMPT = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def test_what_is_learnt_stands_between_marks(cli, domain: Path):
    lines = cli("finetune", "preview", str(domain), "--limit", "2").stdout
    assert lines.count("⟦Because.<|im_end|>⟧") == 2
    assert PROMPT + "⟦" in lines
    assert lines.startswith("d0: domain, source domain source, weight 1, 9 of ")


def test_runs_add_up_to_the_example(cli, domain: Path):
    [shown] = json.loads(cli("finetune", "preview", str(domain), "--id", "d7", "--json").stdout)
    assert shown["id"] == "d7"
    assert "".join(run["text"] for run in shown["runs"]) == PROMPT + "Because.<|im_end|>\n"
    assert sum(run["tokens"] for run in shown["runs"]) == shown["tokens"]
    assert [run["learnt"] for run in shown["runs"]] == [False, True, False]
    assert shown["runs"][1] == {"text": "Because.<|im_end|>", "tokens": 9, "learnt": True}


def test_a_mix_is_shown_with_its_own_model_and_limit(cli, tmp_path, domain, general, tokenizer, monkeypatch):
    mixed = tmp_path / "mix"
    cli("finetune", "mix", "--domain", str(domain), "--general", str(general), "--out", str(mixed))
    monkeypatch.setenv("DOMAINQA_GENERATION__MODEL", "another")
    shown = json.loads(cli("finetune", "preview", str(mixed), "--limit", "10", "--json").stdout)
    assert {each["family"] for each in shown} == {"domain", "general"}


def test_colours_on_a_terminal_and_no_marks(cli, domain: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = cli("finetune", "preview", str(domain), "--limit", "1").stdout
    assert "\x1b[32mBecause.<|im_end|>" in shown
    assert "⟦" not in shown


def test_an_examples_control_characters_do_not_reach_the_terminal(cli, tmp_path: Path):
    write_examples(tmp_path / "bad.jsonl", [dialogue("x", "\x1b[2Jgone")])
    shown = cli("finetune", "preview", str(tmp_path / "bad.jsonl")).stdout
    assert "\x1b" not in shown
    assert "\\x1b[2Jgone" in shown


def test_no_example_no_mix_no_file(cli, tmp_path: Path, domain: Path):
    for path, told in ((domain, "no example with the id 'x'"), (tmp_path / "none", "none"), (tmp_path, "no mix")):
        result = cli("finetune", "preview", str(path), "--id", "x")
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert told in result.stderr

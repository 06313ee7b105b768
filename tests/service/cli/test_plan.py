import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINQA_MODELS", str(tmp_path / "models"))


def test_the_plan_of_the_profiles_model_loads_and_fetches_nothing(cli):
    told = json.loads(cli("plan", "--json").stdout)
    assert cli.asked_for == []
    assert told["model"]["parameters"] == 134_515_008
    assert [each["name"] for each in told["strategies"]][0::4] == ["pretraining from scratch", "in-context"]
    [training] = told["strategies"][0]["trainings"]
    parts = ("weights", "gradients", "optimizer", "activations", "logits", "kv_cache")
    assert training["memory"]["total"] == pytest.approx(sum(training["memory"][part] for part in parts))
    assert told["prices"] == {"as_of": "2026-01", "currency": "USD"}


def test_every_strategy_is_told_to_people(cli):
    shown = cli("plan", "--model", "Llama-3.1-8B", "--domain-tokens", "100000").stdout
    for words in (
        "8.03 billion parameters",
        "2 USD an hour (2026-01)",
        "pretraining from scratch",
        "continued pretraining",
        "SFT",
        "retrieval",
        "in-context",
        "needs general text, at least: 566,667 tokens",
        "qlora",
        "prefix cache",
    ):
        assert words in shown


def test_too_few_cards_are_told_with_how_many_it_takes(cli):
    shown = cli("plan", "--model", "Llama-3.1-70B", "--cards", "1").stdout
    row = next(line for line in shown.splitlines() if line.strip().startswith("full"))
    assert "needed" in row
    assert "does not fit" in cli("plan", "--model", "Llama-3.1-70B", "--batch-tokens", "200000").stdout


def test_a_folder_without_weights_is_enough(cli, tmp_path: Path):
    config = {
        "model_type": "llama",
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 10,
        "max_position_embeddings": 64,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    told = json.loads(cli("plan", "--model", str(tmp_path), "--json").stdout)
    assert told["model"]["window"] == 64
    # Even a retrieved prompt is too long for it.
    assert "do not fit" in told["strategies"][3]["obstacle"]


def test_own_prices_and_a_measured_report(cli, tmp_path: Path):
    (tmp_path / "prices.toml").write_text('as_of = "2026-11"\ncurrency = "EUR"\n[gpus.a100-80]\nprice_per_hour = 1\n')
    arms = [
        {"name": arm, "means": {"token_f1": {"value": score, "low": 0.1, "high": 0.9, "questions": 9}}}
        for arm, score in (("base", 0.2), ("rag", 0.6))
    ]
    report = {"run": {"primary": "token_f1"}, "verdicts": ["Retrieval helps."], "arms": arms}
    (tmp_path / "report.json").write_text(json.dumps(report), "utf-8")
    arguments = ("plan", "--prices", str(tmp_path / "prices.toml"), "--report", str(tmp_path))
    shown = cli(*arguments).stdout
    assert "1 EUR an hour (2026-11)" in shown
    assert "measured: Retrieval helps." in shown
    assert "measured rag: token_f1 0.600, 0.100 to 0.900 (base 0.200)" in shown
    assert shown.count("not measured") == 4
    told = json.loads(cli(*arguments, "--json").stdout)
    assert [len(each["measured"]) for each in told["strategies"]] == [0, 0, 0, 1, 0]
    unpriced = cli(*arguments, "--gpu", "h100-80").stdout
    assert "give yours with --prices" in unpriced


def test_known_cases_are_explained(cli):
    shown = " ".join(cli("plan", "--case", "gpt-3").stdout.split())
    assert "512 card-years: the quoted 400 to 500 assume float32" in shown
    told = json.loads(cli("plan", "--case", "lora-7b", "--json").stdout)
    assert told["figures"]["adapter_parameters"] == 39_976_960


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--model", "nobody/none"), "SmolLM2-135M"),
        (("--gpu", "v100"), "a100-80"),
        (("--case", "bert"), "gpt-3, lora-7b"),
        (("--report", "nowhere"), "domainqa eval run"),
        (("--prices", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(cli, arguments, told: str):
    result = cli("plan", *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert told in result.stderr

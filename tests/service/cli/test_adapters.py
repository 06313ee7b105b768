import json
from pathlib import Path

import pytest

from finetune.adapters import AdapterRegistry
from tests.finetune.workbench import make_adapter, make_base


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The profile's model is the folder ``tiny``."""
    make_base(tmp_path / "tiny")
    monkeypatch.setenv("DOMAINQA_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("DOMAINQA_GENERATION__MODEL", str(tmp_path / "tiny"))
    return tmp_path / "tiny"


@pytest.fixture
def added(cli, tmp_path: Path) -> list[str]:
    names = []
    for seed in (1, 2):
        folder = make_adapter(tmp_path / f"trained-{seed}", seed)
        names.append(cli("adapters", "add", str(folder), "--label", "pumps").stdout.strip())
    return names


def test_an_added_adapter_is_named_listed_and_not_yet_promoted(cli, tmp_path: Path, base: Path) -> None:
    folder = make_adapter(tmp_path / "trained")
    result = cli("adapters", "add", str(folder), "--label", "pumps", "--kind", "grounded", "--json")
    manifest = json.loads(result.stdout)
    assert manifest["name"].startswith("pumps-")
    assert manifest["kind"] == "grounded"
    assert cli.asked_for == [str(base)]
    listed = json.loads(cli("adapters", "list", "--json").stdout)
    assert listed == {
        "adapters": [
            {
                **manifest,
                "folder": str(AdapterRegistry(cli.home).folder(manifest["name"]).resolve()),
                "current": False,
                "problem": None,
            }
        ],
        "labels": {},
        "broken": [],
    }


def test_promoting_rolling_back_and_removing(cli, added: list[str]) -> None:
    one, two = added
    for name in added:
        assert cli("adapters", "promote", "pumps", name).stdout == f"pumps stands for {name}\n"
    assert json.loads(cli("adapters", "list", "--json").stdout)["labels"] == {"pumps": added}
    assert json.loads(cli("adapters", "rollback", "pumps", "--json").stdout)["name"] == one
    refused = cli("adapters", "remove", one, "--yes")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--force" in refused.stderr
    assert cli("adapters", "remove", two, input="n\n").exit_code == 1
    assert cli("adapters", "remove", two, input="y\n").stdout.endswith(f"deleted {two}\n")
    gone = json.loads(cli("adapters", "remove", one, "--force", "--yes", "--json").stdout)
    assert gone == {"removed": one, "labels": {}}
    assert "there are no adapters yet" in cli("adapters", "list").stderr


def test_the_table_says_which_is_current_and_why_one_cannot_be_served(cli, added: list[str], base: Path) -> None:
    cli("adapters", "promote", "pumps", added[0])
    lines = cli("adapters", "list").stdout.splitlines()
    assert [("yes" in line, line.rstrip().endswith("fits")) for line in lines[1:]] == [(True, True), (False, True)]
    make_base(base, seed=5)
    assert cli("adapters", "list").stdout.count("serve its own base") == 2


def test_an_adapter_for_another_model_is_refused_unless_its_base_is_named(cli, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "trained", base_model_name_or_path="owner/other")
    refused = cli("adapters", "add", str(folder), "--label", "pumps")
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "--base" in refused.stderr
    make_base(tmp_path / "checkpoint-7", seed=3)
    result = cli("adapters", "add", str(folder), "-l", "pumps", "--base", str(tmp_path / "checkpoint-7"), "--json")
    assert json.loads(result.stdout)["base"] == str(tmp_path / "checkpoint-7")


def test_unknown_names_and_labels_are_told(cli, added: list[str]) -> None:
    for arguments in (["promote", "pumps", "pumps-000000000000"], ["rollback", "pumps"], ["remove", "nobody", "-y"]):
        result = cli("adapters", *arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: ")


def test_limits_of_a_vllm_that_we_start_are_known_without_it(cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("DOMAINQA_GENERATION__ENGINE", "vllm")
    folder = make_adapter(tmp_path / "trained", rank=32)
    cli("adapters", "add", str(folder), "--label", "pumps")
    assert "rank 32 is above the engine's limit of 16" in cli("adapters", "list").stdout
    (cli.home / "domainqa.toml").write_text("[engine]\nmax_lora_rank = 32\n")
    assert "fits" in cli("adapters", "list").stdout
    monkeypatch.setenv("DOMAINQA_ENGINE__LORA", "false")
    assert "set engine.lora" in cli("adapters", "list").stdout

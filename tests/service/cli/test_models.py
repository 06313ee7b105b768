import json
from pathlib import Path

import pytest

from rag.models import default_cache, list_models
from service.cli.fetching import missing


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOMAINQA_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_the_list_says_what_is_there_and_what_the_profile_needs(cli, empty_cache: Path) -> None:
    value = json.loads(cli("models", "list", "--json").stdout)
    assert value["cache"] == str(empty_cache)
    by_name = {each["name"]: each for each in value["models"]}
    assert set(by_name) == {info.reference for info in list_models(default_cache())}
    assert by_name["all-MiniLM-L6-v2"]["needed"]
    assert by_name["all-MiniLM-L6-v2"]["folder"] is None


def test_hub_models_that_a_profile_needs_are_listed(cli) -> None:
    result = cli("models", "list", "--profile", "gpu")
    assert "BAAI/bge-m3" in result.stdout
    assert "Qwen" in result.stdout, "the engine that we start reads it from our cache"


def test_the_model_of_somebody_elses_server_is_not_ours_to_fetch(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENGINE": "openai", "MODEL": "Qwen/x", "BASE_URL": "http://127.0.0.1:1/v1"}.items():
        monkeypatch.setenv(f"DOMAINQA_GENERATION__{name}", value)
    assert "Qwen" not in cli("models", "list").stdout


def test_offline_the_error_says_how_to_fetch(cli) -> None:
    result = cli("models", "fetch", "--offline")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "all-MiniLM-L6-v2" in result.stderr
    assert "`domainqa models fetch`" in result.stderr


def test_an_unknown_model_is_an_error_in_one_line(cli) -> None:
    result = cli("models", "fetch", "no-such-model")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: there is no model 'no-such-model'")


def test_a_local_folder_is_never_missing(tmp_path: Path) -> None:
    assert missing([str(tmp_path), "all-MiniLM-L6-v2", "owner/name"], default_cache()) == [
        "all-MiniLM-L6-v2",
        "owner/name",
    ]


def test_a_folder_never_stands_in_for_a_pinned_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("all-MiniLM-L6-v2").mkdir()
    assert missing(["all-MiniLM-L6-v2"], default_cache()) == ["all-MiniLM-L6-v2"]

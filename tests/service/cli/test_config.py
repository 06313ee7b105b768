import json

import pytest

from rag.config import Settings, load_settings, settings_of
from rag.layers import read_layers
from service.cli import configuration


def shown(cli, *arguments: str) -> dict[str, dict[str, object]]:
    result = cli("config", "show", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return {each["name"]: each for each in json.loads(result.stdout)["settings"]}


def test_the_page_is_current(cli) -> None:
    page = configuration.PAGE.read_text("utf-8")
    assert page == configuration.reference(), "run `make docs`"
    assert cli("config", "reference").stdout == page


def test_the_page_tells_every_setting_with_its_docstring() -> None:
    page = configuration.reference()
    for section in Settings.model_fields:
        if section != "profile":
            kind = Settings.model_fields[section].annotation
            table = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
            assert all(f"\n| `{name}` | " in table for name in kind.model_fields)
    assert "| `port` | whole number, at least 0, at most 65535 | `8080` |" in page
    order = '| `order` | `"document"` or `"score"` or `"edges"` or `"best-document"` | `"document"` | Of the passages'
    assert order in page
    assert "refused with 429" in page


def test_each_value_says_where_it_comes_from(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    file = cli.home / "domainqa.toml"
    file.write_text("[retrieval]\ntop_k = 11\ncandidates = 50\n[generation]\nmax_answer_tokens = 9\n")
    monkeypatch.setenv("DOMAINQA_RETRIEVAL__CANDIDATES", "60")
    found = shown(cli)

    def told(name: str) -> tuple[object, ...]:
        return found[name]["value"], found[name]["origin"], found[name]["where"]

    assert told("server.port") == (8080, "default", None)
    assert told("answering.unsupported") == ("extract", "profile", "starter")
    assert told("retrieval.top_k") == (11, "file", str(file))
    assert told("retrieval.candidates") == (60, "environment", "DOMAINQA_RETRIEVAL__CANDIDATES")
    assert told("profile")[0] == "starter"
    fields = [len(type(getattr(Settings(), name)).model_fields) for name in Settings.model_fields if name != "profile"]
    assert len(found) == 1 + sum(fields)
    table = cli("config", "show").stdout
    assert "DOMAINQA_RETRIEVAL__CANDIDATES" in table
    assert "DOMAINQA" not in json.dumps(shown(cli, "--profile", "gpu")["embedding.model"])


def test_what_is_shown_is_what_is_loaded(tmp_path) -> None:
    (tmp_path / "domainqa.toml").write_text("[server]\nport = 9\n")
    environment = {"DOMAINQA_SERVER__THREADS": "2", "DOMAINQA_HOME": "/x"}
    layers = read_layers(tmp_path, environment=environment)
    assert settings_of(layers) == load_settings(tmp_path, environment=environment)
    assert settings_of(layers).server.port == 9


def test_secrets_are_masked(cli) -> None:
    (cli.home / "domainqa.toml").write_text(
        '[generation]\nengine = "openai"\nbase_url = "https://me:hunter2@models.example/v1"\n'
        '[engine]\ncommand = ["serve", "--api-key", "hunter2", "--auth-token=hunter2", "--port", "{port}"]\n'
        '[engine.environment]\nHF_TOKEN = "hunter2"\nVLLM_LOGGING_LEVEL = "INFO"\n'
    )
    for result in (cli("config", "show"), cli("config", "show", "--json")):
        assert result.exit_code == 0, result.output
        assert "hunter2" not in result.stdout
    found = shown(cli)
    assert found["generation.base_url"]["value"] == "https://********@models.example/v1"
    assert found["generation.api_key_env"]["value"] == "DOMAINQA_ENGINE_API_KEY"
    assert found["generation.max_answer_tokens"]["value"] == 64
    assert found["engine.environment"]["value"] == {"HF_TOKEN": "********", "VLLM_LOGGING_LEVEL": "INFO"}
    assert found["engine.command"]["value"][-2:] == ["--port", "{port}"]


def test_a_wrong_configuration_is_told_in_a_line(cli) -> None:
    (cli.home / "domainqa.toml").write_text("[server]\nprot = 9\n")
    result = cli("config", "show")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "server.prot" in result.stderr

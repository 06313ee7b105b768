"""Commands one after the other on a real home: catalog and indexes are real, the models are fakes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rag.build import Library
from rag.catalog import CATALOG_FILE
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.types import Exposure
from service.cli.main import app
from service.cli.session import Session

pytestmark = pytest.mark.integration

BOLTS = "The casing bolts of the gear pump are tightened to 42 Nm."
SEAL = "The shaft seal of the valve is replaced every 4000 hours."


@pytest.fixture
def domainqa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOMAINQA_EMBEDDING__MODEL", FakeEmbedder.model)
    monkeypatch.setenv("DOMAINQA_ANSWERING__MIN_PROBABILITY", "0.2")

    def open_library(home, settings, progress, server):
        return Library(
            home, settings, embedder=FakeEmbedder(), chat_model=ScriptedModel("They are tightened to 42 Nm [1].")
        )

    session = Session(
        open_library=open_library, provide_models=lambda references, offline: None, home=tmp_path / "home"
    )

    def run(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=input, obj=session, catch_exceptions=False)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    (folder / "sub").mkdir(parents=True)
    (folder / "pump.md").write_text(f"# Gear pump\n\n## Torque\n\n{BOLTS}\n")
    (folder / "sub" / "valve \u202e\x1b[1m.md").write_text(f"# Valve\n\n{SEAL}\n")
    (folder / "empty.txt").touch()
    return folder


def ok(result: Result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if result.stdout.startswith("{") else result.stdout


def test_from_files_to_answers_and_back(domainqa, folder: Path) -> None:
    report = ok(domainqa("ingest", str(folder), "--json"))
    assert (report["added"], len(report["failed"])) == (2, 1)
    assert ok(domainqa("ingest", str(folder), "--json"))["unchanged"] == 2
    assert domainqa("ingest", str(folder), "--strict").exit_code == 1

    assert "\x1b" not in ok(domainqa("documents", "list"))
    listed = ok(domainqa("documents", "list", "--json"))["documents"]
    assert [each["document"] for each in listed] == ["pump.md", "sub/valve \u202e\x1b[1m.md"]
    assert ok(domainqa("documents", "list", "--failed", "--json"))["failed"][0]["source"] == "empty.txt"

    [hit] = ok(domainqa("search", "casing bolts", "--top-k", "1", "--json"))["hits"]
    text = ok(domainqa("documents", "show", hit["document_id"], "--text", "--json"))["text"]
    assert text[hit["start"] : hit["end"]] == hit["text"]
    assert BOLTS in ok(domainqa("documents", "show", "pump.md", "--text"))
    assert "Torque" in ok(domainqa("documents", "show", "pump.md"))

    answer = ok(domainqa("ask", "How much are the casing bolts of the gear pump tightened?", "--json"))
    assert not answer["abstained"]
    [citation] = answer["citations"]
    assert citation["document"] == "pump.md"
    assert citation["supported"]
    assert text[citation["start"] : citation["end"]] == citation["quote"]

    ok(domainqa("documents", "remove", "pump.md", "--yes"))
    assert [hit["document"] for hit in ok(domainqa("search", "casing bolts", "--json"))["hits"]] == [
        "sub/valve \u202e\x1b[1m.md"
    ]
    assert (folder / "pump.md").exists(), "only the collection forgets it"
    assert ok(domainqa("ingest", str(folder), "--json"))["added"] == 1


def test_collections(domainqa, folder: Path) -> None:
    assert ok(domainqa("collections", "list", "--json")) == {"collections": []}
    ok(domainqa("collections", "create", "pumps"))
    again = domainqa("collections", "create", "pumps")
    assert again.exit_code == 1
    assert again.stderr.startswith("error: ")
    ok(domainqa("ingest", str(folder), "--collection", "pumps"))
    [listed] = ok(domainqa("collections", "list", "--json"))["collections"]
    assert (listed["name"], listed["documents"], listed["failed"]) == ("pumps", 2, 1)
    assert "pumps" in ok(domainqa("collections", "list"))
    ok(domainqa("collections", "delete", "pumps", "--yes"))
    assert ok(domainqa("collections", "list", "--json")) == {"collections": []}


def test_nothing_is_deleted_without_a_yes(domainqa, folder: Path) -> None:
    ok(domainqa("ingest", str(folder)))
    for command in (["documents", "remove", "pump.md"], ["collections", "delete", "default"]):
        for reply in ("n\n", ""):
            result = domainqa(*command, input=reply)
            assert result.exit_code == 1
            assert result.stderr.strip().endswith("Aborted!")
    assert len(ok(domainqa("documents", "list", "--json"))["documents"]) == 2
    assert domainqa("collections", "delete", "default", input="y\n").exit_code == 0


def test_what_is_not_there_is_told_in_one_line(domainqa, folder: Path) -> None:
    ok(domainqa("ingest", str(folder)))
    for command in (
        ["documents", "show", "no-such.md"],
        ["documents", "remove", "no-such.md", "--yes"],
        ["documents", "list", "--collection", "no-such"],
        ["collections", "delete", "no-such", "--yes"],
        ["reindex", "no-such"],
        ["search", "x", "--collection", "no-such"],
        ["ask", "x", "--collection", "no-such"],
        ["ask", "x", "--strategy", "no-such"],
        ["ask", "  "],
    ):
        result = domainqa(*command)
        assert result.exit_code == 1, command
        assert result.stdout == ""
        assert result.stderr.splitlines()[-1].startswith("error: "), command


def test_reindex_mends_what_doctor_finds(domainqa, folder: Path, tmp_path: Path) -> None:
    ok(domainqa("ingest", str(folder)))
    assert ok(domainqa("doctor", "--json"))["healthy"]
    for file in (tmp_path / "home").rglob("*"):
        if file.is_file() and not file.name.startswith(CATALOG_FILE) and "lock" not in file.name:
            file.unlink()
    sick = domainqa("doctor", "--json")
    assert sick.exit_code == 1
    checks = json.loads(sick.stdout)["checks"]
    assert any(each["state"] == "error" and "domainqa reindex" in each["found"] for each in checks)
    assert domainqa("search", "casing bolts").exit_code == 1
    assert ok(domainqa("reindex", "--json")) == {"collections": [{"name": "default", "chunks": 2}]}
    assert ok(domainqa("doctor", "--json"))["healthy"]
    assert ok(domainqa("search", "casing bolts", "--json"))["hits"]
    assert ok(domainqa("reindex", "-c", "default")).split()[-2:] == ["default", "2"]


def test_doctor_sees_that_the_collection_needs_another_model(
    domainqa, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok(domainqa("ingest", str(folder)))
    monkeypatch.setenv("DOMAINQA_EMBEDDING__MODEL", "another-model")
    result = domainqa("doctor")
    assert result.exit_code == 1
    assert "embedded with fake-embedder, but the profile says another-model; run `domainqa reindex default`" in (
        " ".join(result.stdout.split())
    )


def test_doctor_makes_no_home(domainqa, tmp_path: Path) -> None:
    result = domainqa("doctor")
    assert result.exit_code == 0, result.output
    assert "none yet" in result.stdout
    assert not (tmp_path / "home").exists()


def test_doctor_tells_a_wrong_configuration(domainqa, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[retrieval]\ntop_q = 3\n")
    result = domainqa("doctor", "--config", str(tmp_path / "wrong.toml"))
    assert result.exit_code == 1
    assert "top_q" in result.stdout


def test_serve_checks_without_serving(domainqa) -> None:
    assert "ready to serve at http://127.0.0.1:" in ok(domainqa("serve", "--port", "0", "--check"))


def test_another_tenants_documents_are_its_own(domainqa, folder: Path) -> None:
    assert ok(domainqa("ingest", str(folder), "--tenant", "acme", "--json"))["added"] == 2
    assert ok(domainqa("collections", "list", "--json")) == {"collections": []}
    assert domainqa("search", "casing bolts").exit_code == 1
    assert ok(domainqa("reindex", "--json")) == {"collections": []}
    assert ok(domainqa("reindex", "--tenant", "acme", "--json")) == {"collections": [{"name": "default", "chunks": 2}]}
    assert domainqa("ingest", str(folder), "--tenant", "a b").exit_code == 1


def test_a_synced_folder_loses_what_its_files_lost_but_not_all_of_it(domainqa, folder: Path) -> None:
    ok(domainqa("ingest", str(folder), "--sync", "--json"))
    assert ok(domainqa("documents", "folders", "--json")) == {"folders": [str(folder.resolve())]}
    (folder / "pump.md").unlink()
    assert ok(domainqa("ingest", "--sync", "--json"))["removed"] == 1
    for path in (folder / "sub").iterdir():
        path.unlink()
    result = domainqa("ingest", "--sync", "--json")
    assert (result.exit_code, json.loads(result.stdout)["removed"]) == (0, 1), "an unreadable file is still there"
    (folder / "pump.md").write_text(f"# Gear pump\n\n{BOLTS}\n")
    ok(domainqa("ingest", "--sync", "--json"))
    (folder / "pump.md").unlink()
    (folder / "empty.txt").unlink()
    result = domainqa("ingest", "--sync", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["withheld"] == [{"folder": str(folder.resolve()), "missing": 1, "documents": 1}]
    assert ok(domainqa("ingest", "--sync", "--allow-mass-removal", "--json"))["removed"] == 1
    ok(domainqa("documents", "folders", "--forget", str(folder)))
    assert ok(domainqa("documents", "folders", "--json")) == {"folders": []}


def test_near_duplicates_are_listed(domainqa, folder: Path) -> None:
    (folder / "copy.md").write_text((folder / "pump.md").read_text())
    ok(domainqa("ingest", str(folder), "--json"))
    found = ok(domainqa("documents", "duplicates", "--json"))
    assert found == {"duplicates": [{"documents": ["copy.md", "pump.md"], "similarity": 1.0}]}
    assert "copy.md" in ok(domainqa("documents", "duplicates"))


def test_a_purge_names_what_it_cannot_reach(domainqa, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok(domainqa("ingest", str(folder), "--json"))
    [pump, _] = ok(domainqa("documents", "list", "--json"))["documents"]

    class Trained:
        name = "pumps-0123456789ab"
        exposure = Exposure(documents=(pump["document_id"],))

    with monkeypatch.context() as patched:
        patched.setattr("finetune.adapters.AdapterRegistry.list", lambda self: [Trained()])
        shown = ok(domainqa("documents", "remove", "pump.md", "--purge", "--yes"))
    assert shown.startswith("erased pump.md (1 chunks)")
    for part in (str(folder.resolve() / "pump.md"), "backups", "the adapter pumps-0123456789ab"):
        assert part in shown.replace("\n", " ")
    assert all(hit["text"] != BOLTS for hit in ok(domainqa("search", "casing bolts", "--json"))["hits"])
    assert domainqa("doctor", "--json").exit_code == 0

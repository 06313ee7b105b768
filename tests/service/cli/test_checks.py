import json
from types import SimpleNamespace

import pytest

from rag.build import Library
from rag.config import Settings, load_settings
from rag.fakes import FakeEmbedder
from service.cli import checks

pytestmark = pytest.mark.integration


@pytest.fixture
def checked(cli, monkeypatch: pytest.MonkeyPatch):
    """``checked()`` runs doctor; its checks by name."""
    monkeypatch.setenv("DOMAINQA_EMBEDDING__MODEL", FakeEmbedder.model)
    (cli.home / "files").mkdir()
    (cli.home / "files" / "pump.md").write_text("# Pump\n\nThe bolts are blue.\n")
    cli.home = cli.home / "home"

    library = Library(cli.home, load_settings(cli.home), embedder=FakeEmbedder())
    library.ingest([cli.home.parent / "files"])
    library.catalog.close()
    cli.home.chmod(0o700)

    def run() -> dict[str, dict[str, object]]:
        cli.library = Library(cli.home, load_settings(cli.home), embedder=FakeEmbedder())
        return {each["name"]: each for each in json.loads(cli("doctor", "--json").stdout)["checks"]}

    run.home = cli.home
    return run


def test_a_sound_home_needs_nothing(checked) -> None:
    found = checked()
    for name in ("home", "permissions", "disk", "catalog"):
        assert (found[name]["state"], found[name]["mend"]) == ("ok", None)


def test_a_home_that_others_can_read(checked) -> None:
    checked.home.chmod(0o755)
    told = checked()["permissions"]
    assert (told["state"], told["mend"]) == ("warning", f"chmod 700 {checked.home}")


def test_a_full_disk(checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    told = checked()["disk"]
    assert told["state"] == "warning"
    assert "5.0 MB free" in told["found"]


def test_adapters_that_are_broken_or_missing(checked) -> None:
    adapters = checked.home / "adapters"
    (adapters / "pumps-0123456789ab").mkdir(parents=True)
    (adapters / "pumps-0123456789ab" / "manifest.json").write_text("{")
    (adapters / "labels.json").write_text('{"format": 1, "labels": {"pumps": ["pumps-ba9876543210"]}}')
    found = checked()
    broken = found["adapter pumps-0123456789ab"]
    assert (broken["state"], broken["mend"]) == ("error", "domainqa adapters remove pumps-0123456789ab")
    label = found["adapter label pumps"]
    assert (label["state"], label["mend"]) == ("error", "domainqa adapters rollback pumps")


def test_an_index_behind_its_catalog(checked) -> None:
    library = Library(checked.home, Settings(), embedder=FakeEmbedder())
    library.catalog.publish(library.catalog.collection("default"), 9)
    library.catalog.close()
    told = checked()["collection default"]
    assert "behind the catalog" in told["found"]
    assert told["mend"] == "domainqa reindex --collection default"

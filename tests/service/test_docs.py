"""What the pages tell people to type works: Python against a running service, commands in a home."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rag.build import Library
from rag.fakes import FakeEmbedder, ScriptedModel
from service.cli.main import app
from service.cli.session import Session

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]+) -->\n)?```(?P<kind>\w+)\n(?P<code>.*?)```", re.DOTALL)
BOLTS = "The casing bolts of the gear pump are tightened to 42 Nm."


def blocks(page: str, kind: str) -> list[str]:
    """Those of the page's blocks that are to be run."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    found = [match for match in BLOCK.finditer(text) if match["kind"] == kind]
    assert len(found) == text.count(f"```{kind}\n")
    return [match["code"] for match in found if match["reason"] is None]


def open_library(home, settings, progress, server):
    model = ScriptedModel("The casing bolts are tightened to 42 Nm [1].")
    return Library(home, settings, embedder=FakeEmbedder(), chat_model=model)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "pump.md").write_text(f"# Gear pump\n\n{BOLTS} Its gear oil is changed yearly.\n")
    (tmp_path / "backups").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOMAINQA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOMAINQA_EMBEDDING__MODEL", FakeEmbedder.model)
    return tmp_path


def test_the_python_of_the_clients_page_runs(folder, running, capsys):
    from rag.config import load_settings

    library = open_library(folder / "home", load_settings(folder / "home"), print, None)
    library.ingest([folder / "documents"])
    found = blocks("clients.md", "python")
    assert len(found) >= 8
    with running(library) as url:
        for code in found:
            assert "http://127.0.0.1:8080" in code
            exec(compile(code.replace("http://127.0.0.1:8080", url), "docs/clients.md", "exec"), {})
    printed = capsys.readouterr().out
    assert BOLTS.split()[1] in printed
    assert "there is no collection 'nowhere'" in printed


def test_the_commands_of_the_operating_page_run(folder):
    commands = [line for code in blocks("operating.md", "sh") for line in code.splitlines()]
    assert len(commands) > 12
    said = {}
    for line in commands:
        program, *arguments = shlex.split(line)
        assert program == "domainqa", line
        session = Session(open_library=open_library, provide_models=lambda references, offline: None)
        result = CliRunner().invoke(app, arguments, obj=session, catch_exceptions=False)
        # Models may not be fetched on this machine; that is a warning.
        assert result.exit_code == 0, f"{line}\n{result.output}"
        said[line] = result.stdout
    assert "pump.md" in said['domainqa --home restored search "gear oil" --top-k 3']
    assert json.loads(said["domainqa doctor --json"])["healthy"]
    assert len(list(folder.glob("home.before-restore-*"))) == 1


def test_the_commands_of_the_other_blocks_exist():
    """Blocks that are not run name commands and options that there are."""
    for page in (ROOT / "docs").glob("*.md"):
        for line in re.findall(r"^domainqa .*$", page.read_text("utf-8"), re.MULTILINE):
            words = shlex.split(line.partition("  ")[0], comments=True)[1:]
            command = next((word for word in words if not word.startswith("-")), None)
            names = {each.name or each.callback.__name__ for each in app.registered_commands}
            groups = {each.name for each in app.registered_groups}
            assert command is None or command in names | groups | {"restored"}, f"{page.name}: {line}"


def test_the_pages_own_links_lead_somewhere():
    for page in (ROOT / "docs").glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.fixture
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read(ROOT / "data" / "domainqa.service")
    return parser


def test_the_systemd_unit_starts_a_command_that_there_is(unit):
    service = unit["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert Path(program).name == "domainqa"
    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0
    from rag.config import EngineSettings, ServerSettings

    needed = ServerSettings().drain_s + EngineSettings().stop_timeout_s
    assert int(service["TimeoutStopSec"]) > needed, "systemd would kill it while it drains"
    assert service["Environment"] == "DOMAINQA_OFFLINE=1", "of several lines with one key the parser keeps the last"
    for line in (ROOT / "data" / "domainqa.service").read_text().splitlines():
        if line.startswith("Environment=DOMAINQA_") and "__" in line:
            section, _, key = line.removeprefix("Environment=DOMAINQA_").partition("=")[0].lower().partition("__")
            assert section == "server"
            assert key in ServerSettings.model_fields


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_every_line_of_the_unit(tmp_path):
    text = (ROOT / "data" / "domainqa.service").read_text()
    # Neither the program nor its user is on this machine.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
    text = re.sub(r"^(User|Group)=.*", r"\1=root", text, flags=re.MULTILINE)
    (tmp_path / "domainqa.service").write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / "domainqa.service"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

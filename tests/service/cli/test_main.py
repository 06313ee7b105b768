"""The program as a whole: real processes where exit codes, streams and imports are at stake."""

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.main import get_command

from rag.errors import DomainQAError
from service.cli.main import app

HEAVY = (
    "torch", "transformers", "sentence_transformers", "faiss", "tantivy", "kreuzberg", "peft", "fastapi", "sqlalchemy",
    "openai", "numpy",
)  # fmt: skip
LOADED = "import sys; sys.stderr.write('loaded: ' + ' '.join(sys.modules))"


def paths(command=None, path=()):
    """Every command of the program, groups too."""
    command = command or get_command(app)
    yield path
    for name, each in getattr(command, "commands", {}).items():
        yield from paths(each, (*path, name))


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )


def domainqa(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return python("from service.cli.main import main; main()", *arguments, **environment)


def test_no_help_text_imports_what_is_heavy() -> None:
    helps = [" ".join((*path, "--help")) for path in paths()]
    code = f"""
import sys
from typer.testing import CliRunner
from service.cli.main import app
for arguments in {helps!r}:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "Usage: " in result.stdout, (arguments, result.output)
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
    result = python(code)
    assert (result.stdout, result.stderr, result.returncode) == ("\n", "", 0)


@pytest.mark.parametrize("words", ["domainqa ", "domainqa documents ", "domainqa ask --profile ", "domainqa ask --"])
def test_completion_imports_no_model_library(words: str) -> None:
    code = f"import atexit\natexit.register(lambda: exec({LOADED!r}))\nfrom service.cli.main import main; main()"
    result = python(
        code, _DOMAINQA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1)
    )
    loaded = result.stderr.partition("loaded: ")[2].split()
    assert result.stdout.split(), "it completes something"
    assert "service.cli.main" in loaded
    assert not set(HEAVY) & set(loaded)


def test_help_takes_well_under_a_second() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        assert domainqa("--help").returncode == 0
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 1.0


def test_version_on_stdout() -> None:
    result = domainqa("--version")
    assert (result.stdout, result.stderr, result.returncode) == (f"domainqa {version('domainqa')}\n", "", 0)


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["ask"], ["search", "x", "--no-such-option"], ["serve", "--port", "high"], []]
)
def test_wrong_usage_exits_2_with_nothing_on_stdout(arguments: list[str]) -> None:
    result = domainqa(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Usage: domainqa" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["search", "x", "--profile", "no\x1bsuch"], "there is no profile 'no\\x1bsuch'"),
        (["--config", "missing.toml", "ask", "x"], "there is no configuration file missing.toml"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_exits_1(tmp_path: Path, arguments: list[str], told: str) -> None:
    result = domainqa(*arguments, DOMAINQA_HOME=str(tmp_path))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {told}")
    assert result.stderr.count("\n") == 1


def test_a_bug_keeps_its_traceback_and_its_locals_stay_private(tmp_path: Path) -> None:
    code = """
from service.cli import session
from service.cli.main import app
def broken(*_):
    secret = "hunter" + str(1 + 1)
    raise RuntimeError("this is a bug")
app(["documents", "list"], obj=session.Session(open_library=broken))
"""
    result = python(code, DOMAINQA_HOME=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith("RuntimeError: this is a bug\n")
    assert "hunter2" not in result.stderr


def test_an_interrupt_exits_130_quietly(tmp_path: Path) -> None:
    code = """
import time
from service.cli import session
from service.cli.main import app
def slow(*_):
    print("begun", flush=True)
    time.sleep(60)
app(["documents", "list"], obj=session.Session(open_library=slow))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DOMAINQA_HOME": str(tmp_path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")


def test_an_interrupt_waits_for_no_thread_that_cannot_be_stopped(tmp_path: Path) -> None:
    code = """
import asyncio, time
from types import SimpleNamespace
from concurrent.futures import ThreadPoolExecutor
from service.cli.main import main
from service.cli.session import Session
class Answerer:
    async def stream(self, question):
        def load():
            print("begun", flush=True)
            time.sleep(60)
        await asyncio.get_running_loop().run_in_executor(ThreadPoolExecutor(), load)
        yield
class Library:
    answerer = Answerer()
    async def aclose(self):
        print("closed", flush=True)
main(Session(open_library=lambda *_: Library(), provide_models=lambda *_: None))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, "ask", "what?"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DOMAINQA_HOME": str(tmp_path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "closed\n", "")


def test_other_libraries_warn_in_one_line_and_advertise_nothing(tmp_path: Path) -> None:
    code = """
import logging, os, warnings
from service.cli.main import main
from service.cli.session import Session
def noisy(*_):
    warnings.warn("soon to be gone", FutureWarning)
    warnings.warn("old", DeprecationWarning)
    warnings.warn("the file\\nis \\x1b[31modd")
    logging.getLogger("some.library").info("hello")
    logging.getLogger("some.library").warning("low %s", "memory")
    raise SystemExit(0 if os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1" else 3)
main(Session(open_library=noisy))
"""
    result = python(code, "documents", "list", DOMAINQA_HOME=str(tmp_path))
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "warning: the file is \\x1b[31modd\nwarning: low memory\n"


def test_characters_that_the_terminal_lacks_are_escaped(tmp_path: Path) -> None:
    result = domainqa("search", "x", "--profile", "größe", DOMAINQA_HOME=str(tmp_path), PYTHONIOENCODING="ascii")
    assert result.returncode == 1
    assert result.stderr.startswith("error: there is no profile 'gr\\xf6\\xdfe'")


@pytest.mark.parametrize("before", [True, False])
def test_global_options_stand_before_or_after_the_command(cli, tmp_path: Path, before: bool) -> None:
    seen = []

    class Stop(DomainQAError):
        pass

    def note(home, settings, progress, server):
        seen.append((home, settings.profile))
        raise Stop("seen")

    from typer.testing import CliRunner

    from service.cli.session import Session

    options = ["--home", str(tmp_path / "elsewhere"), "--profile", "gpu"]
    for command in (["documents", "list"], ["collections", "list"]):
        line = [*options, *command] if before else [*command, *options]
        result = CliRunner().invoke(app, line, obj=Session(open_library=note))
        assert result.stderr == "error: seen\n"
    assert seen == [(tmp_path / "elsewhere", "gpu")] * 2


def test_the_option_nearer_to_the_command_wins(cli, tmp_path: Path) -> None:
    result = cli("--profile", "no-such", "models", "list", "--profile", "gpu")
    assert result.exit_code == 0
    assert "bge-m3" in result.stdout


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_environment_can_forbid_the_network(
    cli, scripts, monkeypatch: pytest.MonkeyPatch, value: str, offline: bool
) -> None:
    monkeypatch.setenv("DOMAINQA_OFFLINE", value)
    cli.library = scripts.library()
    assert cli("search", "bolts").exit_code == 0
    assert cli.offline == [offline]
    cli("search", "bolts", "--offline")
    assert cli.offline == [offline, True]

import socket
from types import SimpleNamespace

import pytest

from rag.errors import ModelError
from rag.models import Progress
from service.cli.fetching import progress_shown


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


def test_a_busy_port_is_told_before_models_are_fetched_or_loaded(cli, taken: str) -> None:
    result = cli("serve", "--port", taken)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert taken in result.stderr
    assert cli.asked_for == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_addresses_that_others_reach_are_refused_before_models_are_loaded(cli, host: str) -> None:
    result = cli("serve", "--host", host)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: server.host is '{host}'")
    assert cli.asked_for == []


def test_the_models_are_loaded_before_the_first_request(cli, scripts: SimpleNamespace) -> None:
    cli.library = scripts.library()
    warmed = []
    cli.library.warm_up = lambda: warmed.append(True)
    result = cli("serve", "--port", "0", "--check")
    assert result.exit_code == 0
    assert warmed == [True]
    assert cli.asked_for == ["all-MiniLM-L6-v2", "SmolLM2-135M-Instruct"]
    assert cli.library.closed


def test_a_model_that_cannot_be_loaded_ends_it_in_one_line(cli, scripts: SimpleNamespace) -> None:
    def broken() -> None:
        raise ModelError("the weights are broken")

    cli.library = scripts.library()
    cli.library.warm_up = broken
    result = cli("serve", "--port", "0")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "error: the weights are broken"
    assert cli.library.closed


def test_a_download_is_told_step_by_step_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_shown() as show:
        for done in range(0, 100, 10):
            show(Progress("m\x1b", "downloading", done * 10**6, 90 * 10**6))
        show(Progress("m\x1b", "unpacking"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["m\\x1b: downloading 0 of 90 MB", "m\\x1b: unpacking"]


def test_a_download_has_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    with progress_shown() as show:
        show(Progress("all-MiniLM-L6-v2", "downloading", 45 * 10**6, 90 * 10**6))
        show(Progress("all-MiniLM-L6-v2", "converting"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "45.0/90.0 MB" in err
    assert "converting all-MiniLM-L6-v2" in err

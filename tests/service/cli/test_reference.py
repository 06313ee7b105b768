from typer.testing import CliRunner

from service.cli import reference
from service.cli.main import app


def test_the_page_holds_the_commands_help_texts() -> None:
    page = reference.PAGE.read_text("utf-8")
    assert page == reference.reference(), "run `python -m service.cli.reference`"


def test_what_the_page_shows_is_what_help_prints() -> None:
    for command in ("", "ask", "documents", "documents show"):
        result = CliRunner().invoke(app, f"{command} --help", prog_name="domainqa")
        assert result.exit_code == 0
        assert result.stdout.strip() in reference.reference()


def test_every_command_says_what_it_does() -> None:
    commands = [text for path, text in reference.help_texts() if path]
    assert all(text.split("\n\n")[1].startswith("  ") for text in commands)

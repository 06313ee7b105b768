import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from rag.errors import EngineUnavailableError, NotFoundError
from rag.types import TextDelta


@pytest.fixture
def ask(cli, scripts: SimpleNamespace):
    """Asks a library that plays the answer given."""

    def run(answer=None, *options: str, steps=None, question="what torque?", input=None):
        cli.library = scripts.library(steps if steps is not None else scripts.steps_of(answer or scripts.cited))
        return cli("ask", question, *options, input=input)

    return run


def test_the_answer_comes_first_then_each_source_with_its_quote(ask, scripts: SimpleNamespace) -> None:
    result = ask()
    assert result.exit_code == 0
    assert result.stdout.startswith(scripts.cited.text + "\n")
    lines = result.stdout[len(scripts.cited.text) :].splitlines()
    supported = [
        line for line in lines if line.strip() == f'[1] ZP-40 manual, page 1 — "{scripts.passage}" (pumps/zp-40.md)'
    ]
    assert len(supported) == 1
    assert "NOT SUPPORTED" in " ".join(result.stdout.split("Sources")[1].split())
    assert "Not every sentence of this answer is supported" in result.stdout


def test_tokens_and_seconds_go_to_stderr(ask) -> None:
    result = ask()
    assert result.stderr.splitlines()[-1] == "rag · scripted · 100 tokens read (64 cached), 12 written · 1.5 s"
    assert "tokens" not in result.stdout


def test_json_has_the_contract_s_fields_and_nothing_else_on_stdout(ask, scripts: SimpleNamespace) -> None:
    result = ask(None, "--json")
    value = json.loads(result.stdout)
    assert set(value) == {
        "answer", "abstained", "citations", "usage", "timings", "strategy", "supported", "fallback", "nearest",
        "conflicts",
    }  # fmt: skip
    assert value["answer"] == scripts.cited.text
    assert value["supported"] is False
    assert value["usage"] == {"prompt_tokens": 100, "completion_tokens": 12, "cached_tokens": 64}
    first = value["citations"][0]
    assert set(first) == {
        "marker", "number", "document", "title", "page", "start", "end", "quote", "supported", "attributed",
        "recognised",
    }  # fmt: skip
    assert scripts.document.text[first["start"] : first["end"]] == first["quote"]
    assert [each["supported"] for each in value["citations"]] == [True, False]


def test_an_abstention_names_the_nearest_documents(ask, scripts: SimpleNamespace) -> None:
    result = ask(scripts.abstained)
    assert result.exit_code == 0
    assert "The documents don't say." in result.stdout
    assert "ZP-40 manual (pumps/zp-40.md)" in result.stdout
    assert json.loads(ask(scripts.abstained, "--json").stdout)["nearest"][0]["document"] == "pumps/zp-40.md"


def test_nearest_documents_that_the_answer_names_are_not_named_twice(ask, scripts: SimpleNamespace) -> None:
    result = ask(replace(scripts.abstained, text="Not said. The nearest is pumps/zp-40.md"))
    assert result.stdout.count("pumps/zp-40.md") == 1


def test_verbatim_sentences_are_announced_with_the_reason(ask, scripts: SimpleNamespace) -> None:
    result = ask(replace(scripts.cited, fallback="the model's answer was not supported", supported=True))
    assert "Verbatim sentences: the model's answer was not supported." in result.stdout


def test_sources_that_disagree_are_told_unless_the_text_says_so(ask, scripts: SimpleNamespace) -> None:
    note = scripts.conflict.note
    differing = replace(scripts.cited, conflicts=(scripts.conflict,))
    assert " ".join(ask(differing).stdout.split()).count(note) == 1
    assert " ".join(ask(replace(differing, text=f"42 Nm [1].\n{note}")).stdout.split()).count(note) == 1
    (told,) = json.loads(ask(differing, "--json").stdout)["conflicts"]
    assert told == {
        "kind": "superseded",
        "newer": {"marker": 1, "document": "pumps/zp-40.md", "date": "2024-05-01"},
        "older": {"marker": 2, "document": "pumps/zp-40-2019.md", "date": "2019-05-01"},
        "note": note,
    }


def test_sources_found_afterwards_are_told_apart(ask, scripts: SimpleNamespace) -> None:
    citations = tuple(replace(each, attributed=True) for each in scripts.cited.citations)
    result = ask(replace(scripts.cited, citations=citations))
    assert "found afterwards" in result.stdout
    assert "found afterwards" not in ask().stdout


def test_an_answer_without_documents_says_that_nobody_checked_it(ask, scripts: SimpleNamespace) -> None:
    closed = replace(scripts.cited, citations=(), evidence=(), supported=None, strategy="base")
    assert "is not checked" in ask(closed).stdout


def test_no_markup_is_read_into_the_answer_or_its_sources(ask, scripts: SimpleNamespace) -> None:
    text = "Use **M8** [bold]bolts[/bold] :warning: [1].\n- one\n- two"
    citation = replace(scripts.cited.citations[0], title="[red]Manual[/red]", quote="[link=x]y[/link]")
    result = ask(replace(scripts.cited, text=text, citations=(citation,)))
    assert result.stdout.startswith(text + "\n")
    assert "[red]Manual[/red]" in result.stdout
    assert "[link=x]y[/link]" in result.stdout


def test_neither_answer_nor_titles_drive_the_terminal(ask, scripts: SimpleNamespace) -> None:
    citation = replace(scripts.cited.citations[0], title="Ma\x1b]0;x\x07nual", source="a\nb.pdf")
    result = ask(replace(scripts.cited, text="12 Nm\x1b[2J [1].", citations=(citation,)))
    assert "\x1b" not in result.output
    assert "a\\nb.pdf" in result.stdout


def test_the_question_can_come_from_stdin(cli, ask) -> None:
    result = ask(question="-", input="  what torque,\nplease?\n")
    assert result.exit_code == 0
    assert cli.library.answerer.asked[0].text == "what torque,\nplease?"


def test_options_reach_the_answer_flow(cli, ask) -> None:
    ask(None, "--collection", "archive", "--strategy", "extractive", "--max-tokens", "33")
    asked = cli.library.answerer.asked[0]
    assert (asked.collection, asked.strategy, asked.max_tokens) == ("archive", "extractive", 33)


@pytest.mark.parametrize("strategy", [None, "rag", "base", "stuffed", "rag@pumps", "extractive"])
def test_only_the_models_that_the_strategy_needs_are_fetched(cli, ask, strategy: str | None) -> None:
    ask(None, *([] if strategy is None else ["--strategy", strategy]))
    needs = {"extractive": ["all-MiniLM-L6-v2"], "base": ["SmolLM2-135M-Instruct"]}
    assert cli.asked_for == needs.get(strategy, ["all-MiniLM-L6-v2", "SmolLM2-135M-Instruct"])


def test_the_library_is_closed_whatever_happens(cli, ask, scripts: SimpleNamespace) -> None:
    ask()
    assert cli.library.closed
    ask(steps=[EngineUnavailableError("no engine at http://127.0.0.1:8000/v1")])
    assert cli.library.closed


def test_an_error_amid_the_answer_begins_on_a_line_of_its_own(ask) -> None:
    result = ask(steps=[TextDelta("The torque"), EngineUnavailableError("the engine\nwent away")])
    assert result.exit_code == 1
    assert result.stdout == "The torque\n"
    assert result.stderr.splitlines()[-1] == "error: the engine went away"


def test_an_error_before_the_answer_prints_nothing_on_stdout(ask) -> None:
    result = ask(None, "--json", steps=[NotFoundError("there is no collection 'x'")])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == "error: there is no collection 'x'"


def test_an_interrupt_ends_the_generation_quietly(cli, ask) -> None:
    result = ask(steps=[TextDelta("The torque"), KeyboardInterrupt()])
    assert result.exit_code == 130
    assert result.stdout == "The torque\n"
    assert "Traceback" not in result.stderr
    assert cli.library.answerer.running == 0
    assert cli.library.closed

"""``domainqa feedback export`` over a catalog with rated answers."""

import asyncio
import json
from pathlib import Path

import pytest

from rag.build import Library
from rag.config import Settings
from rag.evaluation.questions import read_questions
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.question import Question

pytestmark = pytest.mark.integration


@pytest.fixture
def library(tmp_path: Path) -> Library:
    files = tmp_path / "files"
    files.mkdir()
    (files / "oil.txt").write_text("The oil of the pump is red.")
    model = ScriptedModel("The oil of the pump is red [1].", "The oil is blue [1].")
    library = Library(tmp_path / "home", Settings(), embedder=FakeEmbedder(), chat_model=model)
    library.ingest([files])
    for number, rating in enumerate(("up", "down")):
        answer = asyncio.run(library.answerer.answer(Question("Which colour has the oil of the pump?")))
        library.catalog.conversations.add_turn(f"conv_{number}", f"turn_{number}", "default", answer, new=True)
        library.catalog.feedback.put(f"conv_{number}", f"turn_{number}", rating, None)
    return library


def test_questions_and_preferences(cli, library: Library, tmp_path: Path) -> None:
    cli.library = library
    out = tmp_path / "out.jsonl"
    done = cli("feedback", "export", "--format", "questions", "--out", str(out), "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"written": 1, "rated": 2, "file": str(out)}
    (question,) = read_questions(out)
    assert question.answers == ("The oil of the pump is red.",)
    done = cli("feedback", "export", "--format", "preferences", "--out", str(out))
    assert done.exit_code == 0
    assert done.stdout.startswith("1 preferences from 2 rated answers")
    pair = json.loads(out.read_text("utf-8"))
    assert pair["chosen"][0]["content"] == "The oil of the pump is red [1]."
    assert pair["rejected"][0]["content"] == "The oil is blue [1]."


def test_a_format_that_nobody_knows_is_wrong_usage(cli, library: Library, tmp_path: Path) -> None:
    cli.library = library
    assert cli("feedback", "export", "--format", "csv", "--out", str(tmp_path / "x")).exit_code == 2

"""Which adapters can be asked for, and what an answer says of the one that gave it."""

import asyncio
from pathlib import Path

import pytest

from rag.adapters import KnownAdapters
from rag.build import Library
from rag.config import Settings
from rag.errors import ConfigError, NotFoundError, UsageError
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.question import Question
from rag.types import Adapter


class Source:
    """One adapter that a label stands for, and the label may be moved."""

    def __init__(self) -> None:
        self.current = "pumps-1"

    def names(self) -> list[str]:
        return ["pumps", "pumps-1", "pumps-2"]

    def find(self, reference: str) -> Adapter | None:
        name = self.current if reference == "pumps" else reference
        return Adapter(name, f"/adapters/{name}") if name in self.names() else None


def test_configured_ones_and_those_of_the_source_are_known_together() -> None:
    known = KnownAdapters({"mine": "/mine"}, Source())
    assert known.names() == ["mine", "pumps", "pumps-1", "pumps-2"]
    assert known.find("mine") == Adapter("mine", "/mine")
    assert known.find("pumps") == Adapter("pumps-1", "/adapters/pumps-1")


def test_an_unknown_one_is_told_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="there is no adapter 'x'; there are: mine, pumps, pumps-1, pumps-2"):
        KnownAdapters({"mine": "/mine"}, Source()).find("x")
    with pytest.raises(NotFoundError, match="there are: none"):
        KnownAdapters({}).find("x")


def test_one_name_for_two_adapters_is_the_operators_to_mend() -> None:
    with pytest.raises(ConfigError, match="give one of them another name"):
        KnownAdapters({"pumps": "/mine"}, Source()).find("pumps")


def test_the_answer_names_the_adapter_that_a_label_stood_for_when_it_was_asked(tmp_path: Path) -> None:
    source, model = Source(), ScriptedModel("yes")

    async def run() -> None:
        library = Library(tmp_path, Settings(), embedder=FakeEmbedder(), chat_model=model, adapters=source)
        try:
            assert {"base@pumps", "rag@pumps-2"} <= set(library.strategies())
            assert "extractive@pumps" not in library.strategies()
            first = await library.answerer.answer(Question("why?", strategy="base@pumps"))
            source.current = "pumps-2"
            second = await library.answerer.answer(Question("why?", strategy="base@pumps"))
            plain = await library.answerer.answer(Question("why?", strategy="base"))
            assert [each.adapter for each in (first, second, plain)] == ["pumps-1", "pumps-2", None]
            assert [each.strategy for each in (first, second, plain)] == ["base@pumps-1", "base@pumps-2", "base"]
            with pytest.raises(NotFoundError, match="there are: pumps, pumps-1, pumps-2"):
                await library.answerer.answer(Question("why?", strategy="base@nobody"))
            with pytest.raises(UsageError, match="takes no adapter"):
                await library.answerer.answer(Question("why?", strategy="extractive@pumps"))
        finally:
            await library.aclose()

    asyncio.run(run())
    assert model.adapters == ["pumps-1", "pumps-2", None]

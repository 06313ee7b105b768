"""Which arms an experiment has, what they compare, and what is refused."""

from pathlib import Path

import pytest

from rag.config import Settings
from rag.errors import ConfigError, UsageError
from rag.evaluation.arms import planned_contrasts, read_arms, resolve_arms, settings_of
from rag.types import AdapterKind, AdapterManifest


def manifest(kind: AdapterKind) -> AdapterManifest:
    return AdapterManifest("pumps-1a2b", "pumps", "00", "base", "Llama", "11", 8, 16.0, (), "2026-01-01", kind)


@pytest.mark.parametrize(("kind", "arm"), [("closed-book", "sft"), ("cpt", "cpt"), ("grounded", "rag+sft")])
def test_an_adapters_kind_tells_its_arm(kind: AdapterKind, arm: str) -> None:
    *_, found = resolve_arms(["base"], ["pumps"], {}, lambda _: manifest(kind))
    assert (found.name, found.adapter, found.adapter_kind) == (arm, "pumps-1a2b", kind)


def test_an_adapter_that_tells_no_arm_or_the_wrong_one_is_refused() -> None:
    with pytest.raises(UsageError, match="say --adapter ARM=pumps"):
        resolve_arms(["base"], ["pumps"], {}, lambda _: None)
    with pytest.raises(UsageError, match="takes a closed-book adapter, and 'pumps' is a grounded one"):
        resolve_arms([], ["sft=pumps"], {}, lambda _: manifest("grounded"))
    with pytest.raises(UsageError, match="needs an adapter of the kind 'closed-book'"):
        resolve_arms(["sft"], [], {}, lambda _: None)


def test_the_planned_contrasts_are_those_whose_arms_are_there_and_the_interaction_needs_four() -> None:
    arms = resolve_arms(["base", "rag"], ["sft=a", "rag+sft=b"], {}, lambda _: None)
    contrasts = planned_contrasts(arms, {})
    assert [str(each) for each in contrasts] == [
        "rag - base",
        "sft - base",
        "rag+sft - rag",
        "(rag+sft - rag) - (sft - base)",
    ]
    assert contrasts[-1].weights == {"rag+sft": 1, "rag": -1, "sft": -1, "base": 1}
    assert [str(each) for each in planned_contrasts(arms[:2], {})] == ["rag - base"]


def test_arms_of_ones_own_come_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "arms.toml"
    path.write_text('[arms.wide]\nstrategy = "rag"\nbaseline = "rag"\n[arms.wide.settings]\n"retrieval.top_k" = 20\n')
    own = read_arms(path)
    arms = resolve_arms(["rag", "wide"], [], own, lambda _: None)
    assert [str(each) for each in planned_contrasts(arms, own)] == ["wide - rag"]
    assert settings_of(arms[1], Settings()).retrieval.top_k == 20
    assert settings_of(arms[0], Settings()) == Settings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[arms.a]\nstrategy = 'rga'\n", "there is no strategy 'rga'"),
        ("[arms.a]\nstrategy = 'rag'\nexamples = 2\n", "only the base strategy"),
        ("[arms.a]\nstrategy = 'extractive'\nadapter = 'x'\n", "takes no adapter"),
        ("[arms.a]\nstrateggy = 'rag'\n", "strategy: Field required"),
        ("[arm.a]\n", "nothing else"),
    ],
)
def test_a_faulty_arm_is_told_by_name(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "arms.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        resolve_arms(["a"], [], read_arms(path), lambda _: None)


def test_an_arm_may_not_change_what_was_indexed(tmp_path: Path) -> None:
    path = tmp_path / "arms.toml"
    path.write_text('[arms.a]\nstrategy = "rag"\nsettings = {"chunking.max_tokens" = 99}\n')
    (arm,) = resolve_arms(["a"], [], read_arms(path), lambda _: None)
    with pytest.raises(ConfigError, match=r"'a' sets chunking\.max_tokens"):
        settings_of(arm, Settings())

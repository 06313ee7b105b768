import json
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.planning.hardware import read_prices
from finetune.planning.measured import ARMS, read_measured
from finetune.planning.shapes import known_shape
from finetune.planning.strategies import Situation, StrategyPlan, plan, train
from rag.errors import ConfigError, NotFoundError, UsageError

SITUATION = Situation(
    shape=known_shape("Llama-3.1-8B"),
    gpu=read_prices().gpu("a100-80"),
    utilisation=0.4,
    domain_tokens=1_000_000,
    sft_examples=1000,
    prompt_tokens=1500,
    answer_tokens=200,
    epochs=3,
    batch_tokens=4096,
    rank=16,
    days=30,
)


def named(situation: Situation) -> dict[str, StrategyPlan]:
    return {each.name: each for each in plan(situation)}


def test_the_five_strategies_of_the_field_in_falling_cost() -> None:
    assert [each.name for each in plan(SITUATION)] == [
        "pretraining from scratch",
        "continued pretraining",
        "SFT",
        "retrieval",
        "in-context",
    ]
    assert set(ARMS) == set(named(SITUATION))


def test_data_keeps_the_ratio_rules() -> None:
    plans = named(SITUATION)
    continued = {need.what: need for need in plans["continued pretraining"].needs}
    least = continued["general text, at least"].least
    assert 1e6 / (1e6 + least) == pytest.approx(0.15, abs=1e-6)
    advised = continued["general text, advised"]
    assert 1e6 / (1e6 + advised.least) == 0.125
    assert 1e6 / (1e6 + (advised.most or 0)) == pytest.approx(0.0909, abs=1e-4)
    general = plans["SFT"].needs[1]
    assert [200_000 / (200_000 + each) for each in (general.least, general.most or 0)] == pytest.approx([0.6, 0.4])
    scratch = plans["pretraining from scratch"].needs
    assert scratch[0].least == 20 * 8_030_261_248
    assert scratch[1].least == scratch[0].least - 1e6


def test_a_pretraining_worked_by_hand() -> None:
    [training] = named(SITUATION)["pretraining from scratch"].trainings
    # All matrices and the head multiply: 8.03e9 less the table of tokens, 128,256 x 4,096, and the norms.
    multiplied = 8_030_261_248 - 128_256 * 4_096 - 65 * 4_096
    flops = (8 if training.checkpointing else 6) * multiplied * 20 * 8_030_261_248
    assert training.flops == pytest.approx(flops)
    assert training.gpu_hours == pytest.approx(flops / (312e12 * 0.4) / 3600)
    assert training.money == pytest.approx(2.0 * training.gpu_hours)
    assert training.days is not None
    assert training.cards is not None
    assert training.days <= 30
    assert training.gpu_hours / 24 / (training.cards - 1) > 30


def test_training_fits_its_cards() -> None:
    for each in plan(SITUATION):
        for training in each.trainings:
            assert training.cards is not None
            memory = training.memory
            on_one = memory.states / training.cards + memory.activations + memory.logits
            assert on_one <= 0.9 * 80e9


def test_checkpointing_only_where_it_saves_cards() -> None:
    assert not train(SITUATION, "lora", 1e6).checkpointing
    crowded = train(replace(SITUATION, batch_tokens=16384), "lora", 1e6, learnt_share=0.1)
    assert (crowded.checkpointing, crowded.cards) == (True, 1)
    assert crowded.gpu_hours == pytest.approx(1.5 * train(SITUATION, "lora", 1e6).gpu_hours)
    # Two cards that are there anyway hold it without.
    assert not train(replace(SITUATION, batch_tokens=8192, cards=2), "lora", 1e6).checkpointing


def test_cards_that_are_too_few_or_too_small_are_told() -> None:
    full = train(replace(SITUATION, cards=1), "full", 1e6)
    assert (full.cards, full.days, full.money) == (2, None, None)
    huge = train(replace(SITUATION, batch_tokens=1_000_000), "lora", 1e6)
    assert (huge.cards, huge.days) == (None, None)


def test_documents_that_do_not_fit_the_window_cannot_be_put_in_context() -> None:
    plans = named(SITUATION)
    assert plans["in-context"].asking is None
    assert "do not fit the window of 131,072" in (plans["in-context"].obstacle or "")
    assert plans["retrieval"].obstacle is None
    small = named(replace(SITUATION, domain_tokens=50_000))["in-context"]
    assert small.obstacle is None
    assert small.asking is not None
    assert small.asking.prompt_tokens == 50_300


def test_a_prefix_cache_holds_shared_documents_once() -> None:
    asking = named(replace(SITUATION, domain_tokens=50_000))["in-context"].asking
    assert asking is not None
    assert asking.memory.kv_cache == (50_000 + 8 * 500) * 131_072
    assert asking.cached_gpu_seconds is not None
    assert asking.cached_gpu_seconds < asking.gpu_seconds / 4
    assert asking.money_per_1000 == pytest.approx(1000 * asking.cached_gpu_seconds / 3600 * 2.0)


def test_retrieval_and_context_train_nothing() -> None:
    plans = named(SITUATION)
    assert plans["retrieval"].trainings == plans["in-context"].trainings == ()


def test_own_prices_replace_all_of_the_tables(tmp_path: Path) -> None:
    own = tmp_path / "prices.toml"
    own.write_text('as_of = "2026-11"\ncurrency = "EUR"\n[gpus.a100-80]\nprice_per_hour = 1.5\n', "utf-8")
    table = read_prices(own)
    assert (table.as_of, table.currency) == ("2026-11", "EUR")
    assert table.gpu("a100-80").price_per_hour == 1.5
    assert table.gpu("a100-80").bf16_tflops == 312
    assert table.gpu("h100-80").price_per_hour is None
    unknown = train(replace(SITUATION, gpu=table.gpu("h100-80")), "lora", 1e6)
    assert unknown.money is None
    with pytest.raises(NotFoundError, match="a100-80, h100-80"):
        table.gpu("v100")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[gpus.a100-80]\nprice_per_hour = 1\n", "as_of and currency"),
        ('as_of = "2026"\ncurrency = "EUR"\n[gpus.mine]\nname = "mine"\n', "gpus.mine.memory_gb"),
        ('as_of = "2026"\ncurrency = "EUR"\n[gpus.a100-80]\nprice = 1\n', "gpus.a100-80.price"),
        ('as_of = "2026"\ncurrency = "EUR"\ngpus = 3\n', "a table of its own"),
        ("as_of = ", "cannot be read"),
    ],
)
def test_prices_that_cannot_be_used_are_told(tmp_path: Path, text: str, told: str) -> None:
    own = tmp_path / "prices.toml"
    own.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=told):
        read_prices(own)


def test_what_was_measured_stands_beside_its_strategy(tmp_path: Path) -> None:
    means = {"token_f1": {"value": 0.1, "low": 0.0, "high": 0.2, "questions": 7}}
    arms = [{"name": arm, "means": means} for arm in ("base", "rag", "rag+sft", "sft")]
    report = {"run": {"primary": "token_f1", "seed": 0}, "verdicts": ["rag helps"], "arms": arms, "questions": 7}
    (tmp_path / "report.json").write_text(json.dumps(report), "utf-8")
    measured = read_measured(tmp_path)
    assert [arm.arm for arm in measured.of("SFT")] == ["sft", "rag+sft"]
    assert measured.of("pretraining from scratch") == measured.of("in-context") == ()
    assert measured.baseline is not None
    assert read_measured(tmp_path / "report.json") == measured
    (tmp_path / "report.json").write_text("{}", "utf-8")
    with pytest.raises(UsageError, match="run"):
        read_measured(tmp_path)
    with pytest.raises(UsageError, match="domainqa eval run"):
        read_measured(tmp_path / "nowhere")

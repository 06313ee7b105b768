"""The forgetting gate: likelihoods against separate passes, verdicts against hand-made differences, promotion."""

import json
import math
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune.adapters import AdapterRegistry
from finetune.fitting import read_base
from finetune.forgetting import (
    CHECK,
    DOMAIN,
    GENERAL,
    Check,
    Comparison,
    Pair,
    checked,
    compare,
    domain_gate,
    general_gate,
    read_pairs,
)
from finetune.likelihood import Likelihoods
from finetune.mixing import mix_hash
from finetune.probing import Probe, ProbeItem, is_right, probe_folder, read_probe
from finetune.promoting import hash_of, promote_run
from finetune.runs import CONFIG, RunConfig, TrainSettings
from finetune.sweeping import PLOT, SweepPlan, gains, losses, plot, sweep
from rag.errors import StateError, UsageError
from tests.finetune.trainables import make_mix

pytestmark = pytest.mark.filterwarnings(
    # peft asks for it by the name that transformers 5 has deprecated.
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)

ITEMS = (
    ProbeItem(
        id="1", family="a", group="a/1", prompt="the pump and", options=("the valve", "a user", "x", "here"), answer=0
    ),
    ProbeItem(id="2", family="a", group="a/2", prompt="user", options=("system", "of the valve of the pump"), answer=1),
    ProbeItem(id="3", family="b", group="b/1", prompt="assistant are", options=("pump", "here,", "the"), answer=2),
)


@pytest.fixture(scope="module")
def adapter(trainable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(trainable)
    lora = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(model, lora).save_pretrained(folder)
    return folder


# --- likelihoods ------------------------------------------------------------------------------------


def naive(model: torch.nn.Module, prompt: list[int], option: list[int]) -> float:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt + option])).logits[0].float()
    logs = logits.log_softmax(-1)
    return sum(float(logs[len(prompt) + at - 1, token]) for at, token in enumerate(option))


def test_options_in_one_pass_are_as_likely_as_each_by_itself(trainable: Path, adapter: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(trainable).eval()
    tokenizer = AutoTokenizer.from_pretrained(trainable)

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    expected = [tuple(naive(model, ids(item.prompt), ids(f" {option}")) for option in item.options) for item in ITEMS]
    likelihoods = Likelihoods(trainable, "tiny", adapter, "cpu")
    with likelihoods.without_adapter():
        before = likelihoods.of_options(ITEMS)
    for found, right in zip(before, expected, strict=True):
        assert found == pytest.approx(right, abs=1e-3)
    after = likelihoods.of_options(ITEMS)
    assert any(
        abs(one - other) > 0.01 for pair in zip(before, after, strict=True) for one, other in zip(*pair, strict=True)
    )


def test_bits_per_byte_are_the_texts_own(trainable: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(trainable).eval()
    tokenizer = AutoTokenizer.from_pretrained(trainable)
    text = "the pump and the valve of the user"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    expected = -naive(model, ids[:1], ids[1:]) / math.log(2) / len(text.encode())
    assert Likelihoods(trainable, "tiny", device="cpu").bits_per_byte([text]) == pytest.approx([expected], abs=1e-3)


def test_an_option_is_not_right_for_being_short() -> None:
    item = ProbeItem(id="1", family="a", group="a", prompt="p", options=("ab", "abcdefgh"), answer=1)
    assert is_right(item, (-2.0, -4.0))
    assert not is_right(item, (-1.0, -4.0)), "as likely by byte: a tie is wrong"


# --- the shipped probe --------------------------------------------------------------------------------


def test_the_shipped_probe_is_what_its_program_makes_and_large_enough() -> None:
    probe = read_probe(probe_folder())
    assert len(probe.items) >= 1000
    assert {item.family for item in probe.items} == {
        "facts", "arithmetic", "units", "order", "grammar", "relations", "reading",
    }  # fmt: skip
    assert all(item.options[item.answer].strip() and len(item.options) == 4 for item in probe.items)
    assert len({item.group for item in probe.items}) >= 12
    assert len(probe.texts) >= 12
    program = probe_folder() / "build.py"
    subprocess.run([sys.executable, str(program), "--check"], check=True)


# --- verdicts -----------------------------------------------------------------------------------------


def pairs_of(change: float, groups: int, noise: float = 0.0, seed: int = 0) -> list[Pair]:
    draw = random.Random(seed)
    return [
        Pair(id=f"{group}-{at}", group=str(group), before=0.5, after=0.5 + change + noise * draw.gauss(0, 1))
        for group in range(groups)
        for at in range(3)
    ]


def test_what_is_compared_is_paired_and_counted_by_group() -> None:
    """By hand: two groups of two, cluster sums of the residuals +-0.1, one degree of freedom."""
    found = compare(
        [
            Pair(id="1", group="a", before=0.2, after=0.3),
            Pair(id="2", group="a", before=0.4, after=0.5),
            Pair(id="3", group="b", before=0.6, after=0.6),
            Pair(id="4", group="b", before=0.1, after=0.1),
        ]
    )
    assert found.change == pytest.approx(0.05)
    assert (found.items, found.groups) == (4, 2)
    assert found.low < found.least < found.change < found.most < found.high
    assert found.change - found.least == pytest.approx((found.change - found.low) * 6.3138 / 12.7062, rel=1e-3)


def test_the_gates_decide_by_bounds_and_not_by_means() -> None:
    sure, unsure = compare(pairs_of(0.05, 20, 0.01)), compare(pairs_of(0.05, 20, 0.4))
    assert domain_gate(sure).passed
    assert not domain_gate(unsure).passed
    assert (
        not domain_gate(compare(pairs_of(0.0, 20, 0.01, seed=4))).passed or compare(pairs_of(0.0, 20, 0.01, 4)).low > 0
    )
    small_loss = compare(pairs_of(-0.01, 20, 0.01))
    assert general_gate(small_loss, 0.03).passed
    assert not general_gate(small_loss, 0.009).passed
    missed = general_gate(compare(pairs_of(-0.05, 20, 0.01)), 0.03)
    assert not missed.passed
    assert "the margin is 3" in (missed.reason or "")
    assert missed.low <= missed.value <= missed.high


def test_too_few_groups_are_no_verdict() -> None:
    few = compare(pairs_of(0.2, 5))
    assert not domain_gate(few).passed
    assert "5 groups" in (domain_gate(few).reason or "")
    assert not general_gate(compare(pairs_of(0.0, 1)), 0.03).passed


def test_scores_are_read_with_their_faults_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    line = {"id": "1", "group": "g", "before": 0.5, "after": 1}
    path.write_text(f"{json.dumps(line)}\n\n", "utf-8")
    assert read_pairs(path) == [Pair(id="1", group="g", before=0.5, after=1.0)]
    path.write_text(f"{json.dumps(line)}\n{json.dumps(line)}\n", "utf-8")
    with pytest.raises(UsageError, match="line 2: the id '1' was used before"):
        read_pairs(path)
    path.write_text('{"id": "1"}\n', "utf-8")
    with pytest.raises(UsageError, match="line 1: group"):
        read_pairs(path)


# --- promotion ----------------------------------------------------------------------------------------


def probe_of(groups: int = 20) -> Probe:
    items = tuple(
        ProbeItem(id=f"{at}", family="f", group=f"{at}", prompt="p", options=("a", "b"), answer=0)
        for at in range(groups)
    )
    return Probe(items, tuple("text" for _ in range(groups)), "0" * 64)


def make_check(adapter_hash: str, *, gain: float | None, lost: int = 0) -> Check:
    probe = probe_of()
    right, wrong = (-1.0, -2.0), (-2.0, -1.0)
    before = [right] * len(probe.items)
    after = [wrong if at < lost else right for at in range(len(probe.items))]
    bits = [1.0] * len(probe.texts)
    return checked(
        base="tiny",
        adapter_hash=adapter_hash,
        probe=probe,
        options=(before, after),
        bits=(bits, bits),
        domain=None if gain is None else pairs_of(gain, 20, 0.01),
        domain_measured=None if gain is None else "by hand",
    )


@pytest.fixture
def run(tmp_path: Path, adapter: Path, trainable: Path) -> Path:
    """As training leaves one."""
    mix = make_mix(tmp_path / "mix")
    run = tmp_path / "run"
    (run / "adapter").mkdir(parents=True)
    for path in adapter.iterdir():
        (run / "adapter" / path.name).write_bytes(path.read_bytes())
    config = RunConfig(
        settings=TrainSettings(model=str(trainable)), mix=str(mix), mix_hash=mix_hash(mix), tokens_hash="", versions={}
    )
    (run / CONFIG).write_text(config.model_dump_json(), "utf-8")
    return run


def keep(run: Path, check: Check) -> None:
    (run / CHECK).write_text(check.model_dump_json(), "utf-8")


def test_a_checked_run_is_promoted_with_both_gates_and_rolled_back(run: Path, trainable: Path, tmp_path: Path) -> None:
    registry = AdapterRegistry(tmp_path / "home")
    base = read_base(trainable, str(trainable))
    keep(run, make_check(hash_of(run / "adapter"), gain=0.2))
    first = promote_run(registry, run, "support", base)
    assert {gate.name: gate.passed for gate in registry.get(first.name).gates} == {GENERAL: True, DOMAIN: True}
    assert registry.resolve("support") == first.name
    assert first.mix_hash == mix_hash(tmp_path / "mix")
    assert promote_run(registry, run, "support", base) == first
    with pytest.raises(UsageError, match="no earlier adapter"):
        registry.rollback("support")


@pytest.mark.parametrize(
    ("gain", "lost", "says"),
    [(0.2, 5, "general-loss: up to"), (0.0, 0, "domain-gain: the gain's interval"), (None, 0, "was not measured")],
)
def test_a_missed_gate_keeps_an_adapter_from_its_label(
    run: Path, trainable: Path, tmp_path: Path, gain: float | None, lost: int, says: str
) -> None:
    registry = AdapterRegistry(tmp_path / "home")
    base = read_base(trainable, str(trainable))
    keep(run, make_check(hash_of(run / "adapter"), gain=gain, lost=lost))
    if gain == 0.0:
        pairs = pairs_of(0.0, 20)
        check = make_check(hash_of(run / "adapter"), gain=0.2)
        keep(run, check.model_copy(update={"gates": (check.gates[0], domain_gate(compare(pairs)))}))
    with pytest.raises(UsageError, match=says):
        promote_run(registry, run, "support", base)
    assert registry.list() == ()
    manifest = promote_run(registry, run, "support", base, despite_gates=True)
    assert registry.resolve("support") == manifest.name


def test_another_adapter_than_the_checked_one_is_refused(run: Path, trainable: Path, tmp_path: Path) -> None:
    registry = AdapterRegistry(tmp_path / "home")
    base = read_base(trainable, str(trainable))
    with pytest.raises(UsageError, match="not checked yet"):
        promote_run(registry, run, "support", base)
    keep(run, make_check("f" * 64, gain=0.2))
    with pytest.raises(StateError, match="not the one that was checked"):
        promote_run(registry, run, "support", base)


# --- sweep --------------------------------------------------------------------------------------------


def test_a_sweep_goes_on_where_it_stopped_and_tells_gains_against_losses(tmp_path: Path) -> None:
    plan = SweepPlan((1.0, 0.5), (0, 1), "domain", "abc")
    asked: list[tuple[float, int]] = []

    def arm(share: float, seed: int, folder: Path) -> Check:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append((share, seed))
        return make_check(f"{share}-{seed}", gain=0.1 * share + 0.01 * seed, lost=round(4 * share))

    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "sweep", plan, arm, lambda _: None)
    first = list(asked)
    asked.clear()
    done = sweep(tmp_path / "sweep", plan, arm, lambda _: None)
    assert first == [(1.0, 0), (1.0, 1)]
    assert asked == [(0.5, 0), (0.5, 1)], "what was checked is not run again"
    assert [(each.share, each.seed) for each in done] == [(1.0, 0), (1.0, 1), (0.5, 0), (0.5, 1)]
    whole, half = gains(done)
    assert whole.value == pytest.approx(0.105, abs=0.01)
    assert half.value == pytest.approx(0.055, abs=0.01)
    assert whole.low < whole.value < whole.high
    assert [round(each.value, 2) for each in losses(done)] == [0.2, 0.1]
    table = (tmp_path / "sweep" / "table.md").read_text("utf-8")
    assert table.count("\n| 1 |") == table.count("\n| 0.5 |") == 1
    assert "Held fixed: the domain's examples" in table
    with pytest.raises(UsageError, match="another fixed"):
        sweep(tmp_path / "sweep", replace(plan, fixed="total"), arm, lambda _: None)


def test_the_plot_is_the_same_twice(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    arms = sweep(
        tmp_path / "sweep",
        SweepPlan((1.0, 0.17), (0,), "domain", "abc"),
        lambda share, seed, folder: make_check("x", gain=0.1 * share),
        lambda _: None,
    )
    assert plot(arms, tmp_path / PLOT)
    assert "<svg" in (tmp_path / PLOT).read_text("utf-8")


def test_seeds_that_differ_widen_the_interval_and_seeds_that_agree_do_not_narrow_it() -> None:
    from finetune.sweeping import _spread

    def one(change: float) -> Comparison:
        return compare(pairs_of(change, 20, 0.01))

    alone, same = _spread(1.0, [one(0.1)]), _spread(1.0, [one(0.1), one(0.1)])
    assert same.high - same.low == pytest.approx(alone.high - alone.low)
    apart = _spread(1.0, [one(0.0), one(0.2)])
    assert apart.high - apart.low > 5 * (alone.high - alone.low)

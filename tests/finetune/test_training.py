"""Runs of a tiny model, killed, poisoned and shared by two processes; each is compared with one left alone."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from finetune.bases import read_tokenizer
from finetune.encoding import Encoder
from finetune.examples import read_examples
from finetune.fitting import read_adapter
from finetune.loop import StepDone
from finetune.mixing import TRAIN
from finetune.packs import keeps_apart, packed, token_losses
from finetune.runs import RunFolder, TrainSettings
from finetune.training import TrainReport, train
from rag.errors import NotSupportedError, StateError, UsageError
from tests.finetune.trainables import make_mix

pytestmark = pytest.mark.filterwarnings(
    # peft asks for it by the name that transformers 5 has deprecated.
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)

SETTINGS = TrainSettings(
    model="tiny",
    epochs=4,
    pack_tokens=192,
    packs_per_batch=2,
    learning_rate=1e-2,
    rank=4,
    alpha=8,
    dropout=0.1,
    checkpoint_every=4,
    evaluate_every=10,
)
GIBBERISH = "zqxjkvbw ZQXJKVBW 0918273645 @#$%^&*"


def settings(**changes: object) -> TrainSettings:
    return SETTINGS.model_copy(update=changes)


def run(
    mix: Path,
    out: Path,
    model: Path,
    asked: TrainSettings = SETTINGS,
    progress: Callable[[StepDone], None] = lambda _: None,
) -> TrainReport:
    return train(mix, out, asked, model, progress, lambda _: None)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "adapter" / "adapter_model.safetensors")


def steps(out: Path) -> list[Mapping[str, object]]:
    return list(RunFolder(out).metrics())


def equal_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mix(tmp_path_factory.mktemp("mixes") / "mix")


@pytest.fixture(scope="module")
def whole(mix: Path, trainable: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(mix, out, trainable)
    return out


def test_a_run_learns_and_leaves_an_adapter(whole: Path) -> None:
    report = json.loads((whole / "report.json").read_text())
    assert report["steps"] == report["planned_steps"] == len((whole / "plan.jsonl").read_text().splitlines())
    for family in ("domain", "general"):
        assert (
            report["last_validation"][f"eval_{family}_loss"] < 0.5 * report["first_validation"][f"eval_{family}_loss"]
        )
    assert report["events"] == []
    assert read_adapter(whole / "adapter").rank == SETTINGS.rank
    assert {path.name for path in (whole / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert steps(whole)[0]["step"] == 0
    assert "eval_domain_loss" in steps(whole)[0]


def test_packed_examples_have_the_losses_they_have_alone(mix: Path, trainable: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(trainable, attn_implementation="sdpa")
    encoder = Encoder(read_tokenizer(trainable, "tiny", chat=True), max_tokens=256)
    examples = [encoder.encode(each) for each in list(read_examples(mix / TRAIN))[:5]]
    sources = {each.source: number for number, each in enumerate(examples[:2])}
    with torch.no_grad():
        alone = torch.cat([token_losses(model, packed([each], sources)) for each in examples])
        together = packed(examples, sources)
        torch.testing.assert_close(token_losses(model, together), alone)
        whole_row = model(
            input_ids=together["input_ids"], position_ids=together["position_ids"], use_cache=False
        ).logits[0]
        torch.testing.assert_close(
            torch.nn.functional.cross_entropy(whole_row[together["keep"]], together["targets"], reduction="none"), alone
        )
        together["position_ids"] = torch.arange(together["input_ids"].shape[1])[None]
        assert not torch.allclose(token_losses(model, together), alone, atol=0.01)  # it matters


def test_a_model_whose_attention_crosses_examples_is_found_out(mix: Path, trainable: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(trainable, attn_implementation="sdpa")
    encoder = Encoder(read_tokenizer(trainable, "tiny", chat=True), max_tokens=256)
    examples = [encoder.encode(each) for each in list(read_examples(mix / TRAIN))[:2]]
    assert keeps_apart(model, examples)
    forward = model.forward
    model.forward = lambda **inputs: forward(**{**inputs, "position_ids": None})
    assert not keeps_apart(model, examples)


def test_the_loss_of_a_batch_is_by_weight_times_supervised_tokens(
    mix: Path, whole: Path, trainable: Path, tmp_path: Path
) -> None:
    encoder = Encoder(read_tokenizer(trainable, "tiny", chat=True), max_tokens=256)
    examples = {each.id: each for each in map(encoder.encode, read_examples(mix / TRAIN))}
    first = json.loads((whole / "plan.jsonl").read_text().splitlines()[0])
    model = AutoModelForCausalLM.from_pretrained(trainable, attn_implementation="sdpa")
    total = count = 0.0
    for id_ in [id_ for pack in first["packs"] for id_ in pack]:
        with torch.no_grad():
            losses = token_losses(model, packed([examples[id_]], {examples[id_].source: 0}))
        total, count = total + float(losses.sum()), count + examples[id_].supervised_tokens
    # LoRA's B is zero before the first step, so the loss is the base's.
    assert steps(whole)[1]["loss"] == pytest.approx(total / count, rel=1e-5)


KILLED = """
import os, signal, sys
from pathlib import Path
from finetune.packs import keeps_apart, packed, token_losses
from finetune.runs import RunFolder, TrainSettings
from finetune.training import train

mix, out, model, settings, step, writing = sys.argv[1:]

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if writing == "yes":
    complete = RunFolder.complete
    RunFolder.complete = lambda self, staged, at, keep: kill() if at >= int(step) else complete(self, staged, at, keep)
train(
    Path(mix), Path(out), TrainSettings.model_validate_json(settings), Path(model),
    lambda done: kill() if writing == "no" and done.step == int(step) else None, lambda _: None,
)
"""


def kill_at(step: int, mix: Path, out: Path, model: Path, asked: TrainSettings, *, writing: bool = False) -> None:
    arguments = [str(mix), str(out), str(model), asked.model_dump_json(), str(step), "yes" if writing else "no"]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL


def test_a_killed_run_ends_as_if_it_had_not_been(mix: Path, whole: Path, trainable: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    kill_at(7, mix, out, trainable, SETTINGS)
    assert RunFolder(out).latest() == (4, out / "checkpoints" / "step-4")
    kill_at(12, mix, out, trainable, SETTINGS, writing=True)  # what was written of step 12 must not be used
    assert (out / "checkpoints" / "checkpoint-12").is_dir()
    report = run(mix, out, trainable)
    assert report.resumed_at == 8
    assert steps(out) == steps(whole)
    assert (out / "plan.jsonl").read_bytes() == (whole / "plan.jsonl").read_bytes()
    assert equal_weights(out, whole)


def test_a_finished_run_is_not_trained_again(mix: Path, whole: Path, trainable: Path) -> None:
    told: list[StepDone] = []
    assert run(mix, whole, trainable, progress=told.append).steps == len(steps(whole)) - len(
        [each for each in steps(whole) if "eval_loss" in each]
    )
    assert told == []


def test_a_run_is_not_gone_on_with_under_other_settings(mix: Path, whole: Path, trainable: Path) -> None:
    with pytest.raises(UsageError, match=r"holds a run with learning_rate 0\.01, not 0\.5"):
        run(mix, whole, trainable, settings(learning_rate=0.5))


def test_a_checkpoint_that_lost_bytes_does_not_count(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (3, 6):
        staged = folder.checkpoints / f"checkpoint-{step}"
        staged.mkdir(parents=True)
        (staged / "weights").write_bytes(b"1234")
        folder.complete(staged, step, keep=2)
    (folder.checkpoint(6) / "weights").write_bytes(b"123")
    assert folder.latest() == (3, folder.checkpoint(3))
    folder.clear_unfinished()
    assert not folder.checkpoint(6).exists()


@pytest.fixture(scope="module")
def taught(mix: Path, trainable: Path, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model once it has learnt its examples: something that a spike can be told from."""
    from peft import PeftModel

    folder = tmp_path_factory.mktemp("models") / "taught"
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(trainable), whole / "adapter")
    model.merge_and_unload().save_pretrained(folder)
    read_tokenizer(trainable, "tiny", chat=True).save_pretrained(folder)
    return folder


def batch_of(out: Path, id_: str) -> int:
    for line in (out / "plan.jsonl").read_text().splitlines():
        batch = json.loads(line)
        if any(id_ in pack for pack in batch["packs"]):
            return int(batch["batch"])
    raise AssertionError(id_)


@pytest.mark.parametrize("place", [2, 40])
def test_a_poisoned_batch_is_dropped_early_and_late(place: int, taught: Path, tmp_path: Path) -> None:
    poisoned = make_mix(tmp_path / "mix", poison={place: GIBBERISH})
    out = tmp_path / "run"
    report = run(poisoned, out, taught, settings(epochs=1, pack_tokens=96, packs_per_batch=1, learning_rate=1e-3))
    bad = batch_of(out, next(each.id for number, each in enumerate(read_examples(poisoned / TRAIN)) if number == place))
    assert report.quarantined == (bad,)
    assert [event["action"] for event in report.events] == ["drop"]


def test_losses_that_are_not_numbers_never_reach_the_weights(
    mix: Path, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import finetune.loop

    calls = 0

    def sometimes_nan(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        nonlocal calls
        losses = token_losses(model, inputs)
        if model.training:
            calls += 1
        return losses * float("nan") if model.training and calls == 9 else losses

    monkeypatch.setattr(finetune.loop, "token_losses", sometimes_nan)
    report = run(mix, tmp_path / "run", taught, settings(epochs=1, learning_rate=1e-3))
    assert report.quarantined == (4,)
    assert all(torch.isfinite(each).all() for each in weights(tmp_path / "run").values())


def harmed(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Step ``at`` does damage that shows only in the batches after it."""
    from finetune.guarding import Guarding

    stepped = Guarding.stepped

    def harm(self: Guarding, done: int, verdict: object) -> None:
        stepped(self, done, verdict)  # type: ignore[arg-type]
        if done == at:
            with torch.no_grad():
                for weight in self._trained():
                    weight += 0.5

    monkeypatch.setattr(Guarding, "stepped", harm)


def test_damage_that_shows_late_is_undone(
    mix: Path, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harmed(monkeypatch, at=24)
    out = tmp_path / "run"
    report = run(mix, out, taught, settings(epochs=8, learning_rate=1e-3))
    assert [event["action"] for event in report.events] == ["drop", "drop", "roll_back"]
    assert report.quarantined == tuple(range(10, 27))
    assert [entry["batch"] for entry in steps(out) if "batch" in entry] == list(range(report.planned_steps))
    assert report.last_validation["eval_loss"] < 1.2 * report.first_validation["eval_loss"]


def test_a_run_that_is_poisoned_through_and_through_stops_with_its_report(taught: Path, tmp_path: Path) -> None:
    poisoned = make_mix(tmp_path / "mix", poison=dict.fromkeys(range(6, 48), GIBBERISH))
    with pytest.raises(StateError, match="the spike guard stopped the run at step"):
        run(
            poisoned,
            tmp_path / "run",
            taught,
            settings(epochs=3, pack_tokens=96, packs_per_batch=1, learning_rate=1e-5),
        )
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["stopped"]
    assert not (tmp_path / "run" / "adapter").exists()


def test_early_stopping_keeps_the_best_weights(mix: Path, taught: Path, tmp_path: Path) -> None:
    asked = settings(epochs=8, learning_rate=0.2, evaluate_every=2, patience=2, guard=False)
    report = run(mix, tmp_path / "run", taught, asked)
    assert report.best_step is not None
    assert report.steps == report.best_step + 4 < report.planned_steps
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists()


def test_deepspeed_and_the_guard_refuse_each_other(
    mix: Path, trainable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(NotSupportedError, match="--no-guard"):
        run(mix, tmp_path / "run", trainable)
    assert not (tmp_path / "run").exists()


TWO = """
import sys
from pathlib import Path
from finetune.packs import keeps_apart, packed, token_losses
from finetune.runs import TrainSettings
from finetune.training import train

mix, out, model, settings = sys.argv[1:]
train(Path(mix), Path(out), TrainSettings.model_validate_json(settings), Path(model), lambda _: None, lambda _: None)
"""


@pytest.mark.integration
def test_two_processes_have_the_losses_of_one(mix: Path, trainable: Path, tmp_path: Path) -> None:
    asked = settings(epochs=1, dropout=0.0)
    run(mix, tmp_path / "one", trainable, asked)
    script = tmp_path / "two.py"
    script.write_text(TWO)
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29517"),
            *(str(script), str(mix), str(tmp_path / "two"), str(trainable), asked.model_dump_json()),
        ],
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        check=True,
    )
    one, two = steps(tmp_path / "one"), steps(tmp_path / "two")
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        for name in ("loss", "grad_norm", "eval_domain_loss", "eval_general_loss"):
            if name in a:
                assert b[name] == pytest.approx(a[name], rel=1e-4)

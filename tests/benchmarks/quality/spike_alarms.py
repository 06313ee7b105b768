"""How often the spike guard sounds on clean runs, and how often it misses a poisoned batch.

    python -m tests.benchmarks.quality.spike_alarms [--runs 200] [--steps 40] [--replay RUN]

Each run trains a tiny model with weights of its own on dialogues of its own: LoRA and the optimizer as in training,
warm-up and cosine too, one pack of two sources a step. A second series of runs has answers of gibberish in one batch,
in the first quarter of the steps or in the last. ``--replay`` judges the batches of a finished run by its metrics.
"""

import argparse
import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from finetune.bases import adaptable, read_tokenizer
from finetune.encoding import Encoded, Encoder
from finetune.examples import ExampleMessage, TrainingExample
from finetune.packs import packed, token_losses
from finetune.runs import RunFolder, TrainSettings
from finetune.spikes import Reading, SpikeGuard
from tests.finetune.trainables import make_model

WORDS = ["the", "pump", "and", "the", "valve", "of", "the", "user", "are", "here", "in", "assistant", "system"]
SOURCES = {"domain": 0, "general": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--replay", type=Path, metavar="RUN")
    options = parser.parse_args()
    if options.replay is not None:
        replay(options.replay)
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        base = taught(make_model(Path(folder) / "tiny"), options.steps)
        encoder = Encoder(read_tokenizer(base, "tiny", chat=True), max_tokens=256)
        clean = [sounded(base, encoder, seed, options.steps, None) for seed in range(options.runs)]
        poisoned = options.runs // 4
        early = [
            sounded(base, encoder, seed, options.steps, 1 + seed % (options.steps // 4)) for seed in range(poisoned)
        ]
        late = [
            sounded(base, encoder, seed, options.steps, options.steps - 1 - seed % (options.steps // 4))
            for seed in range(poisoned)
        ]
    alarms = [batch for run in clean for batch in run]
    batches = options.runs * options.steps
    print(f"clean runs: {options.runs} of {options.steps} batches")
    print(f"runs with a false alarm: {sum(map(bool, clean))} ({sum(map(bool, clean)) / options.runs:.1%})")
    print(f"false alarms: {len(alarms)} of {batches} batches ({len(alarms) / batches:.3%})")
    for name, runs, first in (("early", early, True), ("late", late, False)):
        caught = sum(
            (1 + seed % (options.steps // 4) if first else options.steps - 1 - seed % (options.steps // 4)) in run
            for seed, run in enumerate(runs)
        )
        print(f"poisoned {name}: {caught} of {len(runs)} caught")


def replay(run: Path) -> None:
    guard = SpikeGuard(most_drops=10**6)
    batches = sounded_at = 0
    for entry in RunFolder(run).metrics():
        if "batch" not in entry:
            continue
        losses = {source: (loss, entry["weights"][source]) for source, loss in entry["by_source"].items()}
        verdict = guard.judge(Reading(entry["batch"], losses, entry["grad_norm"]))
        batches += 1
        if verdict.reason is not None:
            sounded_at += 1
            print(f"batch {entry['batch']}: {verdict.reason}")
    print(f"{sounded_at} of {batches} batches")


def taught(folder: Path, steps: int) -> Path:
    """The tiny model once it knows the words: a pretrained one, as fine-tuning begins from."""
    encoder = Encoder(read_tokenizer(folder, "tiny", chat=True), max_tokens=256)
    model = AutoModelForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    randomness = random.Random(0)
    for _ in range(5 * steps):
        inputs = packed(batch(encoder, randomness), SOURCES)
        token_losses(model, inputs).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def batch(encoder: Encoder, randomness: random.Random, *, poison: bool = False) -> list[Encoded]:
    return [encoder.encode(example(number, randomness, poison=poison)) for number in range(4)]


def example(number: int, randomness: random.Random, *, poison: bool) -> TrainingExample:
    family = "general" if number % 2 else "domain"
    letters = "zqxjkvbwZQXJKVBW0918273645"
    answer = (
        "".join(randomness.choice(letters) for _ in range(30))
        if poison
        else " ".join(randomness.choice(WORDS) for _ in range(randomness.randint(3, 20 if number % 2 else 8)))
    )
    return TrainingExample(
        id=str(number),
        messages=(
            ExampleMessage(role="user", content=" ".join(randomness.choice(WORDS) for _ in range(5))),
            ExampleMessage(role="assistant", content=answer),
        ),
        source=family,
        family=family,
        group=str(number),
    )


def sounded(base: Path, encoder: Encoder, seed: int, steps: int, poison_at: int | None) -> Sequence[int]:
    """The batches that the guard dropped, each judged as in training."""
    settings = TrainSettings(model="tiny", rank=4, alpha=8, seed=seed)
    model = adaptable(base, settings)
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, step / 3) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    randomness = random.Random(seed)
    guard = SpikeGuard(most_drops=steps)
    with torch.no_grad():
        guard.expect({name: loss for name, (loss, _) in by_source(model, batch(encoder, randomness)).items()})
    dropped = []
    for step in range(steps):
        examples = batch(encoder, randomness, poison=step == poison_at)
        inputs = packed(examples, SOURCES)
        losses = token_losses(model, inputs)
        losses.mean().backward()
        norm = float(torch.nn.utils.clip_grad_norm_(trained, 1.0))
        means = reduced(losses.detach(), inputs)
        if guard.judge(Reading(step, means, norm)).action == "step":
            optimizer.step()
        else:
            dropped.append(step)
        schedule.step()
        optimizer.zero_grad()
    return dropped


def by_source(model: torch.nn.Module, examples: Sequence[Encoded]) -> Mapping[str, tuple[float, float]]:
    inputs = packed(examples, SOURCES)
    return reduced(token_losses(model, inputs), inputs)


def reduced(losses: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> dict[str, tuple[float, float]]:
    means = {}
    for name, number in SOURCES.items():
        of_source = inputs["sources"] == number
        means[name] = (float(losses[of_source].mean()), float(of_source.sum()))
    return means


if __name__ == "__main__":
    main()

"""What our training loop costs over a bare one, and what packing saves over padded batches in random order.

    DOMAINQA_BENCH_DATA=FOLDER python -m tests.benchmarks.training_speed [--layers 4] [--width 192] [--batches 16]

FOLDER holds ``medquad/2_GARD_QA.jsonl.gz``. A Llama with random weights and the starter model's tokenizer and
vocabulary, LoRA on all linear layers, one thread. Time is the processor's, so that other work on the machine does not
count; the smaller the model, the larger the loop's part of it.
"""

import argparse
import gzip
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from finetune.bases import adaptable, read_tokenizer
from finetune.batching import Batch, plan_batches
from finetune.encoding import MASKED, Encoded, Encoder
from finetune.examples import ExampleMessage, TrainingExample
from finetune.guarding import Guarding
from finetune.loop import PackTrainer
from finetune.packs import Packs, token_losses
from finetune.runs import RunFolder, TrainSettings
from rag import models
from rag.errors import UsageError

STARTER = "SmolLM2-135M-Instruct"
ROWS = 4
PACK_TOKENS = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--batches", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    data = os.environ.get("DOMAINQA_BENCH_DATA")
    if data is None:
        sys.exit("set DOMAINQA_BENCH_DATA to the folder that holds medquad/2_GARD_QA.jsonl.gz")
    torch.set_num_threads(1)
    starter = models.resolve(STARTER, models.default_cache())
    encoder = Encoder(read_tokenizer(starter, STARTER, chat=True), max_tokens=PACK_TOKENS)
    examples = read(Path(data) / "medquad" / "2_GARD_QA.jsonl.gz", encoder)
    by_id = {each.id: each for each in examples}
    settings = TrainSettings(model="random", packs_per_batch=2, checkpoint_every=10**6, evaluate_every=10**6)
    plan = plan_batches(
        list(by_id),
        {id_: len(each.input_ids) for id_, each in by_id.items()},
        epochs=1,
        pack_tokens=PACK_TOKENS,
        packs_per_batch=settings.packs_per_batch,
        seed=0,
    )
    batches = plan.batches[: options.batches]
    useful = sum(len(by_id[id_].input_ids) for batch in batches for pack in batch.packs for id_ in pack)
    rows = [examples[start : start + ROWS] for start in range(0, len(examples), ROWS)]
    padded_all = sum(ROWS * max(len(each.input_ids) for each in row) for row in rows)
    useful_all = sum(len(each.input_ids) for each in examples)
    print(
        f"{len(examples)} examples; rows of {ROWS} at random: {useful_all / padded_all:.1%} of the tokens are useful;"
    )
    packs = sum(len(batch.packs) for batch in plan.batches)
    print(f"packs of {PACK_TOKENS}: {useful_all / (packs * PACK_TOKENS):.1%} full, nothing padded")
    with tempfile.TemporaryDirectory() as folder:
        base = make_base(Path(folder) / "base", options.width, options.layers)
        ways: dict[str, Callable[[int], tuple[float, int]]] = {
            "bare loop": lambda _: bare(base, settings, batches, by_id),
            "our loop": lambda at: ours(base, settings, batches, by_id, Path(folder) / f"run-{at}"),
            "random padded rows": lambda _: padded(base, settings, rows[: 2 * ROWS]),
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for at in range(options.rounds):
            for name, way in ways.items():
                seconds, tokens = way(at)
                speeds[name].append((tokens or useful) / seconds)
    best = {name: max(each) for name, each in speeds.items()}
    for name, speed in best.items():
        print(f"{name}: {speed:.0f} useful tokens a second of the processor (of {options.rounds} rounds the best)")
    print(f"our loop costs {best['bare loop'] / best['our loop'] - 1:.1%} over the bare one")
    print(f"packing is {best['bare loop'] / best['random padded rows']:.2f} times as fast as random padded rows")


def read(path: Path, encoder: Encoder) -> list[Encoded]:
    found = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            record = json.loads(line)
            example = TrainingExample(
                id=str(number),
                messages=(
                    ExampleMessage(role="user", content=record["question"].strip()),
                    ExampleMessage(role="assistant", content=record["answer"].strip()),
                ),
                source="medquad",
                family="domain",
                group=str(number),
            )
            try:
                found.append(encoder.encode(example))
            except UsageError:  # longer than a pack: no way is measured on it
                continue
    random.Random(0).shuffle(found)
    return found


def make_base(folder: Path, width: int, layers: int) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def bare(
    base: Path, settings: TrainSettings, batches: Sequence[Batch], examples: dict[str, Encoded]
) -> tuple[float, int]:
    model, optimizer, trained = begin(base, settings)
    packs = Packs(batches, examples, {"medquad": 0})
    started = time.process_time()
    for index in range(len(packs)):
        inputs = packs[index]
        loss = (token_losses(model, inputs) * inputs["weights"]).sum() / inputs["batch_weight"]
        loss.backward()
        if (index + 1) % settings.packs_per_batch == 0:
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
    return time.process_time() - started, 0


def ours(
    base: Path, settings: TrainSettings, batches: Sequence[Batch], examples: dict[str, Encoded], out: Path
) -> tuple[float, int]:
    """From the first step's start to the last one's end: what training repeats, not what it begins with."""
    out.mkdir()
    used = {id_: examples[id_] for batch in batches for pack in batch.packs for id_ in pack}
    ends: list[float] = []
    trainer = PackTrainer(
        adaptable(base, settings),
        settings,
        RunFolder(out),
        batches,
        used,
        {},
        lambda _: ends.append(time.process_time()),
        Guarding(len(batches)),
    )
    begun = trainer.callback_handler.on_step_begin
    starts: list[float] = []

    def on_step_begin(*arguments: object) -> object:
        starts.append(time.process_time())
        return begun(*arguments)

    trainer.callback_handler.on_step_begin = on_step_begin
    trainer.train()
    return ends[-1] - starts[0], 0


def padded(base: Path, settings: TrainSettings, rows: Sequence[Sequence[Encoded]]) -> tuple[float, int]:
    """Each row is a batch as most trainers make it; logits only where labels are, as in ours."""
    model, optimizer, trained = begin(base, settings)
    started = time.process_time()
    for row in rows:
        longest = max(len(each.input_ids) for each in row)
        ids = torch.zeros(len(row), longest, dtype=torch.long)
        mask = torch.zeros(len(row), longest, dtype=torch.long)
        labels = torch.full((len(row), longest), MASKED)
        for at, each in enumerate(row):
            ids[at, : len(each.input_ids)] = torch.tensor(each.input_ids)
            mask[at, : len(each.input_ids)] = 1
            labels[at, : len(each.labels)] = torch.tensor(each.labels)
        keep = torch.zeros_like(labels, dtype=torch.bool)
        keep[:, :-1] = labels[:, 1:] != MASKED
        logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=keep, use_cache=False).logits
        targets = labels[:, 1:][labels[:, 1:] != MASKED]
        torch.nn.functional.cross_entropy(logits.float(), targets).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - started, sum(len(each.input_ids) for row in rows for each in row)


def begin(
    base: Path, settings: TrainSettings
) -> tuple[torch.nn.Module, torch.optim.Optimizer, list[torch.nn.Parameter]]:
    model = adaptable(base, settings)
    model.train()
    trained = [each for each in model.parameters() if each.requires_grad]
    return model, torch.optim.AdamW(trained, lr=settings.learning_rate), trained


if __name__ == "__main__":
    main()

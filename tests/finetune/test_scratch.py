"""Pretraining from random weights, with a tokenizer of its own."""

from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from finetune.bases import read_tokenizer
from finetune.encoding import Encoder
from finetune.examples import TrainingExample, write_examples
from finetune.mixing import MixOptions, mix, write_mix
from finetune.runs import TrainSettings
from finetune.scratch import make_scratch, parameters
from finetune.training import train
from rag.errors import UsageError

SENTENCES = ["The pump pushes water into the tank.", "A valve lets it out again.", "Oil keeps the bearing cool."]


def texts(family: str, count: int) -> list[TrainingExample]:
    return [
        TrainingExample.model_validate(
            {
                "id": f"{family}-{number}",
                "source": f"{family}-source",
                "family": family,
                "group": f"{family}-{number}",
                "text": " ".join(SENTENCES[(number + shift) % 3] for shift in range(4)),
            }
        )
        for number in range(count)
    ]


def test_the_count_of_parameters_is_the_model_s(tmp_path: Path) -> None:
    counted = make_scratch(tmp_path, SENTENCES * 20, vocabulary=400, width=64, layers=2)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    assert counted == sum(each.numel() for each in model.parameters())


def test_the_usual_size_is_between_one_and_three_million() -> None:
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=8192, hidden_size=128, intermediate_size=384, num_hidden_layers=4, tie_word_embeddings=True
    )
    assert 1e6 < parameters(config) < 3e6


def test_a_width_without_whole_heads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the width 100 is no multiple of 32"):
        make_scratch(tmp_path, SENTENCES, width=100)


def test_a_model_is_pretrained_from_nothing(tmp_path: Path) -> None:
    model = tmp_path / "scratch"
    make_scratch(model, SENTENCES * 20, vocabulary=400, width=32, layers=1)
    encoder = Encoder(read_tokenizer(model, "scratch", chat=False), max_tokens=64)
    options = MixOptions(objective="cpt", share=0.1, validation=0.1, max_tokens=64, model="scratch")
    made = mix(
        [*texts("domain", 12), *texts("general", 120)], options, lambda each: encoder.encode(each).supervised_tokens
    )
    write_mix(tmp_path / "mix", made)
    settings = TrainSettings(
        objective="pretrain", model="scratch", epochs=2, pack_tokens=64, packs_per_batch=2, learning_rate=1e-2
    )
    report = train(tmp_path / "mix", tmp_path / "run", settings, model, lambda _: None, lambda _: None)
    assert report.last_validation["eval_general_loss"] < 0.6 * report.first_validation["eval_general_loss"]
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")


def test_the_command_reads_examples(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from service.cli.main import app

    write_examples(tmp_path / "texts.jsonl", texts("general", 6))
    done = CliRunner().invoke(
        app, ["finetune", "scratch", str(tmp_path / "texts.jsonl"), "--out", str(tmp_path / "out"), "--json"]
    )
    assert done.exit_code == 0
    assert (tmp_path / "out" / "tokenizer.json").exists()

"""A cross-encoder's labels to verdicts. The model is a tiny one with random weights: what it says means nothing."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from rag.entailing import CrossEncoderEntailment
from rag.errors import ModelError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "oil", "is", "red", "blue"]


def saved(folder: Path, labels: dict[int, str]) -> Path:
    tokenizer = Tokenizer(WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=32, num_labels=len(labels), id2label=labels,
        label2id={name: at for at, name in labels.items()},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.mark.integration
def test_a_verdict_for_each_premise_by_the_label_named_entailment(tmp_path: Path) -> None:
    folder = saved(tmp_path, {0: "CONTRADICTION", 1: "ENTAILMENT", 2: "NEUTRAL"})
    premises = ["oil is red", "oil is blue", "red"]
    assert CrossEncoderEntailment(folder, "tiny", 0.0).entails(premises, "oil is red") == [True] * 3
    assert CrossEncoderEntailment(folder, "tiny", 1.0).entails(premises, "oil is red") == [False] * 3
    assert CrossEncoderEntailment(folder, "tiny", 0.5).entails([], "oil is red") == []


@pytest.mark.integration
def test_a_model_without_the_label_or_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tiny has the labels good, bad and none named entailment"):
        CrossEncoderEntailment(saved(tmp_path / "other", {0: "good", 1: "bad"}), "tiny", 0.5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot be loaded as a cross-encoder"):
        CrossEncoderEntailment(tmp_path / "empty", "tiny", 0.5)

from pathlib import Path

import pytest
import torch

from finetune.bases import adaptable
from finetune.runs import TrainSettings
from rag.errors import ConfigError, NotSupportedError


def test_every_linear_layer_but_the_head_is_adapted_and_the_base_is_frozen(trainable: Path) -> None:
    model = adaptable(trainable, TrainSettings(model="tiny", rank=2))
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert all(".lora_" in name for name in trained)
    for layer in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
        assert sum(layer in name for name in trained) == 2 * 2  # A and B in each of two layers
    assert not any("lm_head" in name for name in trained)


def test_the_same_seed_gives_the_same_matrices(trainable: Path) -> None:
    one, other = (adaptable(trainable, TrainSettings(model="tiny", seed=3)).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_module_that_is_not_there_is_named(trainable: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be adapted at nowhere"):
        adaptable(trainable, TrainSettings(model="tiny", modules=("nowhere",)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_four_bits_are_refused_without_a_gpu(trainable: Path) -> None:
    with pytest.raises(NotSupportedError, match="needs a GPU"):
        adaptable(trainable, TrainSettings(model="tiny", quantise=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_base_in_four_bits_is_adapted(trainable: Path) -> None:
    pytest.importorskip("bitsandbytes")
    model = adaptable(trainable, TrainSettings(model="tiny", quantise=True, rank=2))
    assert any(each.dtype == torch.uint8 for each in model.parameters())
    assert any(each.requires_grad and each.dtype == torch.float32 for each in model.parameters())

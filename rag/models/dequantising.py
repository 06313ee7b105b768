"""A GGUF file to an ordinary model folder: float32 safetensors and a tokenizer, made once.

float32 because it holds the dequantised values exactly (bfloat16 is off by a relative 1.4e-3), so a model has one
set of weights wherever it was converted, and because the file is then mapped into memory as it is.
"""

import io
from contextlib import redirect_stderr
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from rag.errors import ModelError


def dequantise(gguf: Path, target: Path) -> None:
    """Convert ``gguf`` into the new folder ``target``."""
    # The readers draw progress bars that no setting turns off.
    with redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    if tokenizer.chat_template is None:
        raise ModelError(f"{gguf.name} has no chat template")
    # save_pretrained refuses the object that was loaded; one made from the configuration is an ordinary model.
    config = quantised.config
    del config.quantization_config
    config.name_or_path = ""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model.load_state_dict(quantised.state_dict())
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    _split_digits(tokenizer)
    tokenizer.model_max_length = config.max_position_embeddings
    with redirect_stderr(io.StringIO()):
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _split_digits(tokenizer: object) -> None:
    """Every digit is a piece of its own, as the file's pre-tokenizer name `smollm` says.

    The conversion knows byte-level BPE only, which cuts blank lines before a number ("\\n\\n1.") into other tokens
    than the model was trained on.
    """
    backend = getattr(tokenizer, "backend_tokenizer")  # noqa: B009 - the tokenizer classes have no common type
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )

"""What is trained: the base model with LoRA's matrices on it, and the tokenizer that it reads with."""

import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from finetune.runs import TrainSettings
from rag.errors import ConfigError, ModelError, NotSupportedError


def read_tokenizer(folder: Path, reference: str, *, chat: bool) -> PreTrainedTokenizerFast:
    """Raises ``ModelError`` unless it is a fast tokenizer, for ``chat`` with a template."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the tokenizer of {reference} ({folder}) cannot be loaded: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"{reference} has no fast tokenizer (tokenizer.json) in {folder}")
    if chat and tokenizer.chat_template is None:
        raise ModelError(f"{reference} has no chat template, so dialogues cannot be learnt; name an instruct model")
    return tokenizer


def adaptable(folder: Path, settings: TrainSettings) -> PeftModel:
    """The model in ``folder``, frozen, with new LoRA matrices. The same seed gives the same ones.

    The base is in bfloat16 where the device computes in it, LoRA's matrices in float32 everywhere.
    """
    if settings.quantise and not torch.cuda.is_available():
        raise NotSupportedError("a base in four bits needs a GPU; leave out --quantise")
    quantisation = (
        BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute_dtype(),
        )
        if settings.quantise
        else None
    )
    base = _load(folder, settings.model, quantisation)
    if settings.quantise:
        base = prepare_model_for_kbit_training(  # type: ignore[no-untyped-call]
            base, use_gradient_checkpointing=settings.gradient_checkpointing
        )
    torch.manual_seed(settings.seed)
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.modules) or "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            # peft asks for it by the name that transformers 5 has deprecated.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            model = get_peft_model(base, lora)
    except ValueError as error:
        raise ConfigError(f"{settings.model} cannot be adapted at {', '.join(settings.modules)}: {error}") from error
    assert isinstance(model, PeftModel)
    return model


def untrained(folder: Path, settings: TrainSettings) -> PreTrainedModel:
    """A model as the configuration in ``folder`` describes it, with random weights of its own seed."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        torch.manual_seed(settings.seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")  # type: ignore[no-untyped-call]
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{settings.model} ({folder}) has no configuration of a language model: {error}") from error
    assert isinstance(model, PreTrainedModel)
    return model


def compute_dtype() -> torch.dtype:
    """bfloat16 where the hardware has it. A CPU that emulates it is slower with it than without."""
    return torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else torch.float32


def _load(folder: Path, reference: str, quantisation: BitsAndBytesConfig | None) -> PreTrainedModel:
    bars_were_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=compute_dtype(),
            local_files_only=True,
            attn_implementation="sdpa",
            quantization_config=quantisation,
        )
    except ImportError as error:
        raise NotSupportedError(f"a base in four bits needs bitsandbytes: {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{reference} ({folder}) cannot be loaded for training: {error}") from error
    finally:
        if bars_were_on:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    assert isinstance(model, PreTrainedModel)
    return model

"""A tokenizer and the configuration of a small model, learnt and sized for a text: where pretraining begins.

Pretraining from scratch shows at one to three million parameters what it needs and gives; a model that is to be served
is begun from a published base. Knows nothing of training.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from rag.errors import UsageError

VOCABULARY = 8192
WIDTH = 128
LAYERS = 4

_HEAD_WIDTH = 32
_INNER = 3  # of the feed-forward layers, in widths; gated, so 3 costs what 4.5 would without a gate
_WINDOW = 1024
_START, _END, _END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_scratch(
    folder: Path, texts: Iterable[str], *, vocabulary: int = VOCABULARY, width: int = WIDTH, layers: int = LAYERS
) -> int:
    """Write both to the folder; returns the parameters of the model they describe.

    Byte-pair encoding over bytes: any text has tokens. The vocabulary is smaller where the texts don't give so many.
    Raises ``UsageError`` for a width that cannot be divided into heads.
    """
    if width % _HEAD_WIDTH:
        raise UsageError(f"the width {width} is no multiple of {_HEAD_WIDTH}, which is an attention head's")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_START, _END, _END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        eos_token=_END_OF_TEXT,
        pad_token=_END_OF_TEXT,
        chat_template=_TEMPLATE,
        model_max_length=_WINDOW,
    )
    config = LlamaConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=width,
        intermediate_size=_INNER * width,
        num_hidden_layers=layers,
        num_attention_heads=width // _HEAD_WIDTH,
        num_key_value_heads=width // _HEAD_WIDTH,
        max_position_embeddings=_WINDOW,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    config.save_pretrained(folder)
    return parameters(config)


def parameters(config: LlamaConfig) -> int:
    """Embeddings, which the head shares, then for each layer attention, the gated feed-forward layers and two norms."""
    width, inner = config.hidden_size, config.intermediate_size
    layer = 4 * width * width + 3 * width * inner + 2 * width
    return int(config.vocab_size * width + config.num_hidden_layers * layer + width)

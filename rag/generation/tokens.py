"""The chat template and the tokens of a model that lies on this disk."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast

from rag.config import GenerationSettings
from rag.errors import ConfigError, ModelError
from rag.types import Message


def load_tokenizer(folder: Path, reference: str) -> PreTrainedTokenizerFast:
    """Raises ``ModelError`` unless it is a fast tokenizer with a chat template."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"the tokenizer of {reference} ({folder}) cannot be loaded: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"{reference} has no fast tokenizer (tokenizer.json) in {folder}")
    if tokenizer.chat_template is None:
        raise ModelError(f"{reference} has no chat template; name an instruct model, not a base model")
    return tokenizer


class LocalTokenCounter:
    """Renders and counts with a tokenizer on this disk. Thread-safe."""

    exact = True

    def __init__(self, tokenizer: PreTrainedTokenizerFast, reference: str) -> None:
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._reference = reference
        template = f"{tokenizer.chat_template}"
        self.fingerprint = hashlib.sha256((self._backend.to_str() + template).encode()).hexdigest()[:16]
        """Changes whenever the same messages could become other tokens."""

    def count_text(self, text: str) -> int:
        return len(self.encode(text))

    def count_messages(self, messages: Sequence[Message]) -> int:
        return len(self.encode(self.render(messages)))

    def render(self, messages: Sequence[Message]) -> str:
        """The chat template's text, generation prompt included.

        The first message must be the system message: without one many templates put in another, of their own.
        """
        if not messages or messages[0].role != "system":
            raise ValueError("the first message must be a system message")
        chat = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise ConfigError(
                f"the chat template of {self._reference} refuses messages in the roles {roles}: {error}"
            ) from error
        assert isinstance(text, str)
        return text

    def encode(self, text: str) -> list[int]:
        """Token ids of the text as it is: nothing is added, special tokens written out in it count as such."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text


@dataclass(frozen=True, slots=True)
class LocalPromptReader:
    """A model on this disk as prompts see it, without its weights."""

    name: str
    window: int
    tokens: LocalTokenCounter


def load_prompt_reader(folder: Path, settings: GenerationSettings) -> LocalPromptReader:
    """Reads configuration and tokenizer only. Raises ``ModelError`` where they are missing or broken."""
    tokens = LocalTokenCounter(load_tokenizer(folder, settings.model), settings.model)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"the configuration of {settings.model} ({folder}) cannot be read: {error}") from error
    return LocalPromptReader(settings.model, window_of(config, settings), tokens)


def window_of(config: PretrainedConfig, settings: GenerationSettings) -> int:
    """What the settings say, else what the model was made for. Raises ``ConfigError`` where neither will do."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if settings.window is None:
        if limit is None:
            raise ConfigError(f"{settings.model} does not tell its window; set generation.window")
        return int(limit)
    if limit is not None and settings.window > limit:
        raise ConfigError(f"generation.window is {settings.window}, but {settings.model} reads {limit} tokens")
    return settings.window

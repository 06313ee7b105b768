"""The chat template and the tokens of a model that lies on this disk."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerFast

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

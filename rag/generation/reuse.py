"""Keys and values of the last prompts, kept so that a prompt that begins alike is not read again.

A conversation's next prompt begins with the whole one before it, and questions share at least the rules. Knows nothing
of text. Not thread-safe: one thread generates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer


@dataclass(eq=False, slots=True)
class ReadTokens:
    """Tokens that a model has read, and the cache that holds their keys and values. Both grow together."""

    adapter: str | None
    tokens: list[int]
    cache: DynamicCache


class Prefixes:
    """What was read lately, within ``max_bytes``; the longest unused goes first. Nothing is shared across adapters."""

    def __init__(self, config: PreTrainedConfig, max_bytes: int) -> None:
        self._config = config
        self._max_bytes = max_bytes
        self._kept: list[ReadTokens] = []
        """The last used is the last."""

    @property
    def size_bytes(self) -> int:
        return sum(_size_bytes(read) for read in self._kept)

    def begin(self, prompt: Sequence[int], adapter: str | None) -> ReadTokens:
        """The longest beginning of ``prompt`` that was read under the adapter; at least the last token is left.

        What is returned is the caller's own to read on with.
        """
        best, common = None, 0
        for kept in self._kept:
            if kept.adapter == adapter and (length := _common_length(kept.tokens, prompt[:-1])) >= max(common, 1):
                best, common = kept, length
        if best is None:
            return ReadTokens(adapter, [], DynamicCache(config=self._config))
        self._kept.remove(best)
        self._kept.append(best)
        return ReadTokens(adapter, list(prompt[:common]), _copy(best.cache, common, self._config))

    def keep(self, read: ReadTokens) -> None:
        """To be given what was read in the end. Of two where one continues the other, the longer is kept."""
        if not read.tokens or not _can_be_cut(read.cache) or any(_continues(kept, read) for kept in self._kept):
            return
        self._kept = [kept for kept in self._kept if not _continues(read, kept)]
        self._kept.append(read)
        excess = self.size_bytes - self._max_bytes
        while excess > 0:
            excess -= _size_bytes(self._kept.pop(0))

    def forget(self) -> None:
        self._kept.clear()


def _copy(cache: DynamicCache, length: int, config: PreTrainedConfig) -> DynamicCache:
    """A cache of the first tokens. Their memory is shared: a dynamic layer makes new tensors when it grows."""
    copy = DynamicCache(config=config)
    for old, new in zip(_layers(cache), _layers(copy), strict=True):
        assert old.keys is not None
        assert old.values is not None
        new.lazy_initialization(old.keys, old.values)
        new.keys, new.values = old.keys[..., :length, :], old.values[..., :length, :]
    return copy


def _can_be_cut(cache: DynamicCache) -> bool:
    """Sliding windows and recurrent states have forgotten what a shorter beginning would need."""
    return len(_layers(cache)) == len(cache.layers)


def _layers(cache: DynamicCache) -> list[DynamicLayer]:
    return [layer for layer in cache.layers if type(layer) is DynamicLayer]


def _continues(longer: ReadTokens, shorter: ReadTokens) -> bool:
    """Whether one holds all that the other does."""
    return longer.adapter == shorter.adapter and longer.tokens[: len(shorter.tokens)] == shorter.tokens


def _size_bytes(read: ReadTokens) -> int:
    tensors = (tensor for layer in _layers(read.cache) for tensor in (layer.keys, layer.values) if tensor is not None)
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


def _common_length(a: Sequence[int], b: Sequence[int]) -> int:
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))

"""What is kept of the last prompts, against a model of it that holds plain lists; no weights are needed for that."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, MistralConfig

from rag.generation.reuse import Prefixes, ReadTokens

HEADS, WIDTH, LAYERS = 2, 3, 2
TOKEN_BYTES = LAYERS * 2 * HEADS * WIDTH * 4
CONFIG = LlamaConfig(num_hidden_layers=LAYERS, num_attention_heads=HEADS, hidden_size=HEADS * WIDTH)


def read_on(read: ReadTokens, tokens: list[int]) -> None:
    """As a model would: the keys and values of a token tell which one it is."""
    states = torch.tensor(tokens, dtype=torch.float32).reshape(1, 1, -1, 1).expand(1, HEADS, -1, WIDTH)
    for layer in range(LAYERS):
        read.cache.update(states + layer, states - layer, layer)
    read.tokens.extend(tokens)


def ask(prefixes: Prefixes, prompt: list[int], answer: list[int], adapter: str | None = None) -> int:
    """How many tokens were there already. What the model would see is checked."""
    read = prefixes.begin(prompt, adapter)
    found = len(read.tokens)
    assert read.tokens == prompt[:found]
    assert found < len(prompt)
    read_on(read, [*prompt[found:], *answer])
    for number, layer in enumerate(read.cache.layers):
        assert layer.keys[0, 0, :, 0].tolist() == [token + number for token in read.tokens]
        assert layer.values[0, -1, :, -1].tolist() == [token - number for token in read.tokens]
    prefixes.keep(read)
    return found


def common(a: list[int], b: list[int]) -> int:
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length


prompts = st.lists(st.integers(0, 2), min_size=1, max_size=12)
asked = st.lists(st.tuples(prompts, st.lists(st.integers(0, 2), max_size=4), st.sampled_from([None, "a", "b"])))


@given(asked)
def test_with_room_enough_the_longest_beginning_ever_read_under_the_adapter_is_found(questions):
    prefixes, seen = Prefixes(CONFIG, 1 << 30), []
    for prompt, answer, adapter in questions:
        known = [common(tokens, prompt[:-1]) for other, tokens in seen if other == adapter]
        assert ask(prefixes, prompt, answer, adapter) == max(known, default=0)
        seen.append((adapter, [*prompt, *answer]))


@given(asked, st.integers(0, 30))
def test_the_bound_is_kept_and_what_is_found_is_right(questions, tokens):
    prefixes = Prefixes(CONFIG, tokens * TOKEN_BYTES)
    for prompt, answer, adapter in questions:
        ask(prefixes, prompt, answer, adapter)
        assert prefixes.size_bytes <= tokens * TOKEN_BYTES


def test_the_longest_unused_goes_first():
    prefixes = Prefixes(CONFIG, 10 * TOKEN_BYTES)
    ask(prefixes, [1, 1, 1, 1], [])
    ask(prefixes, [2, 2, 2, 2], [])
    assert ask(prefixes, [1, 1, 1, 1], []) == 3
    ask(prefixes, [3, 3, 3, 3], [])
    assert ask(prefixes, [1, 1, 1, 1], []) == 3
    assert ask(prefixes, [2, 2, 2, 2], []) == 0


def test_a_prompt_continued_takes_the_room_of_one():
    prefixes = Prefixes(CONFIG, 10 * TOKEN_BYTES)
    for end in range(2, 9):
        ask(prefixes, list(range(end)), [])
    assert prefixes.size_bytes == 8 * TOKEN_BYTES
    ask(prefixes, [0, 1, 2], [])
    assert prefixes.size_bytes == 8 * TOKEN_BYTES


def test_forgotten_is_forgotten():
    prefixes = Prefixes(CONFIG, 1 << 30)
    ask(prefixes, [1, 2, 3], [])
    prefixes.forget()
    assert prefixes.size_bytes == 0
    assert ask(prefixes, [1, 2, 3], []) == 0


@pytest.mark.parametrize("window", [4, 64])
def test_a_cache_that_forgets_what_left_its_window_is_not_kept(window):
    config = MistralConfig(
        num_hidden_layers=LAYERS, num_attention_heads=HEADS, hidden_size=HEADS * WIDTH, sliding_window=window
    )
    prefixes = Prefixes(config, 1 << 30)
    read = prefixes.begin([1, 2, 3], None)
    read_on(read, [1, 2, 3, 4, 5, 6])
    prefixes.keep(read)
    assert prefixes.size_bytes == 0

"""The two models of the starter profile: fetched as pinned, and good for what they are there for."""

import asyncio
from contextlib import aclosing

import numpy as np
import pytest

from rag.config import EmbeddingSettings, GenerationSettings
from rag.embedding import SentenceTransformerEmbedder
from rag.generation.local import LocalChatModel
from rag.models import default_cache, resolve, weights_hash
from rag.types import Message, Sampling

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def embedder():
    settings = EmbeddingSettings(device="cpu")
    return SentenceTransformerEmbedder(resolve(settings.model, default_cache()), settings, settings.model)


@pytest.fixture(scope="module")
def chat():
    settings = GenerationSettings(device="cpu")
    model = LocalChatModel(resolve(settings.model, default_cache()), settings)
    yield model
    asyncio.run(model.aclose())


def test_minilm_has_its_window_and_puts_like_beside_like(embedder):
    assert (embedder.dimension, embedder.max_tokens) == (384, 256)
    texts = ["The pump must be stopped before the seal is changed.", "Invoices are paid within thirty days."]
    documents = embedder.embed_documents(texts)
    query = embedder.embed_query("How do I replace a pump seal?")
    similarities = documents @ query
    assert similarities[0] > 0.5 > 0.2 > similarities[1]
    np.testing.assert_allclose(np.linalg.norm(documents, axis=1), 1, atol=1e-5)


def test_minilm_is_the_same_everywhere(embedder):
    assert embedder.fingerprint == "ed83e471f8204a7a"


def test_smollm_answers_and_stops_at_its_end_token(chat):
    messages = (
        Message("system", "You answer in one short sentence."),
        Message("user", "What is the capital of France?"),
    )

    async def ask():
        async with aclosing(chat.stream(messages, Sampling(60))) as stream:
            return [piece async for piece in stream]

    pieces = asyncio.run(ask())
    text = "".join(piece.text for piece in pieces)
    assert "Paris" in text
    assert "<|im_end|>" not in text
    assert pieces[-1].finish_reason == "stop"
    assert pieces[-1].usage.prompt_tokens == chat.tokens.count_messages(messages)
    assert pieces[-1].usage.completion_tokens < 60
    assert chat.window == 8192


def test_smollms_tokenizer_is_the_one_it_was_trained_with(chat):
    messages = (Message("system", "Be brief."), Message("user", "Hi"))
    rendered = chat.tokens.render(messages)
    assert rendered == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = chat.tokens.encode(rendered)
    assert ids[0] == 1, "<|im_start|>"
    assert ids.count(1) == 3
    assert ids.count(2) == 2, "<|im_end|>"
    # Digits are pieces of their own: blank lines and spaces before a number keep their own tokens.
    assert len(chat.tokens.encode("12345")) == 5
    assert len(chat.tokens.encode("\n\n1")) == 2
    assert chat.tokens.decode(chat.tokens.encode(" 42 北京 🐱\n\n1. x")) == " 42 北京 🐱\n\n1. x"


def test_weights_have_one_hash():
    folder = resolve("SmolLM2-135M-Instruct", default_cache())
    assert weights_hash(folder) == weights_hash(folder)

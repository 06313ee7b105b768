"""The embedder against sentence-transformers' own `encode`, on a tiny random model."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizerFast

from rag.config import EmbeddingSettings
from rag.embedding import SentenceTransformerEmbedder, batches
from rag.errors import ModelError

WINDOW = 24
WORDS = ["pump", "valve", "water", "the", "leaks", "query", "doc", ":", "##s"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS[:5]), max_size=WINDOW - 2).map(" ".join), max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models"), "mean")


def make_model(root: Path, pooling: str) -> Path:
    bert = root / "bert"
    bert.mkdir()
    vocabulary = root / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(str(vocabulary)).save_pretrained(bert)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(bert)
    transformer = Transformer(str(bert), max_seq_length=WINDOW)
    parts = [transformer, Pooling(transformer.get_embedding_dimension(), pooling), Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(root / "model"))
    return root / "model"


def embedder(folder: Path, **given) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(folder, EmbeddingSettings(device="cpu", **given), "tiny")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> SentenceTransformerEmbedder:
    return embedder(folder)


@pytest.fixture(scope="module")
def plain(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@given(TEXTS)
@settings(deadline=None, max_examples=15)
def test_documents_are_what_encode_gives_in_the_order_given(tiny, plain, texts):
    vectors = tiny.embed_documents(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), 16)
    if texts:
        np.testing.assert_allclose(vectors, plain.encode(texts, normalize_embeddings=True), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(1, 9), st.none() | st.integers(1, 1000))
def test_every_text_is_in_one_batch_and_none_is_too_large(counts, batch_size, budget):
    made = list(batches(counts, batch_size, budget))
    assert sorted(row for batch in made for row in batch) == list(range(len(counts)))
    for batch in made:
        padded = len(batch) * max(counts[row] for row in batch)
        assert len(batch) <= batch_size
        assert budget is None or padded <= budget or len(batch) == 1
    longest = [counts[batch[0]] for batch in made]
    assert longest == sorted(longest, reverse=True)


def test_a_text_that_would_be_cut_is_refused_and_one_that_just_fits_is_not(tiny):
    fits = " ".join(["pump"] * (WINDOW - 2))
    assert tiny.max_tokens == WINDOW
    assert tiny.count_tokens(fits) == WINDOW
    assert tiny.embed_documents([fits]).shape == (1, 16)
    with pytest.raises(ValueError, match=f"text 1 has {WINDOW + 1} tokens.*{WINDOW}"):
        tiny.embed_documents(["pump", fits + " pump"])


def test_prefixes_go_to_their_side_only(folder, tiny):
    prefixed = embedder(folder, query_prefix="query: ", document_prefix="doc: ")
    np.testing.assert_allclose(prefixed.embed_query("pump"), tiny.embed_query("query: pump"), atol=1e-6)
    np.testing.assert_allclose(prefixed.embed_documents(["pump"]), tiny.embed_documents(["doc: pump"]), atol=1e-6)
    assert not np.allclose(tiny.embed_query("query: pump"), tiny.embed_query("doc: pump"), atol=1e-3)
    assert prefixed.count_tokens("pump") == tiny.count_tokens("pump") + 2


def test_where_no_prefix_is_set_the_models_own_prompt_counts(folder, tiny, tmp_path):
    own = SentenceTransformer(str(folder), device="cpu", prompts={"query": "query: ", "document": ""})
    own.save(str(tmp_path / "prompting"))
    prompting = embedder(tmp_path / "prompting")
    np.testing.assert_allclose(prompting.embed_query("pump"), tiny.embed_query("query: pump"), atol=1e-6)
    np.testing.assert_allclose(prompting.embed_documents(["pump"]), tiny.embed_documents(["pump"]), atol=1e-6)


def test_a_query_longer_than_the_window_loses_nothing(tiny):
    head, tail = " ".join(["water"] * 20), " ".join(["valve"] * 20)
    whole = tiny.embed_query(f"{head} {tail}")
    parts = tiny.embed_query(head) + tiny.embed_query(tail)
    np.testing.assert_allclose(whole, parts / np.linalg.norm(parts), atol=1e-5)
    assert np.linalg.norm(tiny.embed_query("x" * 5000)) == pytest.approx(1, abs=1e-5)


def test_the_same_query_is_embedded_once_and_cannot_be_changed(tiny, monkeypatch):
    first = tiny.embed_query("the pump leaks")
    monkeypatch.setattr(tiny, "_embed", lambda texts: pytest.fail("embedded again"))
    assert tiny.embed_query("the pump leaks") is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


def test_remembered_queries_are_bounded(folder, monkeypatch):
    monkeypatch.setattr("rag.embedding._QUERIES_KEPT", 3)
    small = embedder(folder)
    for text in ("pump", "valve", "water", "pump", "the"):
        small.embed_query(text)
    assert list(small._queries) == ["water", "pump", "the"]


def test_the_fingerprint_follows_all_that_moves_vectors(folder, tiny, tmp_path):
    fingerprints = {
        tiny.fingerprint,
        embedder(folder, query_prefix="query: ").fingerprint,
        embedder(folder, document_prefix="query: ").fingerprint,
        embedder(make_model(tmp_path, "cls")).fingerprint,
    }
    assert len(fingerprints) == 4
    assert embedder(folder, batch_size=3).fingerprint == tiny.fingerprint


def test_threads_embed_and_count_side_by_side(folder):
    shared = embedder(folder)
    expected = shared.embed_documents(["the pump leaks"])
    failures: list[Exception] = []

    def work() -> None:
        try:
            for length in range(1, 20):
                shared.count_tokens("pump " * 50)
                np.testing.assert_allclose(shared.embed_documents(["the pump leaks"]), expected, atol=1e-6)
                shared.embed_query("water " * length)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_folder_without_a_model_is_told(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="tiny"):
        embedder(tmp_path)

"""Reranking only permutes the first hits, whatever is asked for; and a real cross-encoder is loaded and asked."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.config import RerankingSettings, Settings
from rag.errors import ModelError, UsageError
from rag.reranking import RerankingRetriever
from rag.types import Hit, StoredChunk


def hit(row: int, score: float) -> Hit:
    chunk = StoredChunk(row, f"c{row}", "d", "v", "d.md", "D", "en", row, row + 1, None, (), "", f"text {row}")
    return Hit(chunk, score, {})


class Fused:
    def __init__(self, count: int) -> None:
        self._hits = [hit(row, 1 - row / 100) for row in range(count)]

    def retrieve(self, query: str, top_k: int) -> list[Hit]:
        return self._hits[:top_k]

    def term_weights(self, query: str) -> dict[str, float]:
        return {"oil": 2.0}


class ByText:
    def __init__(self, scores: Sequence[float]) -> None:
        self._scores = scores

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        return [self._scores[int(text.split()[-1]) % len(self._scores)] for text in texts]


@given(st.integers(0, 30), st.integers(1, 20), st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_first_are_permuted_and_the_rest_follows_whatever_is_asked_for(
    count: int, depth: int, scores: list[float]
) -> None:
    fused = Fused(count)
    retriever = RerankingRetriever(fused, ByText(scores), depth)
    whole = retriever.retrieve("oil", 100)
    before = [each.chunk.row for each in fused.retrieve("oil", 100)]
    after = [each.chunk.row for each in whole]
    assert sorted(after[:depth]) == before[:depth]
    assert after[depth:] == before[depth:]
    for one, other in itertools.pairwise(whole[:depth]):
        assert (-one.score, one.chunk.row) <= (-other.score, other.chunk.row), "ties keep the fused order"
    assert {each.score_name for each in whole[:depth]} <= {"reranked"}
    assert {each.score_name for each in whole[depth:]} <= {"fused"}
    for each in whole:
        assert each.fused is not None
        assert (each.fused.rank, each.fused.score) == (each.chunk.row + 1, 1 - each.chunk.row / 100)
    for top_k in range(1, count + 1):
        assert retriever.retrieve("oil", top_k) == whole[:top_k]


def test_it_tells_the_time_of_its_steps_and_passes_the_weights_on() -> None:
    retriever = RerankingRetriever(Fused(3), ByText([0.5]), 2)
    assert set(retriever.retrieve_in_steps("oil", 2)[1]) == {"retrieval", "reranking"}
    assert retriever.term_weights("oil") == {"oil": 2.0}
    with pytest.raises(UsageError):
        retriever.retrieve("oil \ud800", 2)


def test_the_hits_of_an_answer_have_one_score() -> None:
    with pytest.raises(ValueError, match=r"depth is 5 but retrieval\.top_k is 8"):
        Settings.model_validate({"reranking": {"model": "m", "depth": 5}})
    Settings.model_validate({"reranking": {"depth": 5}})


def config(words: int, labels: int):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=words,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        num_labels=labels,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny cross-encoder with random weights, saved as the library saves one."""
    from sentence_transformers import CrossEncoder
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "oil", "seal", "pump", "text", "the", "is", "red"]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **marks).save_pretrained(folder)
    BertForSequenceClassification(config(len(words), labels=1)).save_pretrained(folder)
    saved = tmp_path_factory.mktemp("cross-encoder")
    CrossEncoder(str(folder), local_files_only=True).save_pretrained(str(saved))
    return saved


@pytest.mark.integration
def test_a_real_cross_encoder(folder: Path) -> None:
    from rag.crossencoding import CrossEncoderReranker

    reranker = CrossEncoderReranker(folder, RerankingSettings(batch_size=2), "tiny")
    texts = ["the oil is red", "seal", "pump " * 100, "the oil is red", ""]
    scores = reranker.scores("the oil", texts)
    assert len(scores) == len(texts)
    assert all(0 <= score <= 1 for score in scores)
    assert scores[0] == pytest.approx(scores[3])
    one_by_one = [reranker.scores("the oil", [text])[0] for text in texts]
    assert scores == pytest.approx(one_by_one, abs=1e-5), "a batch's padding changes no score"
    assert reranker.scores("the oil", []) == []


@pytest.mark.integration
def test_what_is_no_reranker_is_told(folder: Path, tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    from rag.crossencoding import CrossEncoderReranker

    for file in folder.iterdir():
        if file.name.startswith(("vocab", "tokenizer", "special")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    BertForSequenceClassification(config(12, labels=3)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="tiny has 3 outputs"):
        CrossEncoderReranker(tmp_path, RerankingSettings(), "tiny")
    with pytest.raises(ModelError, match="cannot be loaded"):
        CrossEncoderReranker(tmp_path / "nothing", RerankingSettings(), "tiny")


@pytest.mark.integration
def test_the_library_loads_it_and_its_hits_say_so(folder: Path, tmp_path: Path) -> None:
    from rag.build import Library
    from rag.fakes import FakeEmbedder

    files = tmp_path / "files"
    files.mkdir()
    for word in ("oil", "seal", "pump"):
        (files / f"{word}.md").write_text(f"# {word}\n\nThe {word} is red.\n")
    settings = Settings.model_validate({"reranking": {"model": str(folder), "depth": 10}})
    library = Library(tmp_path / "home", settings, embedder=FakeEmbedder())
    library.ingest([files])
    hits = library.search("the oil", "default", 3)
    assert [each.score_name for each in hits] == ["reranked"] * len(hits)
    assert library.readiness()["reranker"] == "ok"
    library.catalog.close()

"""Claims against quotes: hand-written pairs with a floor for precision and recall, and what must never be doubted."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.analysis import analyze, query_terms
from rag.citing import cite
from rag.fakes import FakeEmbedder
from rag.matching import Piece, Similarity, inverse_document_frequency, pieces_of
from rag.supporting import objection
from rag.types import Evidence

PAIRS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "support_pairs.jsonl").read_text("utf-8").splitlines()
]
QUOTES = {pair["quote"]: pair["language"] for pair in PAIRS}
LANGUAGES = sorted(set(QUOTES.values()))
FREQUENCIES = Counter(term for quote, language in QUOTES.items() for term in set(analyze(quote, language)))
BESIDE = {
    "en": "Wear gloves when you handle acid. The name plate is on the left side of the base plate.",
    "ru": "При работе с кислотой надевают перчатки. Табличка находится на левой стороне плиты.",
    "zh": "处理酸液时应戴手套。铭牌在底板左侧。",
}
NO_EMBEDDER = Similarity(FakeEmbedder(), ["none"])


def passage(text: str, language: str | None = "en", context: str = "Handbook") -> Evidence:
    return Evidence(1, "d", "v", "h.md", "Handbook", language, 0, len(text), None, context, text, (), 1.0)


def piece(text: str, language: str | None = "en", context: str = "Handbook") -> Piece:
    return Piece(passage(text, language, context), 0, len(text), text)


def is_supported(pair: dict[str, Any]) -> bool | None:
    """As in an answer: the quote stands in a passage beside other sentences, terms are as rare as among all quotes."""
    evidence = passage(
        f"{pair['quote']}\n\n{BESIDE[pair['language']]}", pair["language"], pair.get("context", "Handbook")
    )
    weights = {
        term: inverse_document_frequency(FREQUENCIES[term], len(QUOTES))
        for term in query_terms(pair["claim"], LANGUAGES)
    }
    return cite(f"{pair['claim']} [1]", [evidence], NO_EMBEDDER, lambda *_: None, weights).supported


def test_there_are_pairs_of_both_kinds_in_three_languages() -> None:
    kinds = Counter((pair["language"], pair["supported"]) for pair in PAIRS)
    assert all(kinds[language, supported] >= 15 for language in ("en", "ru", "zh") for supported in (True, False))


def test_precision_and_recall_of_support() -> None:
    verdicts = [(pair, is_supported(pair)) for pair in PAIRS]
    right = sum(bool(verdict) and pair["supported"] for pair, verdict in verdicts)
    wrongly = [f"{pair['claim']} | {pair['quote']}" for pair, verdict in verdicts if verdict and not pair["supported"]]
    missed = [f"{pair['claim']} | {pair['quote']}" for pair, verdict in verdicts if not verdict and pair["supported"]]
    assert right / (right + len(wrongly)) >= 0.97, wrongly
    assert right / (right + len(missed)) >= 0.95, missed


TEXTS = st.text(
    alphabet=st.sampled_from("aBя泵不没 不是no not 14,.;:|()-–−°%/'’€³ⅣﬁZP-40\n"), min_size=1, max_size=80
) | st.sampled_from(sorted(QUOTES))


@given(TEXTS, st.sampled_from(["en", "ru", "zh", "de", None]))
def test_nothing_speaks_against_a_verbatim_quote(text: str, language: str | None) -> None:
    assert objection(text, piece(text, language)) is None
    assert objection("  ".join(text.upper().split()) + ".", piece(text, language)) is None


@pytest.mark.parametrize("quote", sorted(QUOTES))
def test_a_copied_quote_is_supported_however_it_is_cut_into_sentences(quote: str) -> None:
    evidence = passage(f"{quote}\n\n{BESIDE[QUOTES[quote]]}", QUOTES[quote])
    assert cite(f"{quote} [1]", [evidence], NO_EMBEDDER, lambda *_: None).supported is True


@pytest.mark.parametrize(
    ("claim", "quote", "reason"),
    [
        ("It takes 15 l.", "It takes 14 l.", "the number 15 is not there"),
        ("It takes 14 ml.", "It takes 14 l.", "the number 14 has another unit than ml"),
        ("At most 14 l.", "At least 14 l of oil.", "the number 14 is bounded otherwise"),
        ("The lid takes 14 l.", "The base takes 14 l, the lid 22 l.", "14 is said of something else"),
        ("The ZP-41 is grey.", "The ZP-40 is grey.", "another code than zp-41 is meant"),
        ("It was made in Oslo.", "It was made in Bergen.", "the name oslo is not there"),
        ("Do not clean the lid.", "Clean the lid.", "clean is negated in one of the two only"),
        ("Open it before use.", "Open it after use.", "the opposite is there"),
        ("The oil is changed after 14 h.", "Bearings, seals and bolts: 14 h.", "14 is said of something else"),
    ],
)
def test_each_objection_says_what_it_is_about(claim: str, quote: str, reason: str) -> None:
    assert objection(claim, piece(quote)) == reason


def test_a_code_holds_until_another_of_its_family_is_named() -> None:
    text = "The ZP-40 is grey. Its oil is OF-220. It takes 14 litres. The ZP-60 is blue. It takes 14 litres."
    first, second = [item for item in pieces_of(passage(text)) if item.text == "It takes 14 litres."]
    assert objection("The ZP-40 takes 14 l.", first) is None
    assert objection("The ZP-60 takes 14 l.", second) is None
    assert objection("The ZP-40 takes 14 l.", second) == "the code zp-40 is not meant there"
    assert objection("The ZP-60 takes 14 l.", first) == "the code zp-60 is not meant there"


@pytest.mark.parametrize(
    "text",
    [
        " " * 50_000 + "7",
        "1 000 " * 10_000,
        "not " * 12_000,
        "不" * 50_000,
        "a-" * 25_000,
        "| - " * 12_000,
        "x\n" * 25_000,
    ],
)
def test_hostile_text_takes_no_time(text: str) -> None:
    start = time.perf_counter()
    objection(f"{text} 7", piece(text))
    assert time.perf_counter() - start < 10

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import snowballstemmer
from hypothesis import given
from hypothesis import strategies as st

from rag.analysis import analyze, query_terms

LANGUAGES = [None, "en", "ru", "de", "fr", "es", "zh", "ja", "hi", "vi"]


@pytest.mark.parametrize(
    ("text", "language", "terms"),
    [
        (
            "Change the oil of the ZP-40/2 pumps.",
            "en",
            ["chang", "the", "oil", "of", "the", "zp-40/2", "zp", "40", "2", "pump"],
        ),
        ("valve KX-75.2, 3.5 bar", "en", ["valv", "kx-75.2", "kx", "75", "2", "3.5", "3", "5", "bar"]),
        ("every 2,000 hours", "en", ["everi", "2000", "hour"]),
        ("state-of-the-art and/or", "en", ["state", "of", "the", "art", "and", "or"]),
        ("Насосы ZP-40/2 ещё работают", "ru", ["насос", "zp-40/2", "zp", "40", "2", "ещ", "работа"]),
        ("ZP-40/2型泵的压力", "zh", ["zp-40/2", "zp", "40", "2", "型泵", "泵的", "的压", "压力"]),
        ("泵。阀门", "zh", ["泵", "阀门"]),
        ("Die Prüfungen", "de", ["die", "prufung"]),
        ("l’huile", "fr", ["l", "huil"]),
        ("running", "vi", ["running"]),
        ("pumps 泵 насосы", "zh", ["pump", "泵", "насос"]),
        ("...!", "en", []),
        ("", None, []),
    ],
)
def test_terms_by_hand(text: str, language: str | None, terms: list[str]) -> None:
    assert analyze(text, language) == terms


@pytest.mark.parametrize(
    ("written", "asked", "language"),
    [
        ("The pumps were inspected", "inspecting a pump", "en"),
        ("замена масла насоса", "масло насосов", "ru"),
        ("información técnica", "informaciones", "es"),
        ("información técnica", "informacion tecnica", "es"),
        ("große Prüfung", "GROSSE PRUFUNG", "de"),
        ("vérifiée", "VÉRIFIÉE", "fr"),
        ("水泵的压力", "水泵压力", "zh"),
        ("Насос ZP-40/2", "zp‑40/2", "ru"),
        ("\uff3a\uff30\uff0d40", "ZP-40", "zh"),
        ("2000 Stunden", "2,000", "de"),
        ("hydr\u00adaulic", "hydraulic", "en"),
        ("pumps in a Chinese text 泵", "pump", "zh"),
        ("Ёмкость", "емкости", "ru"),
    ],
)
def test_a_question_meets_what_was_written(written: str, asked: str, language: str) -> None:
    terms = query_terms(asked, {language, "en", None})
    assert terms
    assert set(terms) & set(analyze(written, language))


def test_an_identifier_is_told_from_its_neighbours_by_its_whole_form() -> None:
    other = set(analyze("the ZP-40/3 pump", "en"))
    assert "zp-40/2" in query_terms("ZP-40/2", ["en"])
    assert "zp-40/2" not in other
    assert {"zp", "40"} <= other


def test_a_question_word_is_stemmed_as_each_language_would() -> None:
    assert query_terms("informations", ["en", "fr", "vi"]) == ["inform", "informations"]
    assert query_terms("насосы", ["en", "ru"]) == ["насос"]


@given(st.text(), st.sampled_from(LANGUAGES))
def test_terms_are_storable_and_stable(text: str, language: str | None) -> None:
    terms = analyze(text, language)
    assert terms == analyze(text, language)
    assert all(term and not any(c.isspace() for c in term) for term in terms)
    # The pairs of CJK runs are short; all else is cut to a length that every index takes.
    assert all(len(term) <= 80 for term in terms)


@given(st.text(), st.sampled_from(LANGUAGES))
def test_a_text_finds_itself(text: str, language: str | None) -> None:
    terms = query_terms(text, [language, "en", "ru"])
    assert len(terms) == len(set(terms))
    assert bool(terms) == bool(analyze(text, language))
    assert set(query_terms(text, [language])) <= set(analyze(text, language))


@given(st.lists(st.sampled_from([language for language in LANGUAGES if language])))
def test_the_order_of_languages_does_not_matter(languages: list[str]) -> None:
    text = "pumps informations Prüfungen насосы 压力阀"
    assert query_terms(text, languages) == query_terms(text, list(reversed(languages)))


def test_every_terms_part_of_a_huge_token_is_bounded() -> None:
    assert max(len(term.encode()) for term in analyze("x1" * 50_000 + "y" * 100_000, "en")) < 500
    assert analyze("语" * 50_000, "zh").count("语语") == 49_999


def test_threads_do_not_mix_up_stems() -> None:
    words = [f"{letter}{other}ements" for letter in "abcdefghijklm" for other in "nopqrstuvwxyz"]
    stemmer = snowballstemmer.stemmer("french")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda word: analyze(word, "fr"), words))
    finally:
        sys.setswitchinterval(interval)
    assert found == [[stemmer.stemWord(word)] for word in words]

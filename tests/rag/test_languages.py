"""Scripts name languages; identifiers and units in Latin letters don't."""

import pytest

from rag.languages import is_text, language_by_script


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("How often is the oil changed?", "en"),
        ("Wie oft wird das Öl gewechselt?", "en"),
        ("Как часто меняют масло ZP-40/2?", "ru"),
        ("ZP-40/2 的机油多久更换？", "zh"),
        ("Ist 油 Öl? What does the sign 油 on the pump mean?", "en"),
        ("ポンプの油はいつ交換しますか", "ja"),
        ("펌프 오일은 언제 교체합니까", "ko"),
        ("متى يتم تغيير الزيت؟", "ar"),
        ("Πότε αλλάζει το λάδι;", "el"),
        ("40 / 2 ?", "en"),
        ("", "en"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert language_by_script(text) == language


def test_half_a_character_is_no_text() -> None:
    assert is_text("Öl 油 😀")
    assert not is_text("oil \ud83d")

"""The language of a text as ISO 639-1, by script first and py3langid's model second."""

import functools
import re
import unicodedata

from py3langid.langid import MODEL_FILE, LanguageIdentifier

MIN_LETTERS = 20
_IDEOGRAPH_WEIGHT = 3
"""An ideograph says as much as several letters of an alphabet."""
_SHORT = 100
_MARGIN = 10.0
"""Log-probability by which a short ASCII text must look more like another language than like English."""
_MAX_CHARS = 4_000
_LANGUAGES = (  # noqa: SIM905
    "af ar az be bg bn bs ca cs cy da de el en es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn ko ky "
    "lo lt lv mk ml mn mr ms my ne nl no pa pl pt ro ru si sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh"
).split()
# Letters that Russian lacks: without one of them, a short Cyrillic text is taken for Russian.
_NOT_RUSSIAN = re.compile("[іїєґўјљњћђџѓќѕәғқңөұүһӣӯҳҷ]", re.IGNORECASE)
_WITH_DIGITS = re.compile(r"\S*\d\S*")


def detect_language(text: str, min_letters: int = MIN_LETTERS) -> str | None:
    """The main language, or ``None`` where fewer than ``min_letters`` letters are too few to tell."""
    if len(text) > _MAX_CHARS:
        half = _MAX_CHARS // 2
        text = text[:half] + text[len(text) // 2 : len(text) // 2 + half]
    text = _WITH_DIGITS.sub(
        lambda word: "".join(c for c in word[0] if _script(c) in ("CJK", "HIRAGANA", "HANGUL")), text
    )
    scripts: dict[str, int] = {}
    for character in text:
        if character.isalpha():
            script = _script(character)
            scripts[script] = scripts.get(script, 0) + 1
    ideographs = scripts.get("CJK", 0)
    kana = scripts.get("HIRAGANA", 0) + scripts.get("KATAKANA", 0)
    hangul = scripts.get("HANGUL", 0)
    letters = sum(scripts.values())
    if letters + (_IDEOGRAPH_WEIGHT - 1) * (ideographs + kana + hangul) < min_letters:
        return None
    if (ideographs + kana + hangul) * _IDEOGRAPH_WEIGHT > letters:  # Latin part numbers abound in any of the three
        if hangul > ideographs + kana:
            return "ko"
        return "ja" if kana * 20 > ideographs else "zh"
    if scripts.get("CYRILLIC", 0) * 2 > letters and letters < _SHORT and not _NOT_RUSSIAN.search(text):
        return "ru"
    ranked: dict[str, float] = dict(_identifier().rank(text))
    best = max(ranked, key=lambda language: ranked[language])
    if letters < _SHORT and text.isascii() and ranked[best] - ranked["en"] < _MARGIN:
        return "en"
    return best


@functools.cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(_LANGUAGES)
    return identifier


@functools.lru_cache(maxsize=4096)
def _script(character: str) -> str:
    return unicodedata.name(character, "UNKNOWN").split()[0]

"""Text to search terms: the same rules for documents and for queries.

NFKC, casefold, Snowball stems by language, accents folded, identifiers such as ``ZP-40/2`` kept whole and
split into their parts, scripts that are written without spaces cut into pairs of characters. No word is
dropped: BM25 already gives common words next to no weight, and lists of stop words differ by language.
Knows nothing of indexes or of how languages are told apart.
"""

import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable
from functools import lru_cache
from importlib.metadata import version

import snowballstemmer

ANALYZER_FINGERPRINT = f"domainqa-analyzer-2/snowball-{version('snowballstemmer')}"
"""Changes whenever the same text could give other terms; a lexical index made under another one is refused."""

_MAX_TERM_CHARACTERS = 64

# ISO 639-1 code to Snowball's algorithm and the script that it stems.
_STEMMERS = {
    "ar": ("arabic", "arabic"),
    "ca": ("catalan", "latin"),
    "cs": ("czech", "latin"),
    "da": ("danish", "latin"),
    "de": ("german", "latin"),
    "el": ("greek", "greek"),
    "en": ("english", "latin"),
    "es": ("spanish", "latin"),
    "et": ("estonian", "latin"),
    "eu": ("basque", "latin"),
    "fi": ("finnish", "latin"),
    "fr": ("french", "latin"),
    "ga": ("irish", "latin"),
    "hi": ("hindi", "devanagari"),
    "hu": ("hungarian", "latin"),
    "hy": ("armenian", "armenian"),
    "id": ("indonesian", "latin"),
    "it": ("italian", "latin"),
    "lt": ("lithuanian", "latin"),
    "nb": ("norwegian", "latin"),
    "ne": ("nepali", "devanagari"),
    "nl": ("dutch", "latin"),
    "nn": ("norwegian", "latin"),
    "no": ("norwegian", "latin"),
    "pl": ("polish", "latin"),
    "pt": ("portuguese", "latin"),
    "ro": ("romanian", "latin"),
    "ru": ("russian", "cyrillic"),
    "sv": ("swedish", "latin"),
    "ta": ("tamil", "tamil"),
    "tr": ("turkish", "latin"),
}
# Technical text in other scripts is full of English words; they are stemmed as such there, so that an
# English question finds them.
_GUEST_STEMMERS = {"latin": "english", "cyrillic": "russian"}
_SPACELESS_LANGUAGES = {"zh", "ja", "ko", "th", "lo", "km", "my"}

_SCRIPTS = (
    (0x0250, "latin"),
    (0x0370, "other"),
    (0x0400, "greek"),
    (0x0530, "cyrillic"),
    (0x0590, "armenian"),
    (0x0600, "other"),
    (0x0780, "arabic"),
    (0x0900, "other"),
    (0x0980, "devanagari"),
    (0x0B80, "other"),
    (0x0C00, "tamil"),
    (0x1E00, "other"),
    (0x1F00, "latin"),
    (0x2000, "greek"),
)
"""Code points below the number (and not below the one before it) belong to the script."""

# Thai, Lao, Myanmar, Khmer; Hangul; kana; ideographs with their iteration mark and extensions.
_SPACELESS = (
    "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\uac00-\ud7a3"
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_FIRST_SPACELESS = "\u0e01"
# Vowel signs and accents that no composed character covers belong to their word, yet \w leaves them out.
_MARKS = "".join(
    chr(code) for code in (*range(0x300, 0x0E00), *range(0x1AB0, 0x1E00)) if unicodedata.category(chr(code))[0] == "M"
)
_LETTER = f"[^\\W_{_SPACELESS}]"
_WORD = f"{_LETTER}+(?:[{_MARKS}]+{_LETTER}*)*"
_TOKEN = re.compile(f"{_WORD}(?:(?:[-/._]|(?<=\\d),(?=\\d)){_WORD})*|[{_SPACELESS}]+")
_IS_SPACELESS = re.compile(f"[{_SPACELESS}]")
_SEPARATORS = re.compile(r"[-/._,]")
_PARTS = re.compile(r"\d+|[^\d\-/._,]+")
_HAS_DIGIT = re.compile(r"\d")
_GROUPED_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_DECIMAL_COMMA = re.compile(r"(\d+),(\d+)")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_UNDECOMPOSED = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})


def analyze(text: str, language: str | None) -> list[str]:
    """The terms of a document's text, in order, with repeats. No term holds white space.

    ``language`` is an ISO 639-1 code; words are not stemmed where it has no stemmer. ``None`` (unknown)
    stems Latin letters as English and Cyrillic ones as Russian.
    """
    terms: list[str] = []
    for token in _TOKEN.findall(_normalise(text)):
        if token[0] >= _FIRST_SPACELESS and _IS_SPACELESS.match(token):
            terms.extend(_pairs(token))
        else:
            terms.extend(_document_terms(token, language))
    return terms


def query_terms(text: str, languages: Collection[str | None]) -> list[str]:
    """The terms to look for in a collection that holds documents in ``languages``; unique, in order.

    A word is stemmed as each of the languages would stem it, for the documents' terms were.
    """
    terms: dict[str, None] = {}
    # Sorted, so that the terms' order (and the last bit of a summed score) never depends on a set's order.
    known = sorted(languages or (None,), key=lambda language: language or "")
    for token in _TOKEN.findall(_normalise(text)):
        if token[0] >= _FIRST_SPACELESS and _IS_SPACELESS.match(token):
            terms.update(dict.fromkeys(_pairs(token)))
        else:
            for language in known:
                terms.update(dict.fromkeys(_query_terms(token, language)))
    return list(terms)


def _normalise(text: str) -> str:
    if text.isascii():
        return text.lower()
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold()
    return unicodedata.normalize("NFKC", text).replace("\u2010", "-").replace("\u2212", "-")


def _pairs(run: str) -> list[str]:
    return [first + second for first, second in itertools.pairwise(run)] or [run]


@lru_cache(maxsize=1 << 16)
def _document_terms(token: str, language: str | None) -> tuple[str, ...]:
    """Beside the stem of an accented word stands the stem of its bare letters: people type those, too."""
    terms: list[str] = []
    for word in _words(token):
        stem = _stem(word, language)
        terms.append(stem)
        bare = word if word.isascii() else _fold(word)
        if bare != word and (bare_stem := _stem(bare, language)) != stem:
            terms.append(bare_stem)
    return tuple(terms)


@lru_cache(maxsize=1 << 12)
def _query_terms(token: str, language: str | None) -> tuple[str, ...]:
    return tuple(_stem(word, language) for word in _words(token))


def _words(token: str) -> Iterable[str]:
    """The whole identifier, if it is one, then its parts; a plain word is itself, a hyphenated one its parts."""
    if not _HAS_DIGIT.search(token):
        return [part[:_MAX_TERM_CHARACTERS] for part in _SEPARATORS.split(token)]
    if _GROUPED_NUMBER.fullmatch(token):
        return [token.replace(",", "")[:_MAX_TERM_CHARACTERS]]
    whole = _DECIMAL_COMMA.sub(r"\1.\2", token) if _DECIMAL_COMMA.fullmatch(token) else token
    parts = [part[:_MAX_TERM_CHARACTERS] for part in _PARTS.findall(whole)]
    return parts if len(whole) > _MAX_TERM_CHARACTERS or parts == [whole] else [whole, *parts]


def _stem(word: str, language: str | None) -> str:
    if _HAS_DIGIT.search(word):
        return _fold(word)
    script = _script(word)
    algorithm, own_script = _STEMMERS.get(language or "", ("", ""))
    if script != own_script:
        guest = language is None or own_script or language in _SPACELESS_LANGUAGES
        algorithm = _GUEST_STEMMERS.get(script, "") if guest else ""
    if not algorithm:
        return _fold(word)
    # A stemmer holds the word it works on, so threads can't share one; making one costs less than a stem.
    return _fold(snowballstemmer.stemmer(algorithm).stemWord(word)) or word


def _fold(word: str) -> str:
    """Drop accents where they are spelling variants: Latin and Greek letters, and the dots of Cyrillic ё."""
    if word.isascii():
        return word
    script = _script(word)
    if script == "cyrillic":
        return word.replace("ё", "е")
    if script not in ("latin", "greek"):
        return word
    decomposed = unicodedata.normalize("NFD", word.translate(_UNDECOMPOSED))
    return "".join(c for c in decomposed if unicodedata.category(c) != "Mn") or word


def _script(word: str) -> str:
    code = ord(word[0])
    return next((script for end, script in _SCRIPTS if code < end), "other")

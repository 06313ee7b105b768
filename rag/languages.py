"""The language of a short text by its script: enough to word a reply and to know what an embedder can read.

Statistical detection errs on a question's few words; scripts don't. Documents have their own, finer detection.
"""

import re

_SCRIPTS = {
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7af]"),
    "zh": re.compile(r"[\u4e00-\u9fff]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "ar": re.compile(r"[\u0600-\u06ff]"),
    "el": re.compile(r"[\u0370-\u03ff]"),
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_LATIN_PER_SIGN = {"ja": 2.0, "ko": 2.0, "zh": 4.0, "ru": 1.0, "ar": 1.0, "el": 1.0}
"""Latin letters that one sign outweighs: part numbers and units don't make a Chinese question English."""


def is_text(text: str) -> bool:
    """Whether it can be encoded: a lone surrogate, as a command line may hold one, can't."""
    return _SURROGATE.search(text) is None


def language_by_script(text: str) -> str:
    """An ISO 639-1 code for the script's main language; ``en`` for Latin script and for none at all."""
    latin = len(_LATIN.findall(text))
    for language, script in _SCRIPTS.items():
        signs = len(script.findall(text))
        if signs and signs * _LATIN_PER_SIGN[language] >= latin / 2:
            return language
    return "en"

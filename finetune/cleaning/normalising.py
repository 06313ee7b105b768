"""Text without what no reader sees: one form of each letter, one kind of line end, no control characters.

NFC and not NFKC: the latter turns m³ into m3 and ① into 1, which are other texts.
"""

import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
# The joiners U+200C and U+200D are letters' business in Persian and Hindi, and stay.
_UNSEEN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\u00ad]")
_BLANKS = re.compile(r"[^\S\n]+(?=\n|$)")
_MANY_LINES = re.compile(r"\n{3,}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def normalise(text: str) -> str:
    """Normalising twice changes nothing more."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n\n")
    text = _SURROGATE.sub("\ufffd", text)
    text = _UNSEEN.sub("", _CONTROL.sub("", text)).replace("\u00a0", " ")
    text = unicodedata.normalize("NFC", text)
    return _MANY_LINES.sub("\n\n", _BLANKS.sub("", text)).strip()

"""Personal data by its form: addresses of mail and machines, telephone numbers, accounts and cards.

Names are not found: that takes a model. Kinds stand in for what is taken out, so that sentences stay sentences.
"""

import re

_EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
_IPV4 = re.compile(r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b(?!\.\d)")
# With a sign that it is one: a plus, a bracket or three groups. A part number has none of them.
_PHONE = re.compile(
    r"(?<![\w/-])(?:\+\d{1,3}[ .-]?)(?:\(?\d{1,4}\)?[ .-]?){2,5}\d{2,4}\b|\(\d{2,5}\) ?\d{2,4}[ -]?\d{2,5}\b"
)


def scrub(text: str) -> str:
    """The text with ``[email]``, ``[account]``, ``[card]``, ``[address]`` and ``[phone]`` in their places."""
    text = _EMAIL.sub("[email]", text)
    text = _IBAN.sub(lambda match: "[account]" if _is_iban(match[0]) else match[0], text)
    text = _CARD.sub(lambda match: "[card]" if _is_card(match[0]) else match[0], text)
    text = _IPV4.sub("[address]", text)
    return _PHONE.sub("[phone]", text)


def _is_iban(text: str) -> bool:
    """ISO 13616: moved round and with letters as numbers, it leaves 1 when divided by 97."""
    account = text.replace(" ", "")
    digits = "".join(str(int(sign, 36)) for sign in account[4:] + account[:4])
    return int(digits) % 97 == 1


def _is_card(text: str) -> bool:
    """ISO/IEC 7812: Luhn's check digit."""
    digits = [int(sign) for sign in re.sub(r"\D", "", text)][::-1]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0

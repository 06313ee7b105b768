"""The date that a document gives itself, in English, Russian, Chinese or as digits. Knows nothing of file metadata.

A date counts only where the document's head calls it that of a revision, an edition or the like: the first date of a
text may be anybody's birthday.
"""

import re
from datetime import date

_HEAD_CHARACTERS = 800
_MONTHS = {
    name: number
    for names in (
        "january february march april may june july august september october november december",
        "jan feb mar apr may jun jul aug sep oct nov dec",
        "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    )
    for number, name in enumerate(names.split(), start=1)
}
_DATE = (
    r"(?P<y1>\d{4})-(?P<m1>\d\d)-(?P<d1>\d\d)"
    r"|(?P<d2>\d{1,2})\.(?P<m2>\d{1,2})\.(?P<y2>\d{4})"
    r"|(?P<y3>\d{4}) ?年 ?(?P<m3>\d{1,2}) ?月 ?(?P<d3>\d{1,2}) ?日"
    r"|(?P<d4>\d{1,2})(?:st|nd|rd|th)? (?P<m4>[^\W\d_]+)\.?,? (?P<y4>\d{4})"
    r"|(?P<m5>[A-Za-z]+)\.? (?P<d5>\d{1,2})(?:st|nd|rd|th)?, (?P<y5>\d{4})"
)
_SAYS_SO = r"\b(?:rev(?:ision|\.)|edition|version|issued?|dated?|as of)|редакци\w|издани\w|верси\w|版|第|修订|发布"
_BETWEEN = r"[^\n\d]{0,40}?(?:\d{1,3}(?:\.\d{1,3})*\b[^\n\d]{1,20}?)?"
"""Between the word and the date: "revision 4, ", "version 2.1, ", "第 2 版，"."""
_STATED = re.compile(rf"(?:{_SAYS_SO}){_BETWEEN}(?<!\w)(?:{_DATE})(?!\d)", re.IGNORECASE)


def stated_date(text: str) -> str | None:
    """As an ISO date; ``None`` where the head doesn't say."""
    found = (_iso(match) for match in _STATED.finditer(text[:_HEAD_CHARACTERS]))
    return next((date for date in found if date is not None), None)


def _iso(match: re.Match[str]) -> str | None:
    year, month, day = next(
        (match[f"y{form}"], match[f"m{form}"], match[f"d{form}"]) for form in range(1, 6) if match[f"y{form}"]
    )
    number = int(month) if month.isdecimal() else _MONTHS.get(month.casefold(), 0)
    try:
        return date(int(year), number, int(day)).isoformat()
    except ValueError:
        return None

"""What a question asks for: its words without those that only ask, and the kind of quantity that an answer holds.

Small lists for English, Russian and Chinese. A word that is missing here costs a hint, never an answer: what is not
known counts as any other word, and a question without a known kind of quantity expects none.
"""

import re
import unicodedata

from rag.supporting.words import UNIT_FORMS

_ASKING = re.compile(
    r"\b(?:what|which|who|whom|whose|when|where|why|how|many|much|often|do|does|did|is|are|was|were|am|be|been|being|"
    r"has|have|had|can|could|may|might|must|shall|should|will|would|i|me|my|we|us|our|you|your|he|she|it|its|they|"
    r"them|their|this|that|these|those|there|the|an?|of|for|to|in|on|at|by|with|from|and|or|if|then|about|as|than|"
    r"any|some|please|tell|state|give|list|say|know|want|like|need|think|so|also|mean|meant|ok|okay|yes|no|not|just|"
    r"s|t|re|ve|ll|d|m|"
    r"что|какой|какая|какое|какие|каков|какова|каково|каковы|какого|какую|каким|какими|каких|какому|кто|кого|кому|"
    r"когда|где|куда|почему|зачем|как|сколько|ли|в|во|на|с|со|по|для|из|от|до|при|за|к|о|об|у|и|или|это|этот|эта|"
    r"эти|того|том|не|а|но|можно|нужно|надо|должен|должна|должно|должны|есть|мне|я|мы|вы)\b"
    r"|多少|什么|哪些|哪个|哪种|哪一|哪里|哪儿|哪|几|如何|怎么样|怎么|怎样|为什么|是否|多久|多长|多大|多高|谁|何时|请问|吗|呢|"
    r"的|是|有|在|和|与|了|应|该|要|可以|能|我|你|这|那",
    re.IGNORECASE,
)

_WHAT = r"\b(?:what|which)\b(?:\W+[\w-]+){0,5}?\W+"
"""A noun is asked for where it stands soon behind what or which; elsewhere it only names a part."""
_PART = r"(?!\W+(?:valves?|sensors?|switch\w*|gauges?|groups?|lists?|meters?|transmitters?|probes?|cables?|kits?)\b)"

_TIMES = "s min h d week month year time"
_QUANTITIES: tuple[tuple[str, str, str], ...] = (
    # Kind, what asks for it, the units of an answer. The first that fits holds, so the plainest ways to ask come first.
    (
        "time",
        r"\bhow (?:often|soon|far ahead|far in advance)\b"
        r"|\bhow many (?:seconds|minutes|hours|days|weeks|months|years)\b"
        r"|\b(?:what|which|how much) time\b|\bкак (?:долго|часто|скоро)\b"
        r"|\b(?:сколько|какое число) (?:секунд|минут|часов|дней|недель|месяцев|лет)\b"
        r"|多久|多长时间|几[天年月小分]|多少[年天月小分]",
        _TIMES,
    ),
    ("length or time", r"\bhow long\b", "s min h d week month year mm cm m km"),
    ("length", r"\bhow (?:thick|wide|deep|tall|high)\b|多厚|多宽|多高", "mm cm m km"),
    ("sound", r"\b(?:loud|noisy|noise|decibels?|sound (?:level|pressure|power))\b|\bшум\w*|噪声|噪音|分贝", "dB"),
    ("mass", r"\bweighs?\b|\bhow heavy\b|\bвес(?:ит|ят)\b|多重", "kg g t"),
    ("temperature", r"\bhow (?:hot|cold|warm)\b", "degC degF deg"),
    (
        "money",
        r"\bhow (?:expensive|cheap)\b|\bwhat (?:do|does|did|will|would|is)\b.*\bcosts?\b|\bhow much\b.*\bcosts?\b"
        rf"|{_WHAT}(?:prices?|costs?){_PART}|\bcosts?\b\W*$|\b(?:стоит|стоят|стоимост\w*|цен[аыуе]|ценой)\b"
        r"|价格|价钱|售价|多少钱|单价|欧元",
        "EUR USD GBP RUB CNY",
    ),
    (
        "money or share",
        rf"{_WHAT}(?:fees?|deposits?|surcharges?|allowances?){_PART}|\bзалог\w*|\bнадбавк\w*|费用|押金",
        "EUR USD GBP RUB CNY %",
    ),
    ("share", r"\bper ?cent\b|\bpercentage\b|\bпроцент\w*|百分", "%"),
    ("number", r"\bhow many\b|\bсколько\b|几", ""),
    ("mass", rf"{_WHAT}(?:weights?|mass){_PART}|\b(?:вес|масс[аыу])\b|重量", "kg g t"),
    ("temperature", rf"{_WHAT}temperatures?{_PART}|\bтемператур\w*|温度", "degC degF deg"),
    (
        "pressure",
        rf"{_WHAT}pressures?{_PART}|\bкак\w+ давлени\w*|压力(?=是|为|多|应|范围|上限|下限)",
        "bar mbar Pa kPa MPa psi",
    ),
    ("voltage", rf"{_WHAT}voltages?{_PART}|\bнапряжени\w*|电压", "V"),
    ("frequency", rf"{_WHAT}frequency{_PART}|\bчастот\w*|频率", "Hz rpm"),
    ("power", rf"{_WHAT}power{_PART}|\bмощност\w*|功率", "W kW"),
    ("flow", rf"{_WHAT}flows?{_PART}|流量", "m3 l"),
    (
        "length",
        rf"{_WHAT}(?:length|thickness|width|diameter|height|distance){_PART}"
        r"|\b(?:длин|толщин|ширин|высот)[аыуе]\b|\bдиаметр\w*|长度|厚度|宽度|直径|高度",
        "mm cm m km",
    ),
    ("time", rf"{_WHAT}(?:intervals?|delays?){_PART}|\bинтервал\w*|间隔|周期", _TIMES),
    ("number", r"\bhow much\b|多少", ""),
)
_ASKS = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern, _ in _QUANTITIES)
_FURTHER_FORMS = {
    "dB": "dB dBA dBm db дБ дБА 分贝",
    "Hz": "kHz MHz GHz кГц МГц",
    "time": "o'clock часов 点",
    "m": "in inch inches ft",
    "min": "daily weekly",
}
_SHORT = 2
_PREFIX = r"(?:\d[\s\u00a0]*|[(/\[,;]\s*|[€$£¥]\s*)"


def _holds(units: str) -> re.Pattern[str]:
    """Finds a number with one of the units, or a unit in the brackets of a table's header; any digit without units."""
    if not units:
        return re.compile(r"\d")
    forms = sorted(
        {
            form
            for unit in units.split()
            for form in f"{UNIT_FORMS.get(unit, '')} {_FURTHER_FORMS.get(unit, '')}".split()
        },
        key=len,
        reverse=True,
    )
    words = [form for form in forms if re.match(r"\w", form) and not _is_sign(form)]
    signs = "|".join(re.escape(form) for form in forms if form not in words)
    # A word may stand apart from its number ("2,000 operating hours"); a letter or two are a unit beside it only.
    whole = "|".join(re.escape(form) for form in words if len(form) > _SHORT)
    short = "|".join(re.escape(form) for form in words if len(form) <= _SHORT)
    parts = [rf"\b(?:{whole})\b"] if whole else []
    parts += [rf"{_PREFIX}(?:{short})(?![^\W\d_])"] if short else []
    parts += [r"\d:\d\d"] if "time" in units else []
    parts += [rf"(?:\d\s*|[(（])(?:{signs})|(?:{signs})\s*\d"] if signs else []
    return re.compile("|".join(parts))


def _is_sign(form: str) -> bool:
    return "\u3400" <= form[0] <= "\u9fff"


_HOLDS = {kind: _holds(units) for kind, _, units in _QUANTITIES}


def content(question: str) -> str:
    """The question without the words that only ask; the whole of it when nothing else is left."""
    rest = _ASKING.sub(" ", question)
    return rest if re.search(r"\w", rest) else question


def quantity_asked(question: str) -> str | None:
    """The kind of quantity that an answer must hold; ``None`` where none is asked for or it can't be told."""
    return next((kind for kind, pattern in _ASKS if pattern.search(question)), None)


def holds_quantity(kind: str, text: str) -> bool:
    """Whether the text holds a quantity of the kind, or a table's header that gives its unit."""
    return _HOLDS[kind].search(unicodedata.normalize("NFKC", text)) is not None

"""Units, bounds, negations, numerals and opposites in English, Russian and Chinese, as ``clauses`` looks them up.

A word that is missing here costs a check, never an answer: what is not known is not compared.
"""

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


UNIT_FORMS = {
    "s": "s sec second seconds сек секунда секунды секунд секунду 秒 秒钟",
    "min": "min mins minute minutes мин минута минуты минут минуту 分钟",
    "h": "h hr hrs hour hours ч час часа часов часам 小时 钟头",
    "d": "day days день дня дней сутки суток 天 日 个工作日",
    "week": "week weeks неделя недели недель неделю 周 星期",
    "month": "month months мес месяц месяца месяцев 个月 月",
    "year": "year years yr yrs год года лет году 年",
    "bar": "bar bars бар бара 巴",
    "mbar": "mbar мбар 毫巴",
    "Pa": "Pa Па 帕",
    "kPa": "kPa кПа 千帕",
    "MPa": "MPa МПа 兆帕",
    "psi": "psi",
    "N": "N Н 牛",
    "Nm": "Nm N·m Н·м Нм 牛米 牛·米",
    "mm": "mm millimetre millimetres millimeter millimeters мм 毫米",
    "cm": "cm centimetre centimetres centimeter centimeters см 厘米",
    "m": "m metre metres meter meters м метр метра метров 米",
    "km": "km kilometre kilometres kilometer kilometers км 公里 千米",
    "ml": "ml mL мл 毫升",
    "l": "l L litre litres liter liters л литр литра литров 升",
    "m3": "m3 м3 立方米",
    "g": "g gram grams грамм 克",
    "kg": "kg kilogram kilograms кг килограмм 公斤 千克",
    "t": "t tonne tonnes т тонн 吨",
    "W": "W Вт watt watts 瓦",
    "kW": "kW кВт kilowatt kilowatts 千瓦",
    "V": "V В volt volts вольт 伏",
    "A": "A amp amps ампер 安",
    "mA": "mA мА 毫安",
    "Hz": "Hz Гц hertz 赫兹",
    "rpm": "rpm r/min об/мин 转/分",
    "deg": "° degree degrees градус градуса градусов 度",
    "degC": "°C °С 摄氏度",
    "degF": "°F 华氏度",
    "%": "% percent per cent процент процента процентов 百分",
    "EUR": "EUR € euro euros евро 欧元",
    "USD": "USD $ dollar dollars доллар долларов 美元",
    "GBP": "GBP £ pound pounds 英镑",
    "RUB": "RUB ₽ руб рубль рубля рублей 卢布",
    "CNY": "CNY RMB ¥ yuan юань юаней 元 人民币",
    "dpi": "dpi",
}
UNITS = {form: unit for unit, forms in UNIT_FORMS.items() for form in forms.split()}
TIMES = {"s", "min", "h", "d", "week", "month", "year"}
PER = {"/", "per", "a", "an", "в", "за"}
RANGE = {"-", "–", "—", "~", "to", "and", "or", "до", "и", "или"}
JOINING = {"and", "or", "but", "while", "whereas", "и", "или", "а", "но"}
SPELLED = {
    word: str(value)
    for value, words in enumerate(
        (
            "two два две двух двум",
            "three три трёх трех трём",
            "four четыре четырёх четырех",
            "five пять пяти",
            "six шесть шести",
            "seven семь семи",
            "eight восемь восьми",
            "nine девять девяти",
            "ten десять десяти",
            "eleven одиннадцать",
            "twelve двенадцать двенадцати",
        ),
        start=2,
    )
    for word in words.split()
}
CHINESE_DIGITS = "零一二三四五六七八九"
CHINESE_NUMBER = r"[两二三四五六七八九十]{1,3}(?=[个台次年天日周月升米种根只人小分秒倍])"
FUNCTION_WORDS = _set(
    "a an one the of for to in on at is are be was were by with from as it its this that these then must shall should "
    "been can may has have do does will first every each after before least most more less than up over under above "
    "below max maximum min minimum в на с по для из к от до при что это как через после перед каждый каждые каждую "
    "каждого не более менее"
)
ORDER_WORDS = _set(
    "first before after least most less more up over under above below max maximum min minimum "
    "до после перед более менее"
)
"""Those function words that tell where, when or how much: one in another's place says something else."""
CHINESE_FUNCTION = re.compile(
    "[的了在是为和与及或也都则即其之并而且只被将把每至要应须会能可以对于从到由使给个次就还又很这那该]"
)
"""A pair of signs with one of these may be worded otherwise and say the same."""
BOUNDS = tuple(
    (bound, re.compile("|".join(patterns)))
    for bound, *patterns in (
        # Negated ones first: "no less than" holds "less than".
        ("most", r"\b(?:no|not|never) (?:more|later|longer|higher|above|over|exceed\w*)(?: than)?\b"),
        ("most", r"\bне (?:\w+ ){0,2}?(?:более|выше|позднее|превыша\w*)", "不(?:得?超过|高于|大于)"),
        ("least", r"\b(?:no|not|never) (?:less|fewer|lower|earlier|below|under)(?: than)?\b"),
        ("least", r"\bне (?:\w+ ){0,2}?(?:менее|ниже|раньше)", "不(?:得?少于|得?低于|小于)"),
        ("most", r"\b(?:at most|up to|within|less than|under|below|max(?:imum|imal)?)\b", r"макс|менее|ниже|\bдо$"),
        ("most", "至多|最[多高大]|[低少小]于"),
        ("least", r"\b(?:at least|more than|over|above|exceed\w*|min(?:imum|imal)?)\b"),
        ("least", "миним|более|выше|превыша", "至少|最[少低小]|[高大]于|超过"),
        ("every", r"\b(?:every|each)\b", "кажд", "每(?!分钟|小时|秒|天)"),
        ("after", r"\bafter\b", "после"),
        ("before", r"\bbefore\b", "перед"),
        ("from", r"\b(?:from|от)$", "从$"),
        ("to", r"\bto$", "[到至]$"),
    )
)
"""In the text ahead of a number; those that end with ``$`` stand next to it."""
BOUNDS_BEHIND = tuple(
    (bound, re.compile(pattern))
    for bound, pattern in (
        ("most", r"or less|и менее|以[下内]|\bmaximum\b"),
        ("least", r"or more|и более|以上|\bminimum\b"),
        ("after", r"^(?:之|以)?后"),
        ("before", r"^(?:之|以)?前"),
    )
)
"""In the text behind a number and its unit."""
OPPOSED_BOUNDS = ({"most", "least"}, {"every", "after"}, {"before", "after"}, {"from", "to"})
OPPOSITES = tuple(
    (re.compile(one), re.compile(other))
    for one, other in (
        (r"\bbefore\b|\bперед\b|\bдо\b|之前|以前", r"\bafter\b|\bпосле\b|之后|以后"),
        (r"\babove\b|\bнад\b|上方", r"\bbelow\b|\bunder\b|\bпод\b|下方"),
        (r"\bleft\b|\bлев|\bслева\b|左", r"\bright\b|\bправ(?:ый|ая|ой|ую)|\bсправа\b|右"),
        (r"\bincreas|увелич|повыш|增加|升高", r"\bdecreas|\breduc|уменьш|сниж|пониж|减少|降低"),
        (r"\bopen|откры|打开|开启", r"\bclos(?:e|ed|es|ing)\b|закры|关闭"),
        (r"\bmax(?:imum)?\b|максим|最[大高多]", r"\bmin(?:imum)?\b|миним|最[小低少]"),
        (r"\binlet|\bвходн|进口|入口", r"\boutlet|\bвыходн|出口"),
        (r"\bclockwise\b|(?<!против )часовой|顺时针", r"\b(?:anti|counter)-?clockwise\b|против часовой|逆时针"),
    )
)
NEGATIONS = {
    word: kind
    for kind, words in {
        "verb": "not never cannot neither nor не нельзя никогда",
        "noun": "without без",
        "any": "no none нет ни",
    }.items()
    for word in words.split()
}
"""What is negated: what is done, what is there, or either."""
FORBIDDING = re.compile(r"prohibit|forbid|запре[щт]|недопустим")
ALLOWING = re.compile(r"allow|permit|допуска|разреш")
COMPARING = _set(
    "only more less later longer higher fewer lower earlier более менее выше ниже позднее раньше дольше только"
)
BETWEEN = _set(
    "be been being have has had do does to the a an any yet ever следует должен должна должно должны может могут можно "
    "надо нужно быть"
)
CHINESE_BOUND = re.compile(r"不(?:得?超过|高于|大于|得?少于|得?低于|小于)")
CHINESE_NOT = re.compile(
    r"(?P<any>没有?)|(?P<noun>无(?![需法须线]))|(?:禁止|严禁|请勿|不(?![同锈断仅但久良])|未(?!来)|勿|无[需法须])(?:得|能|可|可以|要|会|应|需要?|允许|准|在)*"
)

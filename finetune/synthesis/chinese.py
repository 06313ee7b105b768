"""Chinese sentences turned into questions: where a clause holds one measure, its number becomes 多少."""

import re

from finetune.synthesis.found import Asked

_MEASURE = re.compile(r"(?P<v>-?\d+(?:\.\d+)?)(?P<space> ?)(?P<u>%|°C|[A-Za-zµ·/³²]+|[\u4e00-\u9fff]{1,3})")
_CLAUSE = re.compile(r"[^，。；：、（）]+")
_ITEM = re.compile(r"^[一二三四五六七八九十]+、")
_UNITS = (
    *(
        "个工作日",
        "个小时",
        "摄氏度",
        "个月",
        "小时",
        "工作日",
        "分钟",
        "毫米",
        "厘米",
        "微米",
        "公里",
        "公斤",
        "千克",
        "毫升",
    ),
    *(
        "欧元",
        "年",
        "月",
        "天",
        "日",
        "秒",
        "米",
        "克",
        "升",
        "吨",
        "度",
        "元",
        "次",
        "人",
        "份",
        "个",
        "块",
        "台",
        "名",
        "页",
    ),
    *("盒", "层", "圈", "瓦", "伏", "安", "周", "路", "根", "种", "张", "道"),
)
"""Those that begin another one stand after it."""
_UNSURE = re.compile(r"它|他|她|其|这|那|该|此|但|并|且|如|若|当|由|也|则|从|对|以|再|先|然后|同时|每次")
_OPEN = re.compile(r"(?:时|后|前|的|内|中|下|起|之间)$")
_FEWEST_BEFORE = 3
_SHORTEST, _LONGEST = 6, 45


def unsure(words: str) -> bool:
    return _UNSURE.match(words) is not None


def ask(sentence: str, names: frozenset[str]) -> Asked | None:
    """From the first clause alone: later ones lean on its subject. There are no capitals, so no ``names``."""
    item = _ITEM.match(sentence)
    clause = _CLAUSE.match(sentence, item.end() if item else 0)
    if clause is None:
        return None
    text = clause[0].strip()
    measures = [match for match in _MEASURE.finditer(text) if not _is_part_of_name(text, match)]
    if len(measures) != 1 or not _SHORTEST <= len(text) <= _LONGEST or unsure(text) or _OPEN.search(text):
        return None
    match = measures[0]
    unit = match["u"]
    if not unit.isascii() and unit != "°C":
        unit = next((known for known in _UNITS if unit.startswith(known)), "")
    if not unit or match.start() < _FEWEST_BEFORE:
        return None
    after = text[match.start("u") + len(unit) :]
    asked = "多少" if unit == "%" else f"多少 {unit}" if unit.isascii() or unit == "°C" else f"多少{unit}"
    question = f"{text[: match.start()].rstrip()}{asked}{after}？"
    return Asked("statement", question, f"{match['v']}{match['space']}{unit}", question)


_DEFINED = re.compile(r"(?P<s>[^，。；：、（）是为]{2,24}?) ?是(?P<v>[^，。；：（）]{6,60}?)[，。；]")


def define(sentence: str, names: frozenset[str]) -> Asked | None:
    match = _DEFINED.match(sentence)
    if match is None or unsure(match["s"]) or _OPEN.search(match["s"]):
        return None
    return Asked("definition", f"{match['s'].strip()} 是什么？", match["v"], match["s"])


def _is_part_of_name(text: str, match: re.Match[str]) -> bool:
    """``ZP-65`` and ``M12`` hold no measure."""
    before = text[match.start() - 1] if match.start() else ""
    return before.isascii() and (before.isalnum() or before in "-/._")

"""What an engine's log says of its end, in a line."""

import re
from collections.abc import Sequence

_PREFIX = re.compile(
    r"^(\(\w+( pid=\d+)?\)\s*)?"  # the process
    r"((DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+\d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\]\s*)?"  # level, time, place
)
_TELLING = re.compile(r"\b\w*(Error|Exception|Interrupt)\b(: |$)|^error: | out of memory|^Killed|[Nn]o such file")
# These say only that something was said before.
_IDLE = re.compile(r"See root cause above|See stack trace|Engine core initialization failed|resource_tracker")
_LINES = 2
_LONGEST = 400


def plain(line: str) -> str:
    """The line without the process, level and time that vLLM puts before it."""
    return _PREFIX.sub("", line).strip()


def telling(lines: Sequence[str]) -> str:
    """The errors among a log's last lines, the last few; its very last lines where none looks like one."""
    said = [text for text in map(plain, lines) if text]
    errors = [text for text in said if _TELLING.search(text) and not _IDLE.search(text)]
    chosen = list(dict.fromkeys(errors or said))[-_LINES:]
    text = " | ".join(chosen)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"

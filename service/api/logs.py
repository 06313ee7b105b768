"""What a serving process writes on stderr: lines for people, or a JSON object a line for a collector."""

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

from service.api import requests

SERVICE = "service"


class JsonLines(logging.Formatter):
    """``time``, ``level``, ``logger``, ``message``, ``request_id`` where there is one, and the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = requests.REQUEST_ID.get()
        if request_id is not None:
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info is not None:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class _PlainLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        return f"{moment:%H:%M:%S} {record.getMessage()} {requests.REQUEST_ID.get() or ''}".rstrip()


@contextmanager
def logging_as(
    kind: Literal["text", "json"], log_requests: bool, say: Callable[[str], None]
) -> Iterator[Callable[[str], None]]:
    """For the block, requests are logged as wished, and with ``json`` everything is. Yields how to say what goes on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if kind == "json" else _PlainLines())
    root, ours, own = logging.getLogger(), logging.getLogger(SERVICE), logging.getLogger(requests.__name__)
    before = root.handlers[:], ours.level, own.handlers[:], own.level, own.propagate
    own.setLevel(logging.INFO if log_requests else logging.WARNING)
    if kind == "json":
        root.handlers[:] = [handler]
        ours.setLevel(logging.INFO)
        say = ours.info
    else:
        own.handlers[:], own.propagate = [handler], False
    try:
        yield say
    finally:
        root.handlers[:], ours.level, own.handlers[:], own.level, own.propagate = before

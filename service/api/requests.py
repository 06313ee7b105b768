"""Every request has an id, which the client may choose, and a line in the log that tells no word of what was asked."""

import logging
import re
import time
import uuid
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.counting import STRATEGY
from service.api.metrics import NONE, OTHER

logger = logging.getLogger(__name__)

HEADER = "X-Request-Id"
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered, for whatever is logged meanwhile."""

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines; not logged while they succeed."""

_ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,100}")
"""An id that could be mistaken for something else in a log is replaced by one of ours."""
_UNANSWERED = 499


class Requests:
    """The outermost layer: id in and out, and the log's line when the response is over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = Headers(scope=scope).get(HEADER, "")
        request_id = wanted if _ACCEPTED.fullmatch(wanted) else uuid.uuid4().hex
        status = _UNANSWERED
        started = time.perf_counter()

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        token = REQUEST_ID.set(request_id)
        try:
            await self._app(scope, receive, with_id)
        finally:
            # The path as it was declared, never the one that was asked for: that may hold names of documents.
            route = getattr(scope.get("route"), "path", OTHER)
            if route not in PROBES or status >= 400:
                fields = {
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "seconds": round(time.perf_counter() - started, 3),
                    "strategy": scope.get(STRATEGY, NONE),
                }
                logger.info("%(method)s %(route)s %(status)d %(seconds).3f s", fields, extra={"fields": fields})
            REQUEST_ID.reset(token)

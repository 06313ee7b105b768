"""What stands before every route, as plain ASGI middleware: how much may be sent, and the headers of every response.

Who may ask is decided behind it, at the door of ``identity``.
"""

import logging
import re
from collections.abc import MutableMapping
from typing import Any

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import refusal, unexpected

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1_000_000
MAX_HEADER_BYTES = 16_000
_UPLOADS = re.compile(r"/v1/collections/[^/]+/documents")

HEADERS = {
    # No inline script or style, nothing from elsewhere: documents and answers are not to be trusted.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """Around every route: headers, size, and the last resort for bugs."""

    def __init__(self, app: ASGIApp, max_body_bytes: int = MAX_BODY_BYTES, max_upload_bytes: int = 0) -> None:
        """``max_upload_bytes`` holds where files are uploaded, when it is the larger one."""
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_upload_bytes = max(max_body_bytes, max_upload_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, send_with_headers)
            return
        try:
            await self._app(scope, _limited(receive, self._max_bytes(scope)), send_with_headers)
        except Exception:
            # The path as it was declared: the one that was asked for holds users' words.
            logger.exception("unexpected error in %s %s", scope["method"], getattr(scope.get("route"), "path", "?"))
            if started:
                raise  # half a response is out: only a broken connection can still tell the client
            await JSONResponse(unexpected().model_dump(), 500)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        size = sum(len(name) + len(value) for name, value in scope["headers"]) + len(scope.get("query_string", b""))
        if size > MAX_HEADER_BYTES:
            return refusal(431, f"the request's headers are larger than {MAX_HEADER_BYTES} bytes", "too_large")
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        max_bytes = self._max_bytes(scope)
        if length.isdecimal() and int(length) > max_bytes:
            return refusal(413, _too_large(max_bytes), "too_large")
        return None

    def _max_bytes(self, scope: Scope) -> int:
        is_upload = scope["method"] == "POST" and _UPLOADS.fullmatch(scope["path"])
        return self._max_upload_bytes if is_upload else self._max_body_bytes


def _limited(receive: Receive, max_bytes: int) -> Receive:
    """Count what really comes, for a body may come in pieces without saying its length."""
    seen = 0

    async def limited() -> MutableMapping[str, Any]:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > max_bytes:
                raise HTTPException(413, _too_large(max_bytes))
        return message

    return limited


def _too_large(max_bytes: int) -> str:
    return f"the request's body is larger than {max_bytes} bytes"

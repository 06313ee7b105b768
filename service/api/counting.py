"""Counts every request, the refused ones too, by its route and the status it was answered with."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.metrics import NONE, OTHER, Metrics

STRATEGY = "domainqa.strategy"
"""Where a route puts the strategy it answered with, in the request's scope."""
_UNANSWERED = 499


class Counting:
    """The outermost layer of ours."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = _UNANSWERED

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # The path as it was declared, `/v1/collections/{collection}/...`, never the one that was asked for.
            route = getattr(scope.get("route"), "path", OTHER)
            self._metrics.requested(route, status, scope.get(STRATEGY, NONE))

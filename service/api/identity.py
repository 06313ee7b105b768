"""Who asks: the one door to every route, and what routes know of who came through it.

A request carries a key, or the service is open: bound to loopback, with no key ever made. Then the whole machine is
trusted, so a request must name this machine and come from no other page (``origins``). Everything is behind the door
but ``/healthz`` and the page's own files; it stands before routing, so a route that is added later is behind it too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rag.catalog import DEFAULT_TENANT, AccessKey, Catalog, Role
from rag.errors import DomainQAError
from rag.types import Collection
from rag.types import Scope as Visible
from service.api.buckets import Buckets
from service.api.errors import ForbiddenError, NotAuthenticatedError, RateLimitError, response_to
from service.api.metrics import Metrics
from service.api.origins import Origins
from service.api.threads import Threads
from service.keys import Verifier

PRINCIPAL = "domainqa.principal"
"""Where the door puts who came through, in the request's scope."""

OPEN_PATHS = ("/", "/healthz")
OPEN_FOLDER = "/static/"

_RANKS: dict[Role, int] = {"reader": 0, "editor": 1, "admin": 2}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what for. Without a key: the user of this machine, who may do everything in the default tenant."""

    tenant: str = DEFAULT_TENANT
    key_id: str | None = None
    role: Role = "admin"
    collections: frozenset[str] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def may_see(self, collection: str) -> bool:
        """Whether a collection of that name in its tenant exists for it."""
        return self.collections is None or collection in self.collections

    def may_act_as(self, role: Role) -> bool:
        return _RANKS[self.role] >= _RANKS[role]

    @property
    def scope(self) -> Visible:
        return Visible(self.tenant, self.collections)

    @property
    def is_operator(self) -> bool:
        """Whether it may see how the service as a whole is doing, over all tenants."""
        return self.role == "admin" and self.tenant == DEFAULT_TENANT


THIS_MACHINE = Principal()


def principal_of(request: Request) -> Principal:
    """The dependency of every route: who came through the door."""
    principal = request.scope[PRINCIPAL]
    assert isinstance(principal, Principal)
    return principal


def _at_least(role: Role) -> Callable[[Principal], Principal]:
    def check(principal: "Caller") -> Principal:
        if not principal.may_act_as(role):
            raise ForbiddenError(f"this needs a key with the role {role}; the key in use is a {principal.role}'s")
        return principal

    return check


def _operator(principal: "Caller") -> Principal:
    if not principal.is_operator:
        raise ForbiddenError(f"this needs a key with the role admin in the tenant {DEFAULT_TENANT}")
    return principal


Caller = Annotated[Principal, Depends(principal_of)]
"""In a route's parameters: anybody who came through the door."""
Editor = Annotated[Principal, Depends(_at_least("editor"))]
"""Who may change documents; others get 403."""
Admin = Annotated[Principal, Depends(_at_least("admin"))]
"""Who may do everything within the tenant."""
Operator = Annotated[Principal, Depends(_operator)]
"""Who may see how the service as a whole is doing."""


def collection_for(catalog: Catalog, caller: Principal, name: str) -> Collection:
    """The collection, else ``NotFoundError``, which says nothing of those that the caller may not see."""
    return catalog.collection(name, caller.tenant, caller.collections)


class Door:
    """Lets a request through with its ``Principal``, or refuses it before its body is read."""

    def __init__(
        self,
        app: ASGIApp,
        verifier: Verifier,
        origins: Origins | None,
        buckets: Buckets,
        metrics: Metrics,
    ) -> None:
        """``origins`` are whom to trust while there are no keys; ``None`` demands keys whether there are any or not."""
        self._app = app
        self._verifier = verifier
        self._origins = origins
        self._buckets = buckets
        self._metrics = metrics
        # Apart from the routes' threads: whoever has no key must not wait behind searches, nor make them wait.
        self._threads = Threads(2)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        assert scope["type"] == "http", "there are no websockets, which would need a door of their own"
        is_open = scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDER)
        try:
            if self._origins is not None and not await self._keys_exist(is_open):
                refused = self._origins.refusal(scope)
                if refused is not None:
                    await refused(scope, receive, send)
                    return
                scope[PRINCIPAL] = THIS_MACHINE
            elif not is_open:
                scope[PRINCIPAL] = principal = await self._principal(scope)
                self._check_rate(principal)
        except DomainQAError as error:
            await response_to(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _keys_exist(self, is_open: bool) -> bool:
        try:
            return await self._threads.run(self._verifier.keys_exist)
        except DomainQAError:
            if is_open:
                return True  # that the process lives can be told without the catalog
            raise

    async def _principal(self, scope: Scope) -> Principal:
        given = Headers(scope=scope).getlist("authorization")
        if not given:
            self._metrics.not_authenticated("missing")
            raise NotAuthenticatedError
        kind, _, text = given[0].partition(" ")
        key: AccessKey | None = None
        if len(given) == 1 and kind.lower() == "bearer":
            key = await self._threads.run(self._verifier.verify, text.strip())
        if key is None:
            self._metrics.not_authenticated("invalid")
            raise NotAuthenticatedError
        return Principal(key.tenant, key.id, key.role, key.collections, key.requests_per_minute, key.tokens_per_minute)

    def _check_rate(self, principal: Principal) -> None:
        if principal.key_id is None or principal.requests_per_minute is None:
            return
        wait_s = self._buckets.take(principal.key_id, "requests", principal.requests_per_minute, 1, 1)
        if wait_s:
            self._metrics.limited("requests")
            raise RateLimitError("requests", principal.requests_per_minute, wait_s)

"""Who asks. In this version the service is open: bound to loopback, and this machine's user may do everything."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends

from rag.catalog import DEFAULT_TENANT, Catalog
from rag.errors import NotFoundError
from rag.types import Collection
from service.api.errors import ForbiddenError

Role = Literal["reader", "editor", "admin"]

_RANKS: dict[Role, int] = {"reader": 0, "editor": 1, "admin": 2}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and what for."""

    tenant: str = DEFAULT_TENANT
    key_id: str | None = None
    role: Role = "admin"
    collections: frozenset[str] | None = None

    def may_see(self, collection: str) -> bool:
        """Whether a collection of that name in its tenant exists for it."""
        return self.collections is None or collection in self.collections

    def may_act_as(self, role: Role) -> bool:
        return _RANKS[self.role] >= _RANKS[role]


THIS_MACHINE = Principal()


def principal_of() -> Principal:
    """The dependency of every route."""
    return THIS_MACHINE


def _at_least(role: Role) -> Callable[[Principal], Principal]:
    def check(principal: "Caller") -> Principal:
        if not principal.may_act_as(role):
            raise ForbiddenError(f"this needs a key with the role {role}; the key in use is a {principal.role}'s")
        return principal

    return check


Caller = Annotated[Principal, Depends(principal_of)]
"""In a route's parameters: anybody."""
Editor = Annotated[Principal, Depends(_at_least("editor"))]
"""Who may change documents; others get 403."""
Admin = Annotated[Principal, Depends(_at_least("admin"))]
"""Who may do everything within the tenant."""


def collection_for(catalog: Catalog, caller: Principal, name: str) -> Collection:
    """The collection, else ``NotFoundError``, which says nothing of those that the caller may not see."""
    if not caller.may_see(name):
        raise NotFoundError(f"there is no collection {name!r}")
    return catalog.collection(name, caller.tenant)

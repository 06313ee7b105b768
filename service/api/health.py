"""``GET /healthz``: the process answers. ``GET /readyz``: it can answer questions, or which part can't.

The first says nothing else and needs no key.
"""

from fastapi import APIRouter, Response

from rag.build import Library
from service.api.circuit import Circuit
from service.api.identity import Caller
from service.api.schemas import Health, Readiness
from service.api.threads import Threads


def health_routes(library: Library, circuit: Circuit) -> APIRouter:
    router = APIRouter()
    # Apart from the other routes' threads: a probe must not wait behind searches.
    threads = Threads(1)

    @router.get("/healthz")
    async def healthz() -> Health:
        return Health()

    @router.get("/readyz", responses={503: {"model": Readiness, "description": "A part is not ready."}})
    async def readyz(response: Response, caller: Caller) -> Readiness:
        parts = await threads.run(library.readiness) | {"circuit": circuit.readiness()}
        ready = all(state == "ok" for state in parts.values())
        if not ready:
            response.status_code = 503
        if not caller.is_operator:
            # Reasons name files, models and other tenants' collections.
            parts = {name: "ok" if state == "ok" else "not ready" for name, state in parts.items()}
        return Readiness(status="ready" if ready else "not ready", parts=parts)

    return router

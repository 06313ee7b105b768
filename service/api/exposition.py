"""``GET /metrics``: what is measured, over all tenants, and so for the operator alone."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.identity import Operator
from service.api.metrics import Metrics


def metric_routes(metrics: Metrics) -> APIRouter:
    # Not in openapi.json, which describes what clients of the API use.
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    async def exposition(caller: Operator) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router

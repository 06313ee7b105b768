"""openapi.json describes what is really sent."""

import pytest

from service.api.app import create_app

ROUTES = {
    ("post", "/v1/chat/completions"): "ChatCompletion",
    ("get", "/v1/models"): "ModelList",
    ("get", "/v1/collections"): "CollectionList",
    ("post", "/v1/search"): "SearchResult",
    ("get", "/v1/collections/{collection}/documents/{document_id}"): "DocumentOut",
    ("get", "/healthz"): "Health",
    ("get", "/readyz"): "Readiness",
}


@pytest.fixture
def schema(scripts):
    return create_app(scripts.library()).openapi()


def test_every_route_is_described_and_no_other(schema):
    described = {(method, path) for path, methods in schema["paths"].items() for method in methods}
    assert described == set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_responses_are_declared(schema, method, path):
    responses = schema["paths"][path][method]["responses"]
    name = ROUTES[method, path]
    assert responses["200"]["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}
    assert "422" not in responses, "wrong requests are answered with 400"
    if path.startswith("/v1"):
        for family in ("4XX", "5XX"):
            error = responses[family]["content"]["application/json"]["schema"]
            assert error == {"$ref": "#/components/schemas/ErrorBody"}


def test_streams_are_declared(schema):
    content = schema["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
    assert "text/event-stream" in content


@pytest.mark.anyio
async def test_it_is_served(client_for, scripts):
    async with client_for(scripts.library()) as client:
        assert (await client.get("/openapi.json")).json()["info"]["title"] == "domainqa"

"""openapi.json describes what is really sent."""

import pytest

from service.api.app import create_app

ROUTES = {
    ("post", "/v1/chat/completions"): "ChatCompletion",
    ("get", "/v1/models"): "ModelList",
    ("get", "/v1/collections"): "CollectionList",
    ("post", "/v1/collections"): "CollectionOut",
    ("delete", "/v1/collections/{collection}"): "Deleted",
    ("get", "/v1/collections/{collection}/documents"): "DocumentList",
    ("post", "/v1/collections/{collection}/documents"): "JobOut",
    ("delete", "/v1/collections/{collection}/documents/{document_id}"): "Deleted",
    ("get", "/v1/jobs"): "JobList",
    ("get", "/v1/jobs/{job_id}"): "JobDetail",
    ("post", "/v1/jobs/{job_id}/cancel"): "JobOut",
    ("get", "/v1/jobs/{job_id}/events"): None,
    ("get", "/v1/conversations"): "ConversationList",
    ("get", "/v1/conversations/{conversation_id}"): "ConversationDetail",
    ("patch", "/v1/conversations/{conversation_id}"): "ConversationOut",
    ("delete", "/v1/conversations/{conversation_id}"): "Deleted",
    ("post", "/v1/feedback"): "FeedbackOut",
    ("post", "/v1/search"): "SearchResult",
    ("get", "/v1/collections/{collection}/documents/{document_id}"): "DocumentOut",
    ("get", "/healthz"): "Health",
    ("get", "/readyz"): "Readiness",
}
STATUSES = {("post", "/v1/collections"): "201", ("post", "/v1/collections/{collection}/documents"): "202"}


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
    success = next(status for status in responses if status.startswith("2"))
    assert success == STATUSES.get((method, path), "200")
    if name is None:
        assert "text/event-stream" in responses["200"]["content"]
    else:
        schema_of = responses[success]["content"]["application/json"]["schema"]
        assert schema_of == {"$ref": f"#/components/schemas/{name}"}
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

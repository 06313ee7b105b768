"""Every route there is, found by walking the application, stands behind the door and keeps tenants apart.

The walk takes the OpenAPI schema's operations and whatever else is mounted. A new route is walked by itself; where it
needs something that cannot be made up (the id of a thing of another tenant's, a body that is no example of its schema)
the test fails and says what to add here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import Mount

from rag.build import Library
from rag.config import Settings
from rag.fakes import FakeEmbedder, ScriptedModel
from rag.question import Question
from rag.types import Scope
from service.api.app import create_app
from service.api.identity import Editor
from service.keys import new_key

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

OPEN = {("GET", "/healthz"), ("GET", "/"), ("HEAD", "/"), ("GET", "/static"), ("HEAD", "/static")}
"""All that needs no key."""
READING = {
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/search"),
    ("POST", "/v1/feedback"),
    ("PATCH", "/v1/conversations/{conversation_id}"),
    ("DELETE", "/v1/conversations/{conversation_id}"),
}
"""What a reader may call although its method is one that changes things."""
OPERATORS = {("GET", "/metrics")}
COLLECTION, DOCUMENT, WORD = "xyzzy-plans", "xyzzy.md", "xyzzygy"
QUESTION = f"What is {WORD}?"
PROBES = {"messages": [{"role": "user", "content": QUESTION}], "query": WORD}
"""Values for fields of bodies that a made-up one would not do for."""
NAMING = {"collection": "collection", "conversation": "conversation_id", "turn": "turn_id"}
"""Fields of bodies that name a thing which somebody owns, and what that is called in paths."""


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    schema: Mapping[str, Any] | None
    """What openapi.json says of it; ``None`` where it is not in there."""


def operations(app: FastAPI) -> list[Operation]:
    described = app.openapi()["paths"]
    found = [
        Operation(method.upper(), path, operation)
        for path, methods in described.items()
        for method, operation in methods.items()
    ]
    # What is deleted is gone for those that come after.
    found.sort(key=lambda each: each.method == "DELETE")
    known = {(each.method, each.path) for each in found}
    for route in _flat(app.routes):
        methods = ("GET", "HEAD") if isinstance(route, Mount) else getattr(route, "methods", None) or ()
        found += [Operation(method, route.path, None) for method in methods if (method, route.path) not in known]
    return found


def _flat(routes: Any) -> Iterator[Any]:
    """The routes themselves, those of included routers too, however these are kept."""
    for route in routes:
        if getattr(route, "path", None) is not None:
            yield route
        else:
            inner = getattr(route, "routes", None)
            if inner is None:
                inner = getattr(route.original_router, "routes", None)
            assert inner is not None, f"the walk does not know what {route!r} holds"
            yield from _flat(inner)


def example(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Any:
    """A value of the schema with nothing but what it requires, and a collection wherever one can be named."""
    if "$ref" in schema:
        return example(components[schema["$ref"].rpartition("/")[2]], components)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], components)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        made = {name: example(properties[name], components) for name in schema.get("required", ())}
        made |= {name: value for name, value in PROBES.items() if name in properties}
        return made | ({"collection": COLLECTION} if "collection" in properties else {})
    if kind == "array":
        return [example(schema["items"], components)]
    return {"string": "x", "integer": 1, "number": 1, "boolean": False}.get(str(kind))


async def send(
    client: httpx.AsyncClient, app: FastAPI, operation: Operation, ids: Mapping[str, str], key: str | None
) -> httpx.Response:
    path = operation.path
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, f"{path}: say in the fixture `foreign` which id of the other tenant's stands there"
    more: dict[str, Any] = {}
    content = (operation.schema or {}).get("requestBody", {}).get("content", {})
    components = app.openapi().get("components", {}).get("schemas", {})
    if "application/json" in content:
        more["json"] = _named(example(content["application/json"]["schema"], components), ids)
    elif "multipart/form-data" in content:
        more["files"] = [("files", ("x.md", b"# x\n", "text/markdown")), ("file", ("x.md", b"# x\n", "text/markdown"))]
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return await client.request(operation.method, path, headers=headers, **more)


def _named(body: Any, ids: Mapping[str, str]) -> Any:
    return body | {name: ids[thing] for name, thing in NAMING.items() if name in body}


def names_a_thing(operation: Operation, app: FastAPI) -> bool:
    """Whether it is asked of something that somebody owns: what ``NAMING`` has, or whatever has an id in the path."""
    if "{" in operation.path:
        return True
    content = (operation.schema or {}).get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    return not NAMING.keys().isdisjoint(example(schema, app.openapi()["components"]["schemas"]) or {})


@dataclass
class Ground:
    library: Library
    app: FastAPI
    client: httpx.AsyncClient
    foreign: Mapping[str, str]


@pytest.fixture
async def ground(tmp_path: Path):
    """Two tenants: acme's collection, its document and every word of it begin with xyzzy, its job and question too."""
    library = Library(
        tmp_path / "home", Settings(), embedder=FakeEmbedder(), chat_model=ScriptedModel(f"It is {WORD} [1].")
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / DOCUMENT).write_text(f"# Plans\n\nThe {WORD} is kept in the {WORD} room.\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "rules.md").write_text("# Rules\n\nReturns are accepted within thirty days.\n")
    library.ingest([tmp_path / "a"], COLLECTION, tenant="acme")
    library.ingest([tmp_path / "b"])
    collection = library.catalog.collection(COLLECTION, "acme")
    [document] = library.catalog.documents(collection)
    foreign = {"collection": COLLECTION, "document_id": document.id}
    foreign |= {"job_id": "job_acme", "conversation_id": "conv_acme", "turn_id": "turn_acme"}
    library.catalog.jobs.add(foreign["job_id"], collection, [(DOCUMENT, 1)], max_queued=1)
    # Ended, so that its events come to an end.
    library.catalog.jobs.cancel(foreign["job_id"], "acme")
    answer = await library.answerer.answer(Question(QUESTION, COLLECTION, scope=Scope("acme")))
    library.catalog.conversations.add_turn(
        foreign["conversation_id"], foreign["turn_id"], COLLECTION, answer, "acme", new=True
    )
    app = create_app(library)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        yield Ground(library, app, client, foreign)
    await library.aclose()


def closed(app: FastAPI) -> list[Operation]:
    return [each for each in operations(app) if (each.method, each.path) not in OPEN]


async def test_the_walk_finds_what_there_is(ground: Ground) -> None:
    found = {(each.method, each.path) for each in operations(ground.app)}
    assert found >= OPEN | READING | OPERATORS | {("GET", "/openapi.json"), ("GET", "/readyz"), ("GET", "/v1/models")}


async def test_no_route_answers_without_a_good_key(ground: Ground, issue) -> None:
    now = datetime.now(UTC)
    good = issue(ground.library, "admin")
    bad = {
        "none": None,
        "unknown": new_key().text,
        "another secret": good[:17] + new_key().text[17:],
        "revoked": issue(ground.library, "admin", revoked_at=now),
        "expired": issue(ground.library, "admin", expires_at=now - timedelta(seconds=1)),
        "no form": "none",
    }
    bodies = set()
    for operation in closed(ground.app):
        for what, key in bad.items():
            response = await send(ground.client, ground.app, operation, ground.foreign, key)
            assert response.status_code == 401, (operation.method, operation.path, what)
            if operation.method != "HEAD":
                bodies.add(response.content)
    assert len(bodies) == 1, "the refusal tells something"


async def test_the_open_routes_tell_nothing(ground: Ground, issue) -> None:
    issue(ground.library)
    for method, path in OPEN:
        response = await ground.client.request(method, path if path != "/static" else "/static/app.js")
        assert response.status_code == 200
        assert "xyzzy" not in response.text
        assert "0." not in response.text or path != "/healthz", "nor the version"
    for path in ("/static/../openapi.json", "/static/%2e%2e/v1/models", "//v1/models", "/healthz/", "/healthz/x"):
        response = await ground.client.get(path)
        assert response.status_code in (401, 404), path
        assert "openapi" not in response.text


async def test_a_reader_changes_nothing(ground: Ground, issue) -> None:
    reader = issue(ground.library, "reader", tenant="acme")
    for operation in closed(ground.app):
        which = (operation.method, operation.path)
        response = await send(ground.client, ground.app, operation, ground.foreign, reader)
        if which in OPERATORS or (operation.method not in ("GET", "HEAD", "OPTIONS") and which not in READING):
            assert response.status_code == 403, which
            assert response.json()["error"]["code"] == "insufficient_permissions"
        else:
            assert response.status_code == 200, (which, response.text)


async def test_the_owner_finds_its_documents(ground: Ground, issue) -> None:
    """What the next test does not find is there."""
    owner = issue(ground.library, "reader", tenant="acme")
    texts = ""
    for operation in closed(ground.app):
        if operation.method == "GET" or (operation.method, operation.path) in READING:
            texts += (await send(ground.client, ground.app, operation, ground.foreign, owner)).text
    assert COLLECTION in texts
    assert DOCUMENT in texts
    assert f"The {WORD} is kept" in texts


@pytest.mark.parametrize("role", ["reader", "admin"])
@pytest.mark.parametrize("who", [{"tenant": "default"}, {"tenant": "acme", "collections": frozenset({"other"})}])
async def test_another_tenants_collection_is_not_there(ground: Ground, issue, who, role) -> None:
    stranger = issue(ground.library, role, **who)
    for operation in closed(ground.app):
        which = (operation.method, operation.path)
        response = await send(ground.client, ground.app, operation, ground.foreign, stranger)
        if response.status_code == 403:
            continue  # the test before says where
        if names_a_thing(operation, ground.app):
            nowhere = {name: f"not-there-{name}" for name in ground.foreign}
            missing = (await send(ground.client, ground.app, operation, nowhere, stranger)).text
            shown = response.text
            for name, value in ground.foreign.items():
                shown = shown.replace(value, nowhere[name])
            assert (response.status_code, shown) == (404, missing), which
        else:
            assert response.status_code < 300, (which, response.text)
            # Only the schema's own words are the same for all.
            assert "xyzzy" not in response.text, which
            assert "acme" not in response.text, which


async def test_an_id_of_another_tenant_is_not_there_in_an_own_collection(ground: Ground, issue) -> None:
    admin = issue(ground.library, "admin")
    mixed = {**ground.foreign, "collection": "default"}
    asked = [each for each in closed(ground.app) if "{collection}" in each.path and each.path.count("{") > 1]
    assert asked
    for operation in asked:
        response = await send(ground.client, ground.app, operation, mixed, admin)
        assert response.status_code == 404, (operation.method, operation.path)
        assert WORD not in response.text


@pytest.mark.parametrize("who", [{"tenant": "default"}, {"tenant": "acme", "collections": frozenset({"other"})}])
async def test_what_is_anothers_cannot_be_named_where_naming_is_optional(ground: Ground, issue, who) -> None:
    headers = {"Authorization": f"Bearer {issue(ground.library, 'admin', **who)}"}
    for thing in ("job", "conversation"):
        found = ground.foreign[f"{thing}_id"]
        shown = [
            (await ground.client.get(f"/v1/{thing}s", params={"after": each}, headers=headers))
            for each in (found, "missing")
        ]
        if thing == "conversation":
            asked = {"messages": [{"role": "user", "content": "And?"}]}
            shown += [
                await ground.client.post("/v1/chat/completions", json=asked | {"conversation": each}, headers=headers)
                for each in (found, "missing")
            ]
        assert {each.status_code for each in shown} == {404}
        assert len({each.text.replace(found, "missing") for each in shown}) == 1
    [conversation] = ground.library.catalog.conversations.page("acme")
    assert conversation.turns == 1


async def test_a_flaw_that_is_planted_is_found(ground: Ground, issue) -> None:
    """The walk itself: a route that anybody may call, and one that forgets to ask for an editor."""
    reader = issue(ground.library, "reader")

    @ground.app.post("/v1/planted")
    async def planted() -> None: ...

    @ground.app.delete("/v1/planted", include_in_schema=False)
    async def guarded(caller: Editor) -> None: ...

    ground.app.openapi_schema = None
    found = {(each.method, each.path): each for each in operations(ground.app)}
    for which in (("POST", "/v1/planted"), ("DELETE", "/v1/planted")):
        assert (await send(ground.client, ground.app, found[which], {}, None)).status_code == 401
    answers = {
        method: (await send(ground.client, ground.app, found[method, "/v1/planted"], {}, reader)).status_code
        for method in ("POST", "DELETE")
    }
    assert answers == {"POST": 200, "DELETE": 403}

"""Who may ask: only this machine's names as host, only our own page as origin, only bodies of a decent size."""

import pytest

from service.api.guarding import MAX_BODY_BYTES

pytestmark = pytest.mark.anyio
SEARCH = {"query": "torque"}


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9000", "[::1]", "[::1]:8080"]
)
async def test_names_of_this_machine_are_answered(client_for, scripts, host):
    async with client_for(scripts.library()) as client:
        assert (await client.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example:8080", "", "::1", "[::1"],
)
async def test_other_names_are_refused(client_for, scripts, host):
    async with client_for(scripts.library()) as client:
        response = await client.get("/v1/models", headers={"Host": host})
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "host"


async def test_the_configured_host_is_answered(client_for, scripts):
    library = scripts.library()
    server = library.settings.server.model_copy(update={"host": "127.0.0.2"})
    library.settings = library.settings.model_copy(update={"server": server})
    async with client_for(library) as client:
        assert (await client.get("/healthz", headers={"Host": "127.0.0.2:8080"})).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "http://localhost:8080"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:8080.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/v1/search", "/v1/chat/completions"])
async def test_posts_come_from_our_page_or_from_no_page(client_for, scripts, headers, status, path):
    library = scripts.library()
    body = SEARCH if path == "/v1/search" else {"messages": [{"role": "user", "content": "x"}]}
    async with client_for(library) as client:
        response = await client.post(path, json=body, headers=headers)
    assert response.status_code == status
    if status == 403:
        assert not library.searched
        assert not library.answerer.asked


async def test_large_bodies_are_refused_before_they_are_read(client_for, scripts):
    async with client_for(scripts.library()) as client:
        response = await client.post("/v1/search", json={"query": "x" * MAX_BODY_BYTES})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "too_large"


async def test_large_bodies_of_unknown_length_are_cut_off(client_for, scripts):
    sent = 0

    async def pieces():
        nonlocal sent
        yield b'{"query": "'
        for _ in range(1000):
            sent += 1
            yield b"x" * 10_000

    async with client_for(scripts.library()) as client:
        response = await client.post("/v1/search", content=pieces(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert sent <= MAX_BODY_BYTES // 10_000 + 1


async def test_a_long_body_within_the_limit_is_read(client_for, scripts):
    async with client_for(scripts.library()) as client:
        body = {"messages": [{"role": "user", "content": "x" * (MAX_BODY_BYTES - 200)}]}
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/static/app.js", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/static/nothing.js", 404),
        ("GET", "/static/../api/app.py", 404),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/search", 400),
    ],
)
async def test_every_response_has_the_headers_and_every_error_its_body(client_for, scripts, method, path, status):
    async with client_for(scripts.library()) as client:
        response = await client.request(method, path)
    assert response.status_code == status
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in response.headers
    if status >= 400:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}


async def test_a_bug_has_the_headers_too(client_for, scripts):
    library = scripts.library()
    library.strategies = lambda: 1 / 0
    async with client_for(library) as client:
        response = await client.get("/v1/models")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "content-security-policy" in response.headers


async def test_a_foreign_preflight_is_given_nothing(client_for, scripts):
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with client_for(scripts.library()) as client:
        response = await client.options("/v1/chat/completions", headers=headers)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]

"""What is let near the routes while there are no keys: this machine's names as host, our own page as origin, requests
of a decent size and form."""

import socket
from contextlib import suppress

import pytest

from service.api.guarding import MAX_BODY_BYTES, MAX_HEADER_BYTES
from service.api.origins import is_loopback

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
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8080",
        "",
        "::1",
        "[::1",
        "localhost.",
        "localhost.:8080",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::1%25lo]",
        "[::1].evil.example",
        "localhost:8080.evil.example",
        "localhost:evil.example",
        "localhost:pw@evil.example",
        "evil@localhost",
        "localhost:",
        "localhost:123456",
        "localhost:-1",
        "localhost:८०",
        "localhost, evil.example",
        "localhost/evil.example",
        "localhost evil.example",
        "localhost\tx",
        "ⓛocalhost",
    ],
)
async def test_other_names_are_refused(client_for, scripts, host):
    async with client_for(scripts.library()) as client:
        response = await client.get("/v1/models", headers=[(b"Host", host.encode())])
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
        ({"Origin": "NULL"}, 403),
        ({"Origin": "http://127.0.0.1:8080/"}, 403),
        ({"Origin": "http://127.0.0.1:8080@evil.example"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "HTTP://127.0.0.1:8080"}, 200),
        ({"Origin": "file://"}, 403),
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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "0:0:0:0:0:0:0:1"])
def test_addresses_of_this_machine_alone(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "LOCALHOST.", "localhost.example", "127.1", "*"])
def test_addresses_of_others(host):
    assert not is_loopback(host)


async def test_two_hosts_are_none(client_for, scripts):
    async with client_for(scripts.library()) as client:
        for hosts in (("localhost", "evil.example"), ("evil.example", "localhost"), ("localhost", "localhost")):
            response = await client.get("/v1/models", headers=[("Host", host) for host in hosts])
            assert response.status_code == 403, hosts


async def test_headers_have_a_limit(client_for, scripts):
    async with client_for(scripts.library()) as client:
        fits = await client.get("/v1/models", headers={"X-Long": "x" * (MAX_HEADER_BYTES - 1000)})
        value = await client.get("/v1/models", headers={"X-Long": "x" * MAX_HEADER_BYTES})
        many = await client.get("/v1/models", headers=[(f"X-{number}", "y" * 10) for number in range(2000)])
        query = await client.get(f"/v1/models?x={'x' * MAX_HEADER_BYTES}")
    assert [each.status_code for each in (fits, value, many, query)] == [200, 431, 431, 431]
    assert value.json()["error"]["code"] == "too_large"


def over_the_wire(url: str, request: bytes) -> bytes:
    """What the server sends until it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        parts = []
        # A server that closes with something unread resets the connection.
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts)


HEAD = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (HEAD + b"\r\n", 200),
        # A header's value ends with its line, so what is smuggled in is a header of its own, or no request at all.
        (HEAD + b"X-A: a\rX-Injected: b\r\n\r\n", 400),
        (HEAD + b"X-A: a\x00b\r\n\r\n", 400),
        (HEAD + b"X-A : a\r\n\r\n", 400),
        (HEAD + b"X-A: a\r\n X-Injected: b\r\n\r\n", 200),
        (HEAD + b"Host: evil.example\r\n\r\n", 400),
        (HEAD + b"X-Long: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (b"GET /v1/models\r\nX-Injected: b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403),
        (b"GET /x%0d%0aX-Injected:%20b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nHost: a%0d%0aX-Injected:%20b\r\nConnection: close\r\n\r\n", 403),
    ],
)
def test_nothing_of_a_request_becomes_a_header_of_the_answer(running, scripts, request_bytes, status):
    with running(scripts.library(), http="h11") as url:
        answer = over_the_wire(url, request_bytes)
    head, _, _ = answer.partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] == str(status).encode(), answer
    assert b"\r\nx-injected" not in head.lower()
    assert answer.count(b"HTTP/1.1 ") == 1, "one request has one answer"


@pytest.mark.parametrize("where", ["model", "collection", "query"])
async def test_line_ends_in_a_field_stay_in_the_body(client_for, scripts, where):
    word = "x\r\nX-Injected: yes\r\n\r\n"
    async with client_for(scripts.library()) as client:
        if where == "query":
            response = await client.post("/v1/search", json={"query": word})
        elif where == "collection":
            response = await client.post("/v1/search", json={"query": "x", "collection": word})
        else:
            response = await client.post("/v1/chat/completions", json={"messages": [], "model": word})
    assert "x-injected" not in response.headers

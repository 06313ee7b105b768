"""The page's files: served as they are, packaged, and calling on nobody else."""

import re

import pytest

from service.api.page import WEB

FILES = sorted(path for path in WEB.iterdir() if path.is_file())


def test_the_files_are_there():
    assert {"index.html", "app.js", "style.css", "favicon.svg"} <= {path.name for path in FILES}


@pytest.mark.anyio
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
async def test_each_is_served_with_its_type(client_for, scripts, path):
    types = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    async with client_for(scripts.library()) as client:
        response = await client.get(f"/static/{path.name}")
        page = await client.get("/")
        head = await client.head("/")
    assert response.content == path.read_bytes()
    assert response.headers["content-type"].split(";")[0] == types[path.suffix]
    assert response.headers["cache-control"] == "no-cache"
    assert page.content == (WEB / "index.html").read_bytes()
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_none_calls_on_another_address(path):
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[\w/.-]*", path.read_text("utf-8")))
    assert addresses <= {"http://www.w3.org/2000/svg"}, "only the name of SVG's namespace, which nobody fetches"


def test_the_page_has_nothing_inline():
    html = (WEB / "index.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".js"], ids=lambda path: path.name)
def test_nothing_is_inserted_as_markup(path):
    script = path.read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function", script
    )

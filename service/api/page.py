"""``GET /``: the page, and its files below ``/static``."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

WEB = Path(__file__).parent.parent / "web"
# The browser asks each time whether its copy still holds, so an upgraded page is never mixed with an old one.
REVALIDATE = {"Cache-Control": "no-cache"}


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(REVALIDATE)
        return response


def install_page(app: FastAPI) -> None:
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page() -> FileResponse:
        return FileResponse(WEB / "index.html", headers=REVALIDATE)

    app.include_router(router)
    app.mount("/static", _Files(directory=WEB), name="static")

"""The dashboard and the API's documentation: static files, nothing from another host."""

from __future__ import annotations

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, FastAPI, Response
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

routes = APIRouter(include_in_schema=False)

STATIC = Path(__file__).parent.parent / "static"
# Only the files are used: Swagger UI, which FastAPI would load from another host.
_SWAGGER = Path(fastapi_offline.__file__).parent / "static"

_POLICY = (
    "default-src 'none'; connect-src 'self'; script-src 'self'; img-src 'self' data:; "
    "style-src 'self'{styles}; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def _page(name: str, styles: str = "") -> Response:
    policy = _POLICY.format(styles=styles)
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
    return FileResponse(STATIC / name, headers=headers, media_type="text/html")


@routes.get("/")
async def dashboard() -> Response:
    """Jobs, live."""
    return _page("index.html")


@routes.get("/docs")
async def docs() -> Response:
    """Every route, with a form to try it."""
    return _page("docs.html", styles=" 'unsafe-inline'")  # Swagger UI sets styles on elements


class _FreshFiles(StaticFiles):
    """Files that browsers ask for again after an upgrade."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response


def mount(app: FastAPI) -> None:
    """Serve the pages' own files."""
    app.include_router(routes)
    app.mount("/static", _FreshFiles(directory=STATIC), name="static")
    app.mount("/swagger", _FreshFiles(directory=_SWAGGER), name="swagger")

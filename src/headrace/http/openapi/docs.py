"""`/openapi.json`, and `/docs`, which shows it as one page without external resources."""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from headrace.http.routing.context import ApiDescription
from headrace.http.routing.route import PUBLIC, get, whole


def _document(request: Request) -> ApiDescription:
    document: ApiDescription = request.scope["state"]["services"].document
    return document


async def openapi(request: Request) -> Response:
    """The document."""
    return Response(_document(request).text, media_type="application/json")


async def page(request: Request) -> Response:
    """The document as a page."""
    shown = _document(request).page
    return HTMLResponse(shown.html, headers={"content-security-policy": shown.policy})


async def icon(request: Request) -> Response:
    """The favicon."""
    del request
    svg = resources.files("headrace.http").joinpath("docs_page", "icon.svg").read_bytes()
    return Response(svg, headers={"cache-control": "max-age=86400"}, media_type="image/svg+xml")


async def start_page(request: Request) -> Response:
    """Redirects to the page of the document."""
    del request
    return RedirectResponse("/docs")


ROUTES = (
    get(
        "/openapi.json",
        openapi,
        PUBLIC,
        name="openapi",
        summary="This document",
        responses=(
            whole("An OpenAPI document.", {"type": "object", "additionalProperties": True}),
        ),
    ),
    get(
        "/docs",
        page,
        PUBLIC,
        name="docs",
        summary="This document as a page",
        responses=(whole("A page.", {"type": "string"}, media="text/html"),),
    ),
    get("/", start_page, PUBLIC, name="start", summary="Redirect to the page", is_documented=False),
    get(
        "/favicon.ico",
        icon,
        PUBLIC,
        name="icon",
        summary="Icon of the pages",
        is_documented=False,
    ),
)

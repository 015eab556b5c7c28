"""`/openapi.json`, and `/docs`, which shows it as one page without any script or other host."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from headrace.http.openapi import ApiDocument
from headrace.http.route import PUBLIC, get, whole

#: Nothing is loaded from anywhere: the only style stands in the page, allowed by its hash-free
#: inline permission, and there is no script.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


def _document(request: Request) -> ApiDocument:
    document: ApiDocument = request.scope["state"]["services"].document
    return document


async def openapi(request: Request) -> Response:
    """The document."""
    return Response(_document(request).text, media_type="application/json")


async def page(request: Request) -> Response:
    """The document for people."""
    text = _page_text(_document(request))
    return HTMLResponse(text, headers={"content-security-policy": _POLICY})


async def start_page(request: Request) -> Response:
    """To the document for people."""
    del request
    return RedirectResponse("/docs")


@lru_cache(maxsize=1)
def _page_text(document: ApiDocument) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = resources.files("headrace.http").joinpath("docs.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(document=document.document, pretty=_pretty)


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


ROUTES = (
    get(
        "/openapi.json",
        openapi,
        PUBLIC,
        name="openapi",
        summary="This document",
        answers=(whole("An OpenAPI document.", {"type": "object", "additionalProperties": True}),),
    ),
    get(
        "/docs",
        page,
        PUBLIC,
        name="docs",
        summary="This document as a page",
        answers=(whole("A page.", {"type": "string"}, media="text/html"),),
    ),
    get("/", start_page, PUBLIC, name="start", summary="To the page", is_documented=False),
)

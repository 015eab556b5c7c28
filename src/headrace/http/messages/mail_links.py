"""`/c/`, `/o/` and `/u/`: links in mails. They need only a valid token.

GET of an unsubscribe link changes nothing: mail scanners follow every link of a mail.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from urllib.parse import parse_qs, quote

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.contacts.topics import Subscription
from headrace.domain.errors import ApiError
from headrace.http.routing.context import Services
from headrace.http.routing.media import read_body
from headrace.http.routing.route import ANY, PUBLIC, Body, Limits, get, post
from headrace.pipeline.messages.public_links import Visitor
from headrace.store.messages.feedback.unsubscribes import TOPICS_OFFERED_MAX, Left

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")
BODY_BYTES_MAX = 16 * 1024
#: Each topic on the page has two.
FIELDS_MAX = 2 * TOPICS_OFFERED_MAX + 10
_USER_AGENT_CHARACTERS_MAX = 500
_NO_STORE = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
_PAGE_HEADERS = {
    **_NO_STORE,
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-robots-tag": "noindex",
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}}
button{{font:inherit;padding:.5rem 1rem}}fieldset{{margin:2rem 0}}small{{display:block}}</style>
<main><h1>{title}</h1>{content}</main></html>
"""
_EVERYTHING = (
    '<form method="post"><button name="all" value="1">Unsubscribe from all mail</button></form>'
)
#: Every printable character of ASCII is kept as authored.
_AS_AUTHORED = "".join(map(chr, range(0x21, 0x7F)))


async def follow_click(request: Request) -> Response:
    """`GET /c/{token}`: redirects to the target, exactly as authored."""
    links = _services(request).mail.links
    target = await links.click(request.path_params["token"], _visitor(request))
    if target is None:
        return _not_found()
    headers = {**_NO_STORE, "location": quote(target, safe=_AS_AUTHORED)}
    return Response(status_code=302, headers=headers)


async def note_open(request: Request) -> Response:
    """`GET /o/{token}`: the pixel, the same for every token."""
    _services(request).mail.links.open(request.path_params["token"], _visitor(request))
    return Response(PIXEL, headers=_NO_STORE, media_type="image/gif")


async def show_leaving(request: Request) -> Response:
    """`GET /u/{token}`: a page that asks; changes nothing."""
    page = await _services(request).mail.links.leave_page(request.path_params["token"])
    if page is None:
        return _not_found()
    if not page.choices:
        # Without topics or contact, unsubscribing from everything is still offered.
        return _page("Unsubscribe", f"<p>You receive mail from this sender.</p>{_EVERYTHING}")
    own = next((one for one in page.choices if one.topic == page.topic), None)
    first = ""
    if own is not None and own.is_subscribed:
        name = escape(own.topic.name)
        button = f'<form method="post"><button>Unsubscribe from {name}</button></form>'
        first = f"<p>You are subscribed to {name}.</p>{button}"
    elif own is not None:
        first = f"<p>You are not subscribed to {escape(own.topic.name)}.</p>"
    return _page("Unsubscribe", f"{first}{_choices(page.choices)}{_EVERYTHING}")


def _choices(choices: Sequence[Subscription]) -> str:
    """A form with a switch for each topic."""
    rows = [
        f'<p><label><input type="checkbox" role="switch" name="topic" value="{one.topic.id}"'
        f"{' checked' if one.is_subscribed else ''}> {escape(one.topic.name)}</label>"
        f"<small>{escape(one.topic.description)}</small>"
        f'<input type="hidden" name="offered" value="{one.topic.id}"></p>'
        for one in choices
    ]
    return (
        '<form method="post"><fieldset><legend>Your subscriptions</legend>'
        f'{"".join(rows)}<button name="save" value="1">Save</button></fieldset></form>'
    )


async def leave(request: Request) -> Response:
    """`POST /u/{token}`: unsubscribes at once, by the button or the one click of RFC 8058."""
    form = await _form(request)
    is_one_click = form.get("List-Unsubscribe") == ["One-Click"]
    if "save" in form and not is_one_click:
        return await _save(request, form)
    left = await _services(request).mail.links.leave(
        request.path_params["token"],
        everything="all" in form,
        source="one_click" if is_one_click else "page",
    )
    if left is False:
        return _not_found()
    topic = left.topic if isinstance(left, Left) else None
    what = "this mail" if topic is None else escape(topic.name)
    if "all" in form:
        what = "all mail"
    return _page("You are unsubscribed", f"<p>You will no longer receive {what}.</p>")


async def _save(request: Request, form: dict[str, list[str]]) -> Response:
    choices = await _services(request).mail.links.save(
        request.path_params["token"],
        offered=frozenset(form.get("offered", ())),
        wanted=frozenset(form.get("topic", ())),
    )
    if choices is None:
        return _not_found()
    return _page("Your choices are saved", _choices(choices) if choices else "")


async def _form(request: Request) -> dict[str, list[str]]:
    """Fields of a form; an unreadable one still unsubscribes from the link's topic."""
    try:
        body = (await read_body(request)).decode("latin-1")
    except ApiError:
        return {}
    if "multipart/form-data" in request.headers.get("content-type", ""):
        return {"List-Unsubscribe": ["One-Click"]} if "One-Click" in body else {}
    try:
        return parse_qs(body, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        return {}


def _services(request: Request) -> Services:
    services: Services = request.scope["state"]["services"]
    return services


def _visitor(request: Request) -> Visitor:
    return Visitor(
        address=_services(request).client_address(request) or None,
        user_agent=request.headers.get("user-agent", "")[:_USER_AGENT_CHARACTERS_MAX],
        head=request.method == "HEAD",
    )


def _not_found() -> Response:
    return _page(
        "Invalid link", "<p>The link is incomplete or was not created by this service.</p>", 404
    )


def _page(title: str, content: str, status: int = 200) -> Response:
    text = _PAGE.format(title=title, content=content)
    return Response(text, status, _PAGE_HEADERS, "text/html")


_FORM = (Body(media=ANY, schema={"type": "string"}, required=False),)
_LIMITS = Limits(body_bytes_max=BODY_BYTES_MAX, unpacked_bytes_max=BODY_BYTES_MAX)

ROUTES = (
    get(
        "/c/{token}",
        follow_click,
        PUBLIC,
        name="followClick",
        summary="Follow a link in a mail",
        is_documented=False,
    ),
    get(
        "/o/{token}",
        note_open,
        PUBLIC,
        name="noteOpen",
        summary="Load the open-tracking pixel of a mail",
        is_documented=False,
    ),
    get(
        "/u/{token}",
        show_leaving,
        PUBLIC,
        name="showLeaving",
        summary="Show the unsubscribe page",
        is_documented=False,
    ),
    post(
        "/u/{token}",
        leave,
        PUBLIC,
        name="leave",
        summary="Unsubscribe from a topic or from everything",
        bodies=_FORM,
        limits=_LIMITS,
        is_documented=False,
    ),
)

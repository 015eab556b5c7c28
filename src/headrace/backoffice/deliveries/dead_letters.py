"""Dead letters: grouped by cause, listed, replayed or discarded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.deliveries.dead_letters import FILTERS, check_filter, check_reason
from headrace.domain.errors import ApiError
from headrace.domain.ids import uuid_text
from headrace.store.contract.dead_letters import Closed, Closing, DeadLetterFilter
from headrace.store.contract.deliveries import Subscriber

ROWS = 50
#: Groups on the first page; filters find the rest.
GROUPS_SHOWN_MAX = 200

_REJECTED = {
    Closing.CLOSED_BEFORE: "It was already replayed or discarded.",
    Closing.NOTHING_TO_REPLAY: "The event or delivery is no longer dead-lettered.",
    Closing.SUBSCRIBER_DELETED: "The subscriber was deleted, so it cannot be delivered.",
    Closing.SUBSCRIBER_DISABLED: "The subscriber is disabled. Enable it first, then replay.",
}


async def list_groups(visit: PageRequest) -> Response:
    """Group dead letters by failure, the largest group first."""
    groups = await visit.store.dead_letters.groups(visit.project.id, DeadLetterFilter())
    replays = await visit.store.replays.list(visit.project.id, before=None, limit=10)
    return visit.page(
        "dead_letters.html",
        groups=groups[:GROUPS_SHOWN_MAX],
        left_out=max(0, len(groups) - GROUPS_SHOWN_MAX),
        total=sum(group.count for group in groups),
        replays=replays,
        subscribers=await names_of_subscribers(visit),
    )


async def list_some(visit: PageRequest) -> Response:
    """List open dead letters, newest first."""
    wanted = read_filter(visit)
    page = await visit.store.dead_letters.list(
        visit.project.id, wanted, before=visit.query.number("before"), limit=ROWS
    )
    return visit.page(
        "dead_letter_list.html",
        rows=page.dead_letters,
        next_before=page.next_before,
        wanted=filter_fields(wanted),
        subscribers=await names_of_subscribers(visit),
    )


async def replay_one(visit: PageRequest) -> Response:
    """Put failed work back into the queue."""
    closed = await visit.store.dead_letters.replay(
        visit.project.id, _dead_letter_id(visit), visit.now_us, actor=visit.actor
    )
    return _closed(visit, closed, "Queued again; it will be retried.")


async def discard_one(visit: PageRequest) -> Response:
    """Discard it for good."""
    try:
        reason = check_reason(visit.form.text("reason"))
    except ValueError as error:
        return visit.go(_back(visit), f"Not discarded: the reason {error}.", kind="bad")
    closed = await visit.store.dead_letters.discard(
        visit.project.id, _dead_letter_id(visit), reason, visit.now_us, actor=visit.actor
    )
    return _closed(visit, closed, "Discarded. The reason is in the trace.")


def _closed(visit: PageRequest, closed: Closed, done: str) -> Response:
    if closed.closing is Closing.NOT_FOUND:
        raise HTTPException(404)
    if closed.closing in _REJECTED:
        return visit.go(_back(visit), _REJECTED[closed.closing], kind="bad")
    return visit.go(_back(visit), done)


def _back(visit: PageRequest) -> str:
    back = visit.form.text("back")
    return visit.safe_address(back) if back else visit.project_url("/dead-letters")


def _dead_letter_id(visit: PageRequest) -> str:
    raw = read_uuid(visit.request.path_params["dead_letter"])
    if raw is None:
        raise HTTPException(404)
    return uuid_text(raw)


def read_filter(visit: PageRequest, fields: Any = None) -> DeadLetterFilter:
    """Filter of dead letters from the query or a form.

    Raises:
        HTTPException: 404; these values come from links and are never typed.
    """
    fields = visit.query if fields is None else fields
    given = {name: fields.text(name) for name in FILTERS if fields.text(name)}
    try:
        return msgspec.convert(check_filter(given), DeadLetterFilter)
    except ApiError:
        raise HTTPException(404) from None


def filter_fields(wanted: DeadLetterFilter) -> dict[str, str]:
    """The filter as fields of a link or form."""
    return {name: str(value) for name, value in msgspec.to_builtins(wanted).items()}


async def names_of_subscribers(visit: PageRequest) -> dict[str, str]:
    """Subscriber id -> URL or name of the handler."""
    webhooks: Sequence[Subscriber] = await visit.store.subscribers.list(
        visit.project.id, before=None, limit=200
    )
    handlers = await visit.store.subscribers.handlers()
    return {subscriber.id: subscriber.target for subscriber in (*webhooks, *handlers)}


SCREENS = (
    get("/projects/{project}/dead-letters", list_groups, Access.VIEWER),
    get("/projects/{project}/dead-letters/list", list_some, Access.VIEWER),
    post("/projects/{project}/dead-letters/{dead_letter}/replay", replay_one, Access.OPERATOR),
    post("/projects/{project}/dead-letters/{dead_letter}/discard", discard_one, Access.OPERATOR),
)

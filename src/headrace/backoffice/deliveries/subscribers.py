"""Subscribers: webhooks and handlers with their health, and one with its deliveries."""

from __future__ import annotations

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.shell.exchanges import attempts_of
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.domain.deliveries.dead_letters import PER_SECOND_MAX
from headrace.domain.deliveries.own_headers import MASK
from headrace.domain.ids import uuid_text
from headrace.pipeline.delivering.health import RECENT, Health, health_of
from headrace.store.contract.deliveries import (
    DeliveryState,
    Subscriber,
    SubscriberKind,
)
from headrace.store.deliveries.pauses import COUNTED_MAX

ROWS = 25
DELIVERIES_ROWS = 25
HANDLERS_SHOWN_MAX = 100


class Row(msgspec.Struct, frozen=True):
    """A subscriber in the list."""

    subscriber: Subscriber
    health: Health


async def list_subscribers(visit: PageRequest) -> Response:
    """List webhooks of the project, newest first, and the handlers that workers have loaded."""
    before = visit.query.number("before")
    webhooks = await visit.store.subscribers.list(visit.project.id, before=before, limit=ROWS + 1)
    handlers = await visit.store.subscribers.handlers() if before is None else ()
    shown = webhooks[:ROWS]
    return visit.page(
        "subscribers.html",
        webhooks=[await _row(visit, webhook) for webhook in shown],
        handlers=[await _row(visit, handler) for handler in handlers[:HANDLERS_SHOWN_MAX]],
        next_before=shown[-1].created_us if len(webhooks) > ROWS else None,
    )


async def _row(visit: PageRequest, subscriber: Subscriber) -> Row:
    recent = await visit.store.deliveries.list(
        visit.project.id, subscriber.id, before=None, limit=RECENT
    )
    return Row(subscriber, health_of(subscriber, recent, visit.now_us))


async def show_subscriber(visit: PageRequest) -> Response:
    """One subscriber: its subscription, its health, and every delivery with its attempts."""
    return await subscriber_page(visit, await find_subscriber(visit))


async def find_subscriber(visit: PageRequest) -> Subscriber:
    """The webhook or handler in the path.

    Raises:
        HTTPException: 404.
    """
    raw = read_uuid(visit.request.path_params["subscriber"])
    if raw is None:
        raise HTTPException(404)
    subscriber_id = uuid_text(raw)
    found = await visit.store.subscribers.get(visit.project.id, subscriber_id)
    if found is not None:
        return found
    for handler in await visit.store.subscribers.handlers():
        if handler.id == subscriber_id:
            return handler
    raise HTTPException(404)


async def subscriber_page(
    visit: PageRequest,
    subscriber: Subscriber,
    status: int = 200,
    *,
    secret: str = "",
    problems: dict[str, str] | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    """Render a subscriber's page, also after a change that shows a secret once."""
    before = visit.query.number("before")
    deliveries = await visit.store.deliveries.list(
        visit.project.id, subscriber.id, before=before, limit=DELIVERIES_ROWS + 1
    )
    rows = deliveries[:DELIVERIES_ROWS]
    waiting = None
    if subscriber.paused_us is not None or subscriber.resume_per_second is not None:
        waiting = await visit.store.deliveries.waiting(visit.project.id, subscriber.id)
    return visit.page(
        "subscriber.html",
        status,
        subscriber=subscriber,
        is_webhook=subscriber.kind is SubscriberKind.WEBHOOK,
        health=health_of(subscriber, rows[:RECENT], visit.now_us),
        waiting=waiting,
        waiting_max=COUNTED_MAX,
        per_second_max=PER_SECOND_MAX,
        deliveries=rows,
        attempts=attempts_of(rows, {subscriber.id: subscriber}),
        delivery_states={state.value: state.name.lower() for state in DeliveryState},
        next_before=rows[-1].number if len(deliveries) > DELIVERIES_ROWS else None,
        secret=secret,
        problems=problems or {},
        typed=typed or typed_of(subscriber),
    )


def typed_of(subscriber: Subscriber) -> dict[str, str]:
    """Values for the form of a webhook."""
    return {
        "url": subscriber.target,
        "events": " ".join(subscriber.events),
        "description": subscriber.description,
        "headers": "\n".join(f"{name}: {MASK}" for name in subscriber.header_names),
        "format": subscriber.format.value,
    }


SCREENS = (
    get("/projects/{project}/subscribers", list_subscribers, Access.VIEWER),
    get("/projects/{project}/subscribers/{subscriber}", show_subscriber, Access.VIEWER),
)

"""`GET /events/{id}/deliveries`: who got one event, with request and response of every attempt."""

from __future__ import annotations

from typing import Annotated

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.deliveries.attempt_requests import BODY_BYTES_MAX
from headrace.http.deliveries.webhook_responses import DeliveryResponse, delivery_fields
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.parameters import PAGE
from headrace.http.routing.path import not_found, path_uuid, read_uuid
from headrace.http.routing.route import get, page
from headrace.http.routing.schema import Id, about
from headrace.store.contract.deliveries import SubscriberKind


class DeliveryOfEventResponse(DeliveryResponse, kw_only=True):
    """One event for one subscriber, with what was sent."""

    subscriber_id: Id
    request_body: Annotated[
        str | None,
        about(
            f"The first {BODY_BYTES_MAX} bytes, made of the event as it is now; the same for all "
            "attempts. Null for handlers and deleted webhooks."
        ),
    ]
    request_body_bytes: Annotated[int | None, about("Length of the whole body.")]


async def list_deliveries_of_event(request: Request) -> Response:
    """`GET /events/{id}/deliveries`: in the order in which they were created."""
    context = context_of(request)
    event_id = path_uuid(request)
    services, limit = context.services, context.limit
    facts = await services.store.trace.facts(context.project_id, read_uuid(event_id))
    if facts is None:
        raise not_found()
    scope = f"deliveries of event {context.project_id} {event_id}"
    after = context.before(scope) or 0
    left = [one for one in facts.deliveries if one.number > after]
    shown, subscribers = left[:limit], {each.id: each for each in facts.subscribers}
    data = []
    for delivery in shown:
        subscriber = subscribers.get(delivery.subscriber_id)
        sent = None
        if subscriber is not None and subscriber.kind is SubscriberKind.WEBHOOK:
            body_format = subscriber.versions[-1].format
            sent = services.webhooks.request_body(facts.event, body_format)
        data.append(
            DeliveryOfEventResponse(
                **delivery_fields(delivery, subscriber),
                subscriber_id=delivery.subscriber_id,
                request_body=None if sent is None else sent.text,
                request_body_bytes=None if sent is None else sent.bytes,
            )
        )
    following = services.cursors.make(shown[-1].number, scope) if len(left) > limit else None
    return json_response({"data": data, "next_cursor": following})


ROUTES = (
    get(
        "/events/{id}/deliveries",
        list_deliveries_of_event,
        name="listDeliveriesOfEvent",
        summary="List the deliveries of an event",
        description="Each with the request and the response of its attempts, the oldest first.",
        parameters=PAGE,
        responses=(page(DeliveryOfEventResponse),),
    ),
)

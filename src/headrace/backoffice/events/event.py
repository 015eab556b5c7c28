"""One event: its timeline, deliveries and payload, and the available actions."""

from __future__ import annotations

import json
import shlex

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.events.payload import pretty, pretty_masked
from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.events.summary import summary_of
from headrace.backoffice.shell.exchanges import attempts_of
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.events.event import DeliveryStatus, Source, Status, StoredEvent
from headrace.domain.timestamps import parse, to_text
from headrace.pipeline.automations.explanation import explain_event
from headrace.pipeline.trace.entry import EntryType
from headrace.pipeline.trace.trace import trace_of
from headrace.store.contract.dead_letters import DeadLetterState
from headrace.store.contract.deliveries import DeliveryState, SubscriberKind

#: Colour of each kind of timeline entry.
_ENTRY_KINDS = {
    EntryType.PROCESSED.value: "good",
    EntryType.DELIVERED.value: "good",
    EntryType.CONTACT_CREATED.value: "good",
    EntryType.REPLAYED.value: "info",
    EntryType.RESENT.value: "info",
    EntryType.IDENTITY_CONFLICT.value: "warn",
    EntryType.KEY_REPEATED.value: "warn",
    EntryType.PROCESSING_FAILED.value: "bad",
    EntryType.DELIVERY_FAILED.value: "bad",
    EntryType.DEAD_LETTERED.value: "bad",
    EntryType.DISCARDED.value: "quiet",
    EntryType.SUBSCRIBER_SKIPPED.value: "quiet",
}


async def show_event(visit: PageRequest) -> Response:
    """Show everything known about one event."""
    event_id = read_uuid(visit.request.path_params["event"])
    facts = None
    if event_id is not None:
        facts = await visit.store.trace.facts(visit.project.id, event_id)
    if facts is None:
        raise HTTPException(404)
    trace = trace_of(facts)
    event = trace.event
    shown = visit.shows_personal_data
    explained = await explain_event(visit.store, visit.project.id, event.id)
    webhooks = [
        each for each in facts.subscribers if each.kind is SubscriberKind.WEBHOOK and each.enabled
    ]
    subscribers = {subscriber.id: subscriber for subscriber in facts.subscribers}
    reached = {delivery.subscriber_id for delivery in facts.deliveries}
    return visit.page(
        "event.html",
        automations=explained or (),
        event=event,
        status_name=Status(event.status).name.lower(),
        delivery_status=DeliveryStatus(event.delivery_status).name.lower()
        if event.delivery_status
        else "",
        source=Source(event.source).name.lower(),
        summary=summary_of(trace, facts),
        entries=[(parse(entry.at), entry) for entry in trace.entries],
        entry_kinds=_ENTRY_KINDS,
        deliveries=facts.deliveries,
        webhooks=webhooks,
        others=[each for each in webhooks if each.id not in reached],
        delivery_states={state.value: state.name.lower() for state in DeliveryState},
        subscribers=subscribers,
        attempts=attempts_of(facts.deliveries, subscribers),
        request_body=visit.backoffice.webhooks.request_body(event, BodyFormat.HEADRACE)
        if shown and any(each.id in reached for each in webhooks)
        else None,
        dead_letters=[
            letter for letter in facts.dead_letters if letter.state is DeadLetterState.OPEN
        ],
        payload=event.payload if shown else pretty_masked(event.payload),
        payload_text=pretty(event.payload) if shown else None,
        payload_bytes=len(event.payload.encode()),
        curl=curl_of(event) if shown and event.source != Source.SYSTEM else None,
        processed_us=facts.processed_us,
    )


def curl_of(event: StoredEvent) -> str:
    """A command that sends the event again as a new one: without its idempotency key."""
    who = {
        "contact_id": event.contact_id,
        "external_id": event.external_id,
        "email": event.email_original or event.email,
    }
    sent = {"event": event.event} | {name: value for name, value in who.items() if value}
    sent["occurred_at"] = to_text(event.occurred_us)
    head = json.dumps(sent, ensure_ascii=False)[:-1]
    body = f'{head}, "payload": {event.payload}}}'
    return (
        'curl -X POST "$HEADRACE_URL/events" \\\n'
        '  -H "Authorization: Bearer $HEADRACE_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)}"
    )


SCREENS = (get("/projects/{project}/events/{event}", show_event, Access.VIEWER),)

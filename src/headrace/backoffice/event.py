"""One event: its life as a timeline, its deliveries, its payload, and what can be done."""

from __future__ import annotations

import json
import shlex
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.event_search import read_uuid
from headrace.backoffice.personal import payload_shown
from headrace.backoffice.screen import Need, show
from headrace.backoffice.story import story_of
from headrace.backoffice.visit import Visit
from headrace.domain.events import Source, Status, StoredEvent
from headrace.domain.timestamps import parse, to_text
from headrace.pipeline.trace import trace_of
from headrace.pipeline.trace_entry import EntryType
from headrace.store.contract_dead_letters import DeadLetterState
from headrace.store.contract_delivery import DeliveryState

#: How an entry of the timeline is coloured.
_ENTRY_KINDS = {
    EntryType.PROCESSED.value: "good",
    EntryType.DELIVERED.value: "good",
    EntryType.CONTACT_CREATED.value: "good",
    EntryType.REPLAYED.value: "info",
    EntryType.IDENTITY_CONFLICT.value: "warn",
    EntryType.KEY_REPEATED.value: "warn",
    EntryType.PROCESSING_FAILED.value: "bad",
    EntryType.DELIVERY_FAILED.value: "bad",
    EntryType.DEAD_LETTERED.value: "bad",
    EntryType.DISCARDED.value: "quiet",
    EntryType.SUBSCRIBER_SKIPPED.value: "quiet",
}


async def show_event(visit: Visit) -> Response:
    """Everything that is known about one event."""
    event_id = read_uuid(visit.request.path_params["event"])
    facts = None
    if event_id is not None:
        facts = await visit.store.trace.facts(visit.project.id, event_id)
    if facts is None:
        raise HTTPException(404)
    trace = trace_of(facts)
    event = trace.event
    shown = visit.shows_personal_data
    return visit.page(
        "event.html",
        event=event,
        status=Status(event.status).name.lower(),
        source=Source(event.source).name.lower(),
        story=story_of(trace, facts),
        entries=[(parse(entry.at), entry) for entry in trace.entries],
        entry_kinds=_ENTRY_KINDS,
        deliveries=facts.deliveries,
        delivery_states={state.value: state.name.lower() for state in DeliveryState},
        subscribers={subscriber.id: subscriber for subscriber in facts.subscribers},
        dead_letters=[
            letter for letter in facts.dead_letters if letter.state is DeadLetterState.OPEN
        ],
        payload=payload_shown(event.payload, revealed=shown),
        payload_text=pretty(event.payload) if shown else None,
        payload_bytes=len(event.payload.encode()),
        curl=curl_of(event) if shown and event.source != Source.SYSTEM else None,
        processed_us=facts.processed_us,
    )


def pretty(payload: str) -> str:
    """The payload with indents; numbers keep the digits they were sent with."""
    try:
        value = json.loads(payload, parse_float=_Digits, parse_int=_Digits)
        return _indented(value)
    except (ValueError, RecursionError):
        return payload


class _Digits(str):
    """A number as it was written."""

    __slots__ = ()


def _indented(value: Any, depth: int = 0) -> str:
    inner, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, _Digits):
        return str(value)
    if isinstance(value, dict) and value:
        members = (
            f"{inner}{json.dumps(name, ensure_ascii=False)}: {_indented(item, depth + 1)}"
            for name, item in value.items()
        )
        return "{\n" + ",\n".join(members) + f"\n{outer}}}"
    if isinstance(value, list) and value:
        items = (f"{inner}{_indented(item, depth + 1)}" for item in value)
        return "[\n" + ",\n".join(items) + f"\n{outer}]"
    return json.dumps(value, ensure_ascii=False)


def curl_of(event: StoredEvent) -> str:
    """A command that sends the same event again, as a new one: without its idempotency key."""
    sent: dict[str, Any] = {"event": event.event}
    for name, value in (
        ("contact_id", event.contact_id),
        ("external_id", event.external_id),
        ("email", event.email_original or event.email),
    ):
        if value is not None:
            sent[name] = value
    sent["occurred_at"] = to_text(event.occurred_us)
    head = json.dumps(sent, ensure_ascii=False)[:-1]
    body = f'{head}, "payload": {event.payload}}}'
    return (
        'curl -X POST "$HEADRACE_URL/events" \\\n'
        '  -H "Authorization: Bearer $HEADRACE_KEY" \\\n'
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d {shlex.quote(body)}"
    )


SCREENS = (show("/projects/{project}/events/{event}", show_event, Need.VIEWER),)

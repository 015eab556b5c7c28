"""All data about a person as one JSON document, streamed while it is read.

It reads a page of events at a time, so memory does not grow with the document. A truncated document
is not valid JSON. The counts at its end equal those of an erasure's receipt.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from headrace.domain.contacts.contact import Contact, shown_email
from headrace.domain.deliveries.attempt_requests import read_response_headers
from headrace.domain.events.event import Source, Status
from headrace.domain.ids import uuid_text
from headrace.domain.timestamps import to_text
from headrace.pipeline.automations.run_document import (
    entry_document,
    rejected_document,
    run_exported,
)
from headrace.pipeline.messages.person_copy import message_view, suppression_view
from headrace.pipeline.processing.resolution_note import read_note
from headrace.pipeline.push.device_copy import device_view
from headrace.store.contract.dead_letters import DeadLetterState
from headrace.store.contract.deliveries import DeliveryState
from headrace.store.privacy.person_details import Details, counts_of
from headrace.store.privacy.person_export import (
    ExportPage,
    NamedRows,
    PersonExports,
    PersonFacts,
)
from headrace.store.privacy.rows import Subject, added

_encode = msgspec.json.encode


async def person_document(
    exports: PersonExports, facts: PersonFacts, *, mentions: bool = True
) -> AsyncIterator[bytes]:
    """The document in chunks; counted as an export in progress until its end.

    Args:
        mentions: whether events of others are searched for the person's names, which takes as long
            as reading all events of the project.
    """
    with exports.in_progress():
        async for piece in _pieces(exports, facts, mentions=mentions):
            yield piece


async def _pieces(
    exports: PersonExports, facts: PersonFacts, *, mentions: bool
) -> AsyncIterator[bytes]:
    subject = await exports.learned(facts.subject)
    yield b'{"data":' + _encode(_head(facts, subject)).removesuffix(b"}") + b',"events":['
    counts, examples = facts.counts, set[str]()
    between = b""
    async for known, page in exports.pages(subject):
        subject = known
        counts = added(counts, counts_of(page.details) | {"events": len(page.events)})
        examples |= {row[0] for row in page.details["catalog_examples"]}
        for event in _events(page):
            yield between + _encode(event)
            between = b","
    yield b'],"messages":['
    between = b""
    async for message in exports.messages(subject):
        yield between + _encode(message_view(message))
        between = b","
    yield b'],"automation_runs":['
    between = b""
    async for run in exports.runs(subject):
        yield between + _encode(run_exported(run))
        between = b","
    yield b'],"rejected_starts":['
    between = b""
    async for rejected in exports.rejected_starts(subject):
        yield between + _encode(rejected_document(rejected))
        between = b","
    entries = [entry_document(each) for each in await exports.entries(subject)]
    yield b'],"automation_entries":' + _encode(entries)
    devices = [device_view(each) for each in await exports.devices(subject)]
    yield b',"devices":' + _encode(devices)
    suppressions, about_messages = await exports.message_facts(subject)
    counts = added(counts, about_messages)
    yield b',"suppressions":' + _encode([suppression_view(each) for each in suppressions])
    named = await exports.named(subject)
    counts = added(counts, _counts(named, examples))
    yield b"," + _encode(_named(named)).removeprefix(b"{").removesuffix(b"}")
    if mentions:
        yield b',"mentions":['
        between = b""
        async for mention in exports.mentions(subject):
            yield between + _encode(mention)
            between = b","
        yield b"]"
    yield b',"counts":' + _encode(counts) + b"}}"


def _head(facts: PersonFacts, subject: Subject) -> dict[str, Any]:
    memberships = facts.memberships
    return {
        "contact": None if facts.contact is None else _contact(facts.contact),
        "contact_ids": subject.contact_ids,
        "identifiers": [
            *({"kind": kind, "value": value} for kind, value in facts.identifiers),
            *({"kind": kind, "value": value, "former": True} for kind, value in subject.learned),
        ],
        "topics": [
            {
                "topic_id": choice.topic_id,
                "topic_name": facts.names.get(choice.topic_id),
                "is_subscribed": choice.is_subscribed,
                "changed_at": to_text(choice.changed_us),
            }
            for choice in memberships.topics
        ],
        "opted_out_at": _time(memberships.opted_out_us),
        "audiences": [
            {
                "audience_id": audience_id,
                "audience_name": facts.names.get(audience_id),
                "entered_at": to_text(entered_us),
            }
            for audience_id, entered_us in memberships.audiences.items()
        ],
        "conflicts": [_pair(row) for row in facts.pairs],
        "merges": [_merge(row) for row in facts.merges],
        "erasures": [
            {"id": each.id, "status": each.status.value, "requested_at": to_text(each.created_us)}
            for each in facts.erasures
        ],
    }


def _contact(contact: Contact) -> dict[str, Any]:
    return {
        "id": contact.id,
        "external_id": contact.external_id,
        "email": shown_email(contact),
        "email_normalized": contact.email,
        "properties": contact.properties,
        "property_times": {
            name: to_text(stamp.at_us) for name, stamp in contact.property_times.items()
        },
        "created_at": to_text(contact.created_us),
        "updated_at": to_text(contact.updated_us),
    }


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else to_text(at_us)


def _pair(row: Sequence[Any]) -> dict[str, Any]:
    contact_id, other_id, events, external_ids, emails, first_us, last_us = row
    return {
        "contact_id": contact_id,
        "other_contact_id": other_id,
        "events": events,
        "fields": {"external_id": external_ids, "email": emails},
        "first_at": to_text(first_us),
        "last_at": to_text(last_us),
    }


def _merge(row: Sequence[Any]) -> dict[str, Any]:
    merge_id, contact_id, other_id, actor, created_us, undone_us, undone_by, snapshot = row
    return {
        "id": merge_id,
        "contact_id": contact_id,
        "from": other_id,
        "merged_by": actor,
        "merged_at": to_text(created_us),
        "undone_by": undone_by,
        "undone_at": _time(undone_us),
        # Both contacts before the merge, to undo it.
        "before": None if snapshot is None else msgspec.Raw(snapshot.encode()),
    }


def _events(page: ExportPage) -> list[dict[str, Any]]:
    details = _by_event(page.details)
    return [_event(row, details.get(row[0], {})) for row in page.events]


def _by_event(details: Details) -> dict[int, dict[str, list[Any]]]:
    """Rows by sequence and place."""
    found: dict[int, dict[str, list[Any]]] = {}
    for place, rows in details.items():
        if place == "catalog_examples":
            continue
        for sequence, group in groupby(rows, key=lambda row: row[0]):
            found.setdefault(sequence, {})[place] = list(group)
    return found


def _note(text: str, contact_id: str | None) -> Any:
    """What is noted about the contact, as JSON; also that of a newer release."""
    return read_note(text, contact_id) or msgspec.Raw(text.encode())


def _event(row: Sequence[Any], details: dict[str, list[Any]]) -> dict[str, Any]:
    _, event_id, name, source, contact_id, external_id, email, email_original, *rest = row
    key, occurred_us, received_us, api_key_id, request_id, payload, *outcome = rest
    resolved_id, status, attempts, last_error, resolution = outcome
    attempts_of = {
        number: list(group)
        for number, group in groupby(details.get("delivery_attempts", []), key=lambda row: row[1])
    }
    return {
        "id": uuid_text(bytes(event_id)),
        "event": name,
        "source": Source(source).name.lower(),
        "status": Status(status).name.lower(),
        "contact_id": resolved_id or contact_id,
        "external_id": external_id,
        "email": email_original or email,
        "payload": msgspec.Raw(payload.encode()),
        "occurred_at": to_text(occurred_us),
        "received_at": to_text(received_us),
        "idempotency_key": key,
        "api_key": api_key_id,
        "request_id": request_id,
        "attempts": attempts,
        "last_error": last_error,
        "resolution": None if not resolution else _note(resolution, resolved_id),
        "repeats": [
            {
                "at": to_text(row[1]),
                "api_key": row[2],
                "request_id": row[3],
                "mismatch": bool(row[4]),
            }
            for row in details.get("duplicate_requests", [])
        ],
        "processing_attempts": [
            {"number": row[1], "at": to_text(row[2]), "cause": row[4], "error": row[5]}
            for row in details.get("attempts", [])
        ],
        "conflicts": [
            {
                "contact_id": row[1],
                "other_contact_id": row[2],
                "field": row[3],
                "at": to_text(row[4]),
            }
            for row in details.get("conflicts", [])
        ],
        "dead_letters": [_dead_letter(row) for row in details.get("dead_letters", [])],
        "deliveries": [
            _delivery(row, attempts_of.get(row[1], [])) for row in details.get("deliveries", [])
        ],
    }


def _dead_letter(row: Sequence[Any]) -> dict[str, Any]:
    _, dead_letter_id, kind, subscriber_id, cause, error, attempts, *rest = row
    first_us, dead_us, state, closed_us, closed_by, reason, run_id = rest
    return {
        "id": dead_letter_id,
        "kind": kind,
        "subscriber_id": subscriber_id,
        "cause": cause,
        "error": error,
        "attempts": attempts,
        "first_failed_at": to_text(first_us),
        "dead_lettered_at": to_text(dead_us),
        "state": DeadLetterState(state).name.lower(),
        "closed_at": _time(closed_us),
        "closed_by": closed_by,
        "reason": reason,
        "run_id": run_id,
    }


def _delivery(row: Sequence[Any], attempts: list[Any]) -> dict[str, Any]:
    _, _, delivery_id, subscriber_id, state, attempt, created_us, finished_us, last_error = row
    return {
        "id": delivery_id,
        "subscriber_id": subscriber_id,
        "state": DeliveryState(state).name.lower(),
        "attempt": attempt,
        "created_at": to_text(created_us),
        "finished_at": _time(finished_us),
        "last_error": last_error,
        "attempts": [
            {
                "number": each[2],
                "at": to_text(each[3]),
                "cause": each[5],
                "error": each[6],
                "http_status": each[7],
                "excerpt": each[8],
                "response_headers": read_response_headers(each[9]),
            }
            for each in attempts
        ],
    }


def _named(rows: NamedRows) -> dict[str, Any]:
    return {
        "rejections": [
            {
                "id": str(row[0]),
                "message": row[1],
                "details": msgspec.Raw(row[2].encode()),
                "route": row[3],
                "body_shape": msgspec.Raw(row[4].encode()),
            }
            for row in rows.rejections
        ],
        "audit": [
            {"id": str(row[0]), "detail": msgspec.Raw(row[1].encode())} for row in rows.audit
        ],
        "catalog": {
            "paths": [{"event": event, "path": path} for event, path in rows.paths],
            "drift": [{"event": row[0], "path": row[2]} for row in rows.drift],
            "examples": [
                {"event": row[0], "example": msgspec.Raw(row[1].encode())} for row in rows.examples
            ],
        },
    }


def _counts(rows: NamedRows, examples: set[str]) -> dict[str, int]:
    """Rows by place, as a receipt counts them."""
    return {
        "rejections": len(rows.rejections),
        "audit": len(rows.audit),
        "catalog_paths": len(rows.paths) + len(rows.drift),
        # Those made from the person's events are counted with them.
        "catalog_examples": sum(row[0] not in examples for row in rows.examples),
    }

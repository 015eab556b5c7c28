"""Searches a project's events for the names of a person to forget.

It scans all events of the project that were stored when the erasure began, in slices, in order of
receipt: payloads have no index. A slice is read and searched first, so that the write lock is held
only for what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.contacts.contact import CONTACT_UPDATED
from headrace.domain.contacts.mentions import MASK, NameFinder
from headrace.domain.events.event import Source
from headrace.domain.ids import uuid_text
from headrace.store.contract.erasures import MENTIONS_LISTED_MAX, Mention, Mentions, Report
from headrace.store.engine.dialect import Statement, sql, to_sqlite
from headrace.store.engine.transaction import Transaction
from headrace.store.events.parts import from_parts, oldest_first, part_of, unindexed
from headrace.store.privacy.person_events import Place
from headrace.store.privacy.rows import Shared, StoredIdentity, Subject

#: Events of one slice, and bytes of their payloads together (more only for a single event): a
#: few milliseconds of searching.
EVENTS_MAX = 500
BYTES_MAX = 1024 * 1024

LAST = sql(
    "SELECT sequence FROM events WHERE project_id = $1 ORDER BY sequence DESC LIMIT 1",
    # Of all projects, which is as good an end.
    sqlite="SELECT max(sequence) FROM events WHERE ?1 IS NOT NULL",
)
_RANGE = "WHERE e.project_id = $1 AND e.sequence > $2 AND e.sequence <= $3"
_BOUNDS = f"{_RANGE} ORDER BY e.sequence"
_SIZE = "e.sequence, octet_length(e.payload)"
# Part by part on SQLite.
_IN_PARTS = (
    f"FROM {from_parts('events', 'e')} {_RANGE} AND p.part >= {part_of('$2')} "
    f"AND p.part <= {part_of('$3')} ORDER BY p.part, e.sequence LIMIT $4"
)
_REST = "AND q.sequence > $2 AND q.sequence <= $3"
SIZES = sql(
    f"SELECT {_SIZE} FROM events e {_BOUNDS} LIMIT $4",
    sqlite=to_sqlite(f"SELECT {_SIZE} {_IN_PARTS}"),
)
SIZES_REST = unindexed(_SIZE, _REST, "LIMIT $4")
_READ = (
    "e.sequence, e.lane, e.id, e.event, e.source, e.contact_id, e.external_id, e.email, "
    "{resolved}, e.received_us, coalesce(e.idempotency_key, ''), e.payload"
)
_READ_SQLITE = _READ.format(resolved="e.resolved_contact_id")
PAYLOADS = sql(
    f"SELECT {_READ.format(resolved='o.contact_id')} FROM events e "
    "LEFT JOIN event_states o ON o.lane = e.lane AND o.sequence = e.sequence "
    f"{_BOUNDS} LIMIT $4",
    # SQLite keeps the state of an event in the event's own row.
    sqlite=to_sqlite(f"SELECT {_READ_SQLITE} {_IN_PARTS}"),
)
PAYLOADS_REST = unindexed(_READ_SQLITE, _REST, "LIMIT $4")
_HOLD = sql(
    "SELECT payload, coalesce(idempotency_key, '') FROM events "
    "WHERE lane = $1 AND sequence = $2 FOR UPDATE"
)
_MASK = sql(
    "UPDATE events SET payload = $3, "
    "idempotency_key = CASE WHEN idempotency_key IS NULL THEN NULL ELSE $4 END "
    "WHERE lane = $1 AND sequence = $2"
)
_EXAMPLE = sql(
    "UPDATE catalog_names SET example = NULL, example_id = NULL "
    "WHERE project_id = $1 AND event = $2 AND example_id = $3"
)
# Responses and handler errors may repeat what was in the event.
_MASKED = f"CASE WHEN {{0}} IS NULL THEN NULL ELSE '{MASK}' END"


def _masking(table: str, change: str, rows: str, sqlite_rows: str, sqlite_table: str) -> Statement:
    return sql(
        f"UPDATE {table} SET {change} WHERE {rows}",
        sqlite=f"UPDATE {sqlite_table} SET {change} WHERE {sqlite_rows}",
    )


def _masking_of_event(table: str, column: str, sqlite_table: str = "") -> Statement:
    change = f"{column} = {_MASKED.format(column)}"
    rows = "lane = $1 AND sequence = $2"
    # On SQLite the sequence alone is the key, and not all tables have a lane.
    return _masking(table, change, rows, "sequence = ?2", sqlite_table or table)


_RESPONSES = (
    _masking(
        "delivery_attempts",
        f"excerpt = NULL, response_headers = NULL, error = {_MASKED.format('error')}",
        "(lane, delivery_number) IN "
        "(SELECT lane, number FROM deliveries WHERE lane = $1 AND sequence = $2)",
        "delivery_number IN (SELECT number FROM deliveries WHERE sequence = ?2)",
        "delivery_attempts",
    ),
    _masking_of_event("deliveries", "last_error"),
    _masking_of_event("event_states", "last_error", "events"),
    _masking_of_event("processing_attempts", "error"),
    _masking_of_event("dead_letters", "error"),
)


class Event(msgspec.Struct, frozen=True):
    """An event to search."""

    lane: int
    sequence: int
    id: bytes
    event: str
    source: int
    contact_id: str | None
    external_id: str | None
    email: str | None
    resolved_contact_id: str | None
    received_us: int
    #: Empty without one.
    idempotency_key: str
    payload: str

    def identity(self, project_id: int) -> StoredIdentity:
        """The identifiers in the event."""
        return StoredIdentity(
            self.sequence, project_id, self.contact_id, self.external_id, self.email
        )


class Rewritten(msgspec.Struct, frozen=True):
    """An event with the names masked."""

    payload: str
    idempotency_key: str
    #: Empty when nothing in it names the person.
    places: tuple[str, ...]


class Applied(msgspec.Struct, frozen=True):
    """Outcome of a slice."""

    report: Report
    #: System events about others that named the person.
    system_events: int


class Slice(msgspec.Struct, frozen=True):
    """Some events of the project."""

    #: Their number, and the sequence of the last.
    searched: int
    searched_to: int
    #: Those that name the person.
    found: list[Event]
    #: Whether no event is left to search.
    is_last: bool


class MentionSearch:
    """Finds and masks mentions of one person in events of others."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._finder = NameFinder(subject.values)

    async def read(self, tx: Transaction) -> Slice:
        """The next events after `subject.searched_to`."""
        subject = self._subject
        bounds = (subject.project_id, subject.searched_to, subject.search_end)
        sizes = oldest_first(
            await tx.rows(SIZES, *bounds, EVENTS_MAX),
            await tx.rows(SIZES_REST, *bounds, EVENTS_MAX),
            EVENTS_MAX,
        )
        room, count = BYTES_MAX, 0
        for _, size in sizes:
            if count and size > room:
                break
            room -= size
            count += 1
        if not count:
            return Slice(0, subject.search_end, [], is_last=True)
        rows = oldest_first(
            await tx.rows(PAYLOADS, *bounds, count),
            await tx.rows(PAYLOADS_REST, *bounds, count),
            count,
        )
        found = [event for event in (_event(row) for row in rows) if self.rewritten(event).places]
        last = rows[-1][0] if rows else subject.search_end
        return Slice(len(rows), last, found, is_last=count == len(sizes) < EVENTS_MAX)

    def rewritten(self, event: Event) -> Rewritten:
        """An event with the names masked.

        A system event about another contact that had the person's data, by a merge that was undone,
        loses all its values: it is unknown whose each of them was.
        """
        if self._is_shared(event):
            payload = without_changes(event.payload)
            if payload != event.payload:
                return Rewritten(payload, event.idempotency_key, ("payload.changes",))
        masked = self._finder.masked_json(event.payload)
        key = self._finder.masked_key(event.idempotency_key)
        places = tuple(f"payload.{place}" for place in masked.places)
        if key != event.idempotency_key:
            places = ("idempotency_key", *places)
        return Rewritten(masked.text, key, places)

    def _is_shared(self, event: Event) -> bool:
        if event.source != Source.SYSTEM or event.event != CONTACT_UPDATED:
            return False
        return any(_covers(shared, event) for shared in self._subject.shared)

    def mention(self, event: Event) -> Mention | None:
        """The mention in an event that names the person; None in the person's own event."""
        if self.is_own(event):
            return None
        return Mention(uuid_text(event.id), event.event, self.rewritten(event).places)

    def is_own(self, event: Event) -> bool:
        """Whether an event is the person's own, which an erasure would have removed by now."""
        return self._subject.means(
            event.identity(self._subject.project_id), event.resolved_contact_id
        )

    async def apply(
        self, tx: Transaction, part: Slice, report: Report, *, dry_run: bool
    ) -> Applied:
        """Mask mentions, except in a dry run; returns the report with all that was found.

        System events are always masked, customer events only on request.
        """
        searched = report.mentions.searched + part.searched
        mentions = msgspec.structs.replace(report.mentions, searched=searched)
        system_events = 0
        for event in part.found:
            by_us = event.source == Source.SYSTEM
            masks = not dry_run and (by_us or report.mask_mentions)
            if dry_run and self.is_own(event):
                continue
            places = self.rewritten(event).places
            if masks:
                places = await self._mask(tx, event)
            if places and by_us:
                system_events += 1
            elif places:
                mentions = _added(mentions, event, places, masked=masks)
        return Applied(msgspec.structs.replace(report, mentions=mentions), system_events)

    async def _mask(self, tx: Transaction, event: Event) -> tuple[str, ...]:
        place: Place = (event.lane, event.sequence)
        held = await tx.row(_HOLD, *place)
        if held is None:
            # Removed since, by retention or by another erasure.
            return ()
        now = msgspec.structs.replace(event, payload=held[0], idempotency_key=held[1])
        rewritten = self.rewritten(now)
        if not rewritten.places:
            return ()
        await tx.run(_MASK, *place, rewritten.payload, rewritten.idempotency_key)
        for statement in _RESPONSES:
            await tx.run(statement, *place)
        await tx.run(_EXAMPLE, self._subject.project_id, event.event, event.id)
        return rewritten.places


def _event(row: Sequence[Any]) -> Event:
    sequence, lane, event_id, *rest = row
    return Event(lane, sequence, bytes(event_id), *rest)


def _covers(shared: Shared, event: Event) -> bool:
    return (
        event.contact_id == shared.contact_id
        and shared.from_us <= event.received_us <= shared.to_us
    )


def without_changes(payload: str) -> str:
    """The payload of a `contact.updated` without the changes."""
    members = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    if "changes" in members:
        members["changes"] = msgspec.Raw(b"{}")
    return msgspec.json.encode(members).decode()


def _added(mentions: Mentions, event: Event, places: tuple[str, ...], *, masked: bool) -> Mentions:
    listed = mentions.listed
    if len(listed) < MENTIONS_LISTED_MAX:
        listed = (*listed, Mention(uuid_text(event.id), event.event, places))
    return msgspec.structs.replace(
        mentions, events=mentions.events + 1, masked=mentions.masked + masked, listed=listed
    )

"""Learns former identifiers of a person from the person's events, before they are removed.

A deleted contact's identifiers were deleted with it, and a changed address is in no contact any
more: events still have them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headrace.domain.catalog.paths import PathBook
from headrace.domain.catalog.shapes import shape_of
from headrace.domain.contacts.contact import CONTACT_UPDATED, IDENTIFIERS
from headrace.domain.email import normalize_email
from headrace.domain.events.event import Source
from headrace.domain.events.identity import IdentityType
from headrace.domain.events.placeholders import placeholders
from headrace.store.access.policies import read_policies
from headrace.store.contacts.contact_writes import by_id
from headrace.store.contacts.identifiers import Alias, owner_of
from headrace.store.contract.merges import ALIASES_MAX
from headrace.store.engine.transaction import Transaction
from headrace.store.privacy.person_events import (
    EventIdentity,
    Place,
    chunks_of_events,
    identities,
)
from headrace.store.privacy.rows import Subject

#: Paths of the catalog that are kept until the end, over all names of events.
PATHS_MAX = 5_000


async def learn(
    tx: Transaction, subject: Subject, places: Sequence[Place], *, paths: bool
) -> Subject:
    """The subject with the identifiers in some of its events.

    Args:
        paths: whether to keep the paths of their payloads.
    """
    names: dict[Alias, None] = {}
    ids: dict[str, None] = {}
    seen = {event: dict(counts) for event, counts in subject.paths.items()}
    for chunk in await chunks_of_events(tx, places):
        for event in await identities(tx, chunk):
            names |= dict.fromkeys(_names(subject, event))
            former = _former_id(subject, event)
            if former is not None:
                ids[former] = None
            if paths:
                _count_paths(seen, event)
    return msgspec.structs.replace(
        subject,
        contact_ids=(*subject.contact_ids, *await _former(tx, subject, ids)),
        learned=(*subject.learned, *await _of_nobody(tx, subject, names)),
        paths=seen,
    )


def _names(subject: Subject, event: EventIdentity) -> list[Alias]:
    """Current and former identifiers of the person in an event."""
    if event.source == Source.SYSTEM:
        return _changed(event) if event.contact_id in subject.contact_ids else []
    decided = _decided_by(event)
    if decided is None or event.resolved_contact_id not in subject.contact_ids:
        return []
    if decided[0] == IdentityType.EMAIL and event.email_original is not None:
        return [decided, (IdentityType.EMAIL, event.email_original)]
    return [decided]


def _changed(event: EventIdentity) -> list[Alias]:
    if event.event != CONTACT_UPDATED:
        return []
    changes: dict[str, Any] = msgspec.json.decode(event.payload).get("changes", {})
    return [
        (kind, value)
        for kind in IDENTIFIERS
        for value in changes.get(kind, {}).values()
        if isinstance(value, str)
    ]


def _decided_by(event: EventIdentity) -> Alias | None:
    """The identifier an event was resolved by, unless that is an id."""
    if event.contact_id is not None:
        return None
    if event.external_id is not None:
        return IdentityType.EXTERNAL_ID, event.external_id
    return None if event.email is None else (IdentityType.EMAIL, event.email)


def _former_id(subject: Subject, event: EventIdentity) -> str | None:
    """The unknown contact that an event with the person's identifier was resolved to, if any."""
    decided = _decided_by(event)
    if decided is None or event.source == Source.SYSTEM:
        return None
    kind, value = decided
    known = subject.external_ids if kind == IdentityType.EXTERNAL_ID else subject.emails
    resolved = event.resolved_contact_id
    return resolved if value in known and resolved not in subject.contact_ids else None


def _count_paths(seen: dict[str, dict[str, int]], event: EventIdentity) -> None:
    try:
        found = shape_of(event.payload, PathBook()).places
    except ValueError:
        return
    room = PATHS_MAX - sum(map(len, seen.values()))
    counts = seen.setdefault(event.event, {})
    for place in found:
        if place.path in counts or room > 0:
            room -= place.path not in counts
            counts[place.path] = counts.get(place.path, 0) + 1


async def _former(tx: Transaction, subject: Subject, ids: Iterable[str]) -> list[str]:
    """Former contacts that no longer exist, so that no other person is affected."""
    room = ALIASES_MAX - len(subject.contact_ids)
    return [
        each
        for each in list(ids)[: max(0, room)]
        if await by_id(tx, subject.project_id, each) is None
    ]


async def _of_nobody(tx: Transaction, subject: Subject, names: Iterable[Alias]) -> list[Alias]:
    """Identifiers that lead to no other contact today, and identify only one person."""
    new = [name for name in names if name not in subject.learned and name[1] not in subject.values]
    new = new[: max(0, ALIASES_MAX - len(subject.learned))]
    if not new:
        return []
    is_placeholder = placeholders(
        (await read_policies(tx, subject.project_id)).placeholder_identifiers
    )
    found = []
    for kind, value in new:
        wanted = _normalized(value) if kind == IdentityType.EMAIL else value
        if wanted is None or is_placeholder(IdentityType(kind), wanted):
            continue
        owner = await owner_of(tx, subject.project_id, IdentityType(kind), wanted)
        if owner is None or owner in subject.contact_ids:
            found.append((str(kind), value))
    return found


def _normalized(email: str) -> str | None:
    try:
        return normalize_email(email)
    except ValueError:
        return None

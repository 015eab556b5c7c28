"""What can be imported: where it goes, and what may become of a line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.cli.importing.sender import Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of lines."""

    #: Plural, for messages.
    name: str
    #: Takes a batch as newline-delimited JSON.
    path: str
    #: Scope of the key that is made for an import without a server.
    scope: str
    batch_lines: int
    #: Below what the server takes in one request, with room for what is added.
    batch_bytes: int
    #: Whether a line without an idempotency key is given one, so that none is stored twice.
    keyed: bool
    #: Names of the counts, in the order in which they are told.
    counts: tuple[str, ...]
    #: The count that a decision about a line adds to.
    count: Callable[[Decision], str]
    #: How the counts are told.
    told: str


def _count_event(decision: Decision) -> str:
    if decision.code:
        return "rejected"
    return "accepted" if decision.status == 202 else "deduplicated"


def _count_contact(decision: Decision) -> str:
    return "rejected" if decision.code else decision.outcome


EVENTS = Kind(
    name="events",
    path="/events/batch",
    scope="ingest",
    batch_lines=500,
    batch_bytes=4 * 1024 * 1024,
    keyed=True,
    counts=("accepted", "deduplicated", "mismatched", "rejected"),
    count=_count_event,
    told="{accepted} accepted, {deduplicated} duplicates, {rejected} rejected",
)
CONTACTS = Kind(
    name="contacts",
    path="/contacts/batch",
    scope="manage",
    batch_lines=500,
    batch_bytes=900 * 1024,
    keyed=False,
    counts=("created", "updated", "unchanged", "rejected"),
    count=_count_contact,
    told="{created} created, {updated} updated, {unchanged} unchanged, {rejected} rejected",
)

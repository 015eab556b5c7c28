"""What can be imported: its route, limits and possible results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.cli.importing.sender import Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of lines."""

    #: Plural, for messages.
    name: str
    #: Route that takes a batch as newline-delimited JSON.
    path: str
    #: Scope of the key created for an import without a server.
    scope: str
    batch_lines: int
    #: Below the server's limit for one request, with room for what is added.
    batch_bytes: int
    #: Whether lines without an idempotency key get one, so that none is stored twice.
    keyed: bool
    #: Names of the counts, in the order they are reported.
    counts: tuple[str, ...]
    #: The count that a decision about a line increments.
    count: Callable[[Decision], str]
    #: Text of the report.
    report: str


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
    report="{accepted} accepted, {deduplicated} duplicates, {rejected} rejected",
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
    report="{created} created, {updated} updated, {unchanged} unchanged, {rejected} rejected",
)

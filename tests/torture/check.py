"""Compares the responses to clients with what is stored."""

from __future__ import annotations

import uuid
from collections import Counter

import msgspec

from headrace.domain.events.event import Source, Status
from tests.torture.ledger import Ledger, Verdict
from tests.torture.rows import Rows

#: Examples of each kind of fault kept for the report.
EXAMPLES_MAX = 10

# Without events that the worker adds.
_SENT = "SELECT idempotency_key, id, payload FROM events WHERE source <> ?"
_FORGOTTEN = (
    "SELECT id FROM events WHERE status NOT IN (?, ?) AND NOT EXISTS (SELECT 1 FROM event_queue "
    "WHERE event_queue.project_id = events.project_id AND event_queue.sequence = events.sequence) "
    "AND NOT EXISTS (SELECT 1 FROM event_retries WHERE event_retries.sequence = events.sequence)"
)
_FINISHED = (int(Status.PROCESSED), int(Status.DEAD_LETTERED))


class Findings(msgspec.Struct, kw_only=True):
    """Faults by kind; a run without faults has only zeros and empty lists."""

    acknowledged: int = 0
    stored: int = 0
    #: Acknowledged but missing.
    lost: int = 0
    #: Stored more than once under one key.
    doubled: int = 0
    #: Answered with more than one id, or with another than the stored one.
    mismatched_ids: int = 0
    #: More than one 202 for one key.
    accepted_twice: int = 0
    #: Stored with other content than was sent.
    altered: int = 0
    #: Stored and never sent.
    invented: int = 0
    #: Neither finished nor waiting for the worker: never processed.
    forgotten: int = 0
    #: Faults in the worker's results, by name; checked after a run with a worker.
    processing: dict[str, int] = msgspec.field(default_factory=dict)
    #: Responses that no client may get, such as a 500.
    surprises: int = 0
    integrity: str = "ok"
    examples: list[str] = msgspec.field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing at all was found."""
        faults = (
            self.lost,
            self.doubled,
            self.mismatched_ids,
            self.accepted_twice,
            self.altered,
            self.invented,
            self.forgotten,
            self.surprises,
        )
        return not any(faults) and not self.processing and self.integrity == "ok"


def compare(ledger: Ledger, store: Rows) -> Findings:
    """Read the whole store, stopped or killed, and compare it with the ledger."""
    rows = store.select(_SENT, int(Source.SYSTEM))
    found = Findings(
        acknowledged=ledger.acknowledged,
        stored=len(rows),
        forgotten=len(store.select(_FORGOTTEN, *_FINISHED)),
        surprises=len(ledger.surprises),
        integrity=store.integrity(),
        examples=ledger.surprises[:EXAMPLES_MAX],
    )
    stored = {str(row[0]): (str(uuid.UUID(bytes=row[1])), str(row[2])) for row in rows}
    times = Counter(row[0] for row in rows)
    found.doubled = sum(count > 1 for count in times.values())
    for key in stored.keys() - ledger.entries.keys():
        found.invented += 1
        _example(found, f"{key} was never sent")
    for key, entry in ledger.entries.items():
        event_id, payload = stored.get(key, ("", ""))
        ids = {answered for _, answered in entry.answers}
        if entry.answers and not event_id:
            found.lost += 1
            _example(found, f"{key} is lost; answered {entry.answers}")
        elif ids - {event_id}:
            found.mismatched_ids += 1
            _example(found, f"{key} is stored as {event_id}; answered {entry.answers}")
        if sum(verdict is Verdict.ACCEPTED for verdict, _ in entry.answers) > 1:
            found.accepted_twice += 1
            _example(found, f"{key} was accepted twice; answered {entry.answers}")
        if event_id and payload != entry.payload:
            found.altered += 1
            _example(found, f"{key} is altered")
    return found


def _example(found: Findings, text: str) -> None:
    if len(found.examples) < EXAMPLES_MAX:
        found.examples.append(text)

"""Expected results of the worker, after enough time to finish."""

from __future__ import annotations

import msgspec

from headrace.domain.events.event import Source, Status
from tests.support.waiting import wait_until
from tests.torture.rows import Rows

#: For events accepted before the last kill.
DRAIN_SECONDS_MAX = 60.0

_UNFINISHED = f"status NOT IN ({Status.PROCESSED:d}, {Status.DEAD_LETTERED:d})"
_CREATED = (
    "SELECT contact_id, count(*) AS times FROM events "
    f"WHERE source = {Source.SYSTEM:d} AND event = 'sendrealm.contact.created' GROUP BY contact_id"
)
#: Each counts rows that must not exist.
_FAULTS = {
    "unfinished": f"SELECT count(*) FROM events WHERE {_UNFINISHED}",
    "left_in_line": (
        "SELECT (SELECT count(*) FROM event_queue) + (SELECT count(*) FROM event_retries)"
    ),
    "contacts_doubled": (
        "SELECT count(*) - count(DISTINCT project_id || '/' || external_id) FROM contacts"
    ),
    "contacts_missing": (
        "SELECT count(DISTINCT e.external_id) FROM events e "
        f"WHERE e.status = {Status.PROCESSED:d} AND e.external_id IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM contacts c WHERE c.project_id = e.project_id "
        "AND c.external_id = e.external_id AND c.id = e.resolved_contact_id)"
    ),
    "created_not_told_once": (
        f"SELECT count(*) FROM contacts c LEFT JOIN ({_CREATED}) t ON t.contact_id = c.id "
        "WHERE coalesce(t.times, 0) <> 1"
    ),
    "created_told_of_nobody": (
        f"SELECT count(*) FROM ({_CREATED}) WHERE contact_id NOT IN (SELECT id FROM contacts)"
    ),
    "dead_without_letter": (
        "SELECT count(*) FROM events e "
        f"WHERE e.status = {Status.DEAD_LETTERED:d} AND (SELECT count(*) FROM dead_letters d "
        "WHERE d.sequence = e.sequence AND d.state = 0) <> 1"
    ),
}


class Processed(msgspec.Struct, frozen=True, kw_only=True):
    """How processing ended."""

    events: int
    contacts: int
    dead_letters: int
    #: Name of each kind of fault found, and its count.
    faults: dict[str, int]


def wait_processed(store: Rows) -> None:
    """Wait until the running worker has finished every event."""
    sql = f"SELECT 1 FROM events WHERE {_UNFINISHED} LIMIT 1"
    wait_until(lambda: not store.select(sql), "every event is processed", DRAIN_SECONDS_MAX)


def check_processing(store: Rows) -> Processed:
    """Read the whole store."""

    def count(sql: str) -> int:
        return int(store.select(sql)[0][0])

    return Processed(
        events=count("SELECT count(*) FROM events"),
        contacts=count("SELECT count(*) FROM contacts"),
        dead_letters=count("SELECT count(*) FROM dead_letters"),
        faults={name: number for name, sql in _FAULTS.items() if (number := count(sql))},
    )

"""Runs and devices of a person, erased with the messages to this person.

See `headrace.store.privacy.person_messages.PersonMessages`.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.store.automations.removal import remove_runs
from headrace.store.automations.run_rows import REJECTED, rejected_start
from headrace.store.automations.runs import find_run
from headrace.store.contract.automations import EntryRow, RejectedStart, RunDetail
from headrace.store.contract.push import DeviceCopy
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction
from headrace.store.messages.person_messages import PersonMessages
from headrace.store.privacy.person_messages import MessagePlace
from headrace.store.privacy.rows import Subject, added
from headrace.store.push.person_devices import (
    copy_devices,
    count_devices,
    erase_devices,
    has_devices,
)

#: The project, too: an id of a contact may be of another one.
_OF = "contact_id = ANY($1::text[]) AND project_id = $2"
RUNS = sql(f"SELECT id FROM automation_runs WHERE {_OF} ORDER BY contact_id, started_us LIMIT $3")
_TABLES = ("automation_inbox", "rejected_starts", "automation_entries")
COUNTS = {
    "automation_runs": sql(f"SELECT count(*) FROM automation_runs WHERE {_OF}"),
    "automation_notes": sql(
        "SELECT count(*) FROM automation_runs r "
        "JOIN automation_notes n ON n.lane = r.lane AND n.run_id = r.id "
        "WHERE r.contact_id = ANY($1::text[]) AND r.project_id = $2"
    ),
} | {table: sql(f"SELECT count(*) FROM {table} WHERE {_OF}") for table in _TABLES}
REMOVE = {table: sql(f"DELETE FROM {table} WHERE {_OF}") for table in _TABLES}

PAGE_OF_RUNS = sql(
    "SELECT id, started_us FROM automation_runs WHERE contact_id = $1 "
    "AND (started_us, id) > ($2, $3) AND project_id = $5 ORDER BY started_us, id LIMIT $4"
)
PAGE_OF_REJECTED = sql(
    f"SELECT {REJECTED} FROM rejected_starts WHERE contact_id = $1 AND contact_id IS NOT NULL "
    "AND sequence > $2 AND project_id = $4 ORDER BY sequence LIMIT $3"
)
ENTRIES = sql(
    "SELECT automation_id, entry_key, last_start_us, starts FROM automation_entries "
    f"WHERE {_OF} LIMIT $3"
)
#: Entries that an export lists at most.
_ENTRIES_MAX = 10_000


class PersonMessagesAndRuns(PersonMessages):
    """Messages to a person, and the person's runs and devices."""

    async def had_messages(
        self, tx: Transaction, project_id: int, contact_ids: Sequence[str]
    ) -> bool:
        if await super().had_messages(tx, project_id, contact_ids):
            return True
        if await has_devices(tx, project_id, contact_ids):
            return True
        return await tx.row(RUNS, list(contact_ids), project_id, 1) is not None

    async def erase(self, tx: Transaction, subject: Subject, limit: int) -> dict[str, int] | None:
        ids, project_id = list(subject.contact_ids), subject.project_id
        runs = [row[0] for row in await tx.rows(RUNS, ids, project_id, limit)]
        counts = await remove_runs(tx, runs) if runs else {}
        for table, statement in REMOVE.items():
            counts[table] = await tx.run(statement, ids, project_id)
        counts = added({}, counts)
        devices = await erase_devices(tx, project_id, ids, limit)
        others = (devices, await super().erase(tx, subject, limit))
        for each in others:
            counts = counts if each is None else added(counts, each)
        return None if not counts and others == (None, None) else counts

    async def count(self, tx: Transaction, subject: Subject) -> dict[str, int]:
        ids, project_id = list(subject.contact_ids), subject.project_id
        counts = {table: await tx.value(each, ids, project_id) for table, each in COUNTS.items()}
        counts = added(counts, await count_devices(tx, project_id, ids))
        return added(counts, await super().count(tx, subject))

    async def devices(self, tx: Transaction, subject: Subject) -> Sequence[DeviceCopy]:
        return await copy_devices(tx, subject.project_id, subject.contact_ids)

    async def runs(
        self, tx: Transaction, subject: Subject, after: MessagePlace, limit: int
    ) -> tuple[Sequence[RunDetail], MessagePlace | None]:
        if after.whose >= len(subject.contact_ids):
            return [], None
        whose = subject.contact_ids[after.whose]
        place = (whose, after.created_us, after.message_id)
        rows = await tx.rows(PAGE_OF_RUNS, *place, limit, subject.project_id)
        found = [await find_run(tx, row[0]) for row in rows]
        details = [each for each in found if each is not None]
        if len(rows) < limit:
            return details, MessagePlace(after.whose + 1)
        return details, MessagePlace(after.whose, rows[-1][1], rows[-1][0])

    async def rejected_starts(
        self, tx: Transaction, subject: Subject, after: MessagePlace, limit: int
    ) -> tuple[Sequence[RejectedStart], MessagePlace | None]:
        if after.whose >= len(subject.contact_ids):
            return [], None
        whose = subject.contact_ids[after.whose]
        rows = await tx.rows(PAGE_OF_REJECTED, whose, after.created_us, limit, subject.project_id)
        found = [rejected_start(row) for row in rows]
        if len(rows) < limit:
            return found, MessagePlace(after.whose + 1)
        return found, MessagePlace(after.whose, found[-1].sequence)

    async def entries(self, tx: Transaction, subject: Subject) -> Sequence[EntryRow]:
        rows = await tx.rows(ENTRIES, list(subject.contact_ids), subject.project_id, _ENTRIES_MAX)
        return [
            EntryRow(automation_id=a, entry_key=key, last_start_us=last_us, starts=starts)
            for a, key, last_us, starts in sorted(rows, key=lambda row: row[2])
        ]

"""Reads of runs and rejected starts."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.automations.running.runs import stable_id
from headrace.domain.contacts.contact import Contact
from headrace.store.automations.automations import find_automation, find_version
from headrace.store.automations.inputs import EVENT
from headrace.store.automations.run_rows import (
    COLUMNS,
    NOTE,
    REJECTED,
    key_of,
    note_row,
    read_state,
    rejected_start,
    run_row,
)
from headrace.store.automations.views import SENDS
from headrace.store.contacts.contact_writes import by_id
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contract.automations import (
    NOTES_MAX,
    RejectedStart,
    RunDetail,
    RunFilter,
    RunPage,
    RunRow,
)
from headrace.store.engine.dialect import Statement, sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.events.stored_events import stored_event
from headrace.store.messages.message_rows import find_message

_BEFORE = "(started_us, id) < ($2, $3) ORDER BY started_us DESC, id DESC LIMIT $4"
OF_AUTOMATION = sql(f"SELECT {COLUMNS} FROM automation_runs WHERE automation_id = $1 AND {_BEFORE}")
OF_STATUS = sql(
    f"SELECT {COLUMNS} FROM automation_runs WHERE automation_id = $1 AND status = $5 AND {_BEFORE}"
)
# For each id that leads to the contact.
OF_CONTACT = sql(f"SELECT {COLUMNS} FROM automation_runs WHERE contact_id = $1 AND {_BEFORE}")
GET = sql(f"SELECT {COLUMNS}, state FROM automation_runs WHERE lane = $1 AND id = $2")
NOTES = sql(
    f"SELECT {NOTE} FROM automation_notes WHERE lane = $1 AND run_id = $2 ORDER BY number LIMIT $3"
)
REJECTED_STARTS = sql(
    f"SELECT {REJECTED} FROM rejected_starts WHERE automation_id = $1 AND sequence < $2 "
    "ORDER BY sequence DESC LIMIT $3"
)
#: After every id.
_LAST_ID = "~"
#: Runs of a contact that are examined for a filter.
_EXAMINED_MAX = 1000
#: Runs of an automation that are examined for one page, in chunks.
EXAMINED_MAX = 10_000
_CHUNK = 500

#: Where a page of runs begins: before this time and id.
Place = tuple[int, str]


class Runs:
    """Runs of all projects, for reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self,
        project_id: int,
        automation_id: str,
        wanted: RunFilter,
        *,
        before: Place | None = None,
        limit: int,
    ) -> Sequence[RunRow] | None:
        """Runs of an automation as `page` has them; None when there is no such automation."""
        found = await self.page(project_id, automation_id, wanted, before=before, limit=limit)
        return None if found is None else found.rows

    async def page(
        self,
        project_id: int,
        automation_id: str,
        wanted: RunFilter,
        *,
        before: Place | None = None,
        limit: int,
    ) -> RunPage | None:
        """Runs of an automation, newest first; None when there is no such automation.

        No index has versions and steps: up to `EXAMINED_MAX` runs are compared for one page, which
        may then have less than `limit` rows and still be followed by others. Of a contact, the
        newest 1,000 runs are compared.
        """

        async def read(tx: Transaction) -> RunPage | None:
            if await find_automation(tx, project_id, automation_id) is None:
                return None
            place = before or (BIGINT_MAX, _LAST_ID)
            if wanted.contact_id is not None:
                contact = await by_id(tx, project_id, wanted.contact_id)
                ids = [wanted.contact_id] if contact is None else await ids_of(tx, contact.id)
                rows = await _of_contact(tx, ids, place, _EXAMINED_MAX)
                return _page([row for row in rows if _matches(row, automation_id, wanted)], limit)
            statement: Statement = OF_AUTOMATION if wanted.status is None else OF_STATUS
            more = () if wanted.status is None else (wanted.status.value,)
            # Without further filters, every row that is read belongs to the page.
            all_match = wanted.version is None and wanted.at_step is None
            size = limit + 1 if all_match else max(_CHUNK, limit + 1)
            found, examined = list[RunRow](), 0
            while True:
                rows = [
                    run_row(row)
                    for row in await tx.rows(statement, automation_id, *place, size, *more)
                ]
                examined += len(rows)
                found += [row for row in rows if _matches(row, automation_id, wanted)]
                if len(found) > limit or len(rows) < size:
                    return _page(found, limit)
                place = (rows[-1].started_us, rows[-1].id)
                if examined >= EXAMINED_MAX:
                    return RunPage(rows=found, following=place)

        return await self._database.read(read)

    async def of_contact(
        self, contact: Contact, *, before: Place | None = None, limit: int
    ) -> Sequence[RunRow]:
        """Runs of a contact in all automations, newest first."""

        async def read(tx: Transaction) -> list[RunRow]:
            place = before or (BIGINT_MAX, _LAST_ID)
            return await _of_contact(tx, await ids_of(tx, contact.id), place, limit)

        return await self._database.read(read)

    async def get(self, project_id: int, run_id: str) -> RunDetail | None:
        """One run with everything that happened in it; None when there is none."""

        async def read(tx: Transaction) -> RunDetail | None:
            found = await find_run(tx, run_id)
            return None if found is None or found.row.project_id != project_id else found

        return await self._database.read(read, snapshot=True)

    async def rejected_starts(
        self, project_id: int, automation_id: str, *, before: int | None = None, limit: int
    ) -> Sequence[RejectedStart] | None:
        """Events that started no run, newest first; None when there is no such automation."""
        below = BIGINT_MAX if before is None else before

        async def read(tx: Transaction) -> list[RejectedStart] | None:
            if await find_automation(tx, project_id, automation_id) is None:
                return None
            rows = await tx.rows(REJECTED_STARTS, automation_id, below, limit)
            return [rejected_start(row) for row in rows]

        return await self._database.read(read)


def _matches(row: RunRow, automation_id: str, wanted: RunFilter) -> bool:
    return (
        row.automation_id == automation_id
        and wanted.status in (None, row.status)
        and wanted.version in (None, row.version)
        and wanted.at_step in (None, row.at_step)
    )


def _page(found: Sequence[RunRow], limit: int) -> RunPage:
    """The first rows of those that were found."""
    last = found[limit - 1] if len(found) > limit else None
    following = None if last is None else (last.started_us, last.id)
    return RunPage(rows=found[:limit], following=following)


async def runs_of(
    tx: Transaction, contact: Contact, automation_id: str, limit: int
) -> list[RunRow]:
    """The newest runs of a contact in one automation, of the newest 1,000 of the contact."""
    place = (BIGINT_MAX, _LAST_ID)
    rows = await _of_contact(tx, await ids_of(tx, contact.id), place, _EXAMINED_MAX)
    return [row for row in rows if row.automation_id == automation_id][:limit]


async def find_run(tx: Transaction, run_id: str) -> RunDetail | None:
    """A run of any project, with everything that happened in it."""
    row = await tx.row(GET, *key_of(run_id))
    if row is None:
        return None
    found, run = run_row(row), read_state(row[-1])
    version = await find_version(tx, found.automation_id, found.version)
    sends = [step.key for step in run.steps if step.type in SENDS]
    messages = [await find_message(tx, stable_id(run.id, key)) for key in sends]
    return RunDetail(
        row=found,
        run=run,
        notes=[note_row(each) for each in await tx.rows(NOTES, *key_of(run_id), NOTES_MAX)],
        version_id=None if version is None else version.id,
        identity=await _identity(tx, found),
        messages=[each for each in messages if each is not None],
    )


async def _identity(tx: Transaction, of: RunRow) -> tuple[str, str] | None:
    """The identifier by which the first event was resolved."""
    row = await tx.row(EVENT, of.event_lane, of.sequence)
    if row is None:
        return None
    event = stored_event(row)
    for kind in ("contact_id", "external_id", "email"):
        value = getattr(event, kind)
        if value is not None:
            return kind, value
    return None


async def _of_contact(
    tx: Transaction, ids: Sequence[str], place: Place, limit: int
) -> list[RunRow]:
    found: list[RunRow] = []
    for each in ids:
        found += [run_row(row) for row in await tx.rows(OF_CONTACT, each, *place, limit)]
    return sorted(found, key=lambda row: (row.started_us, row.id), reverse=True)[:limit]

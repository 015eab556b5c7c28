"""Erasures: jobs that forget a person.

The contact and its memberships are removed at once. The rest is removed in slices: all events
stored by then that name the person by any identifier, with everything that is kept about them. An
event of the person that a worker claims in the meantime is erased instead of processed. Events that
arrive later are about an unknown person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from headrace.store.contacts.contact_writes import ContactWriter
from headrace.store.contacts.races import write_contacts
from headrace.store.contract.erasures import SETTLE_US, Erasure, ErasureStatus, Report, Wiped
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX, RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.privacy.begin import GET, Request, begin
from headrace.store.privacy.erased_events import PersonEvents
from headrace.store.privacy.erased_mentions import erase_mentions, find_mentions
from headrace.store.privacy.learning import learn
from headrace.store.privacy.mention_search import MentionSearch, Slice
from headrace.store.privacy.person_details import counts_of, read_details
from headrace.store.privacy.person_events import Place, page_of_person
from headrace.store.privacy.person_messages import PersonMessages
from headrace.store.privacy.rows import (
    COLUMNS,
    Subject,
    added,
    erasure,
    json_text,
    read_report,
    read_subject,
    subject_text,
)

LIST = sql(
    f"SELECT {COLUMNS} FROM erasures WHERE project_id = $1 AND number < $2 "
    "AND dry_run = 0 ORDER BY number DESC LIMIT $3"
)
UNFINISHED = sql(
    f"SELECT {COLUMNS} FROM erasures WHERE status <> 'done' ORDER BY number LIMIT $1",
    # Without statistics it would scan the table in the order of its numbers.
    sqlite=f"SELECT {COLUMNS} FROM erasures INDEXED BY erasures_unfinished "
    "WHERE status <> 'done' ORDER BY number LIMIT ?1",
)
_STATE_TEXT = (
    "SELECT status, subject, counts, report, created_us FROM erasures "
    "WHERE id = $1 AND status IN ('running', 'looking')"
)
_STATE = sql(_STATE_TEXT)
_HOLD_STATE = sql(f"{_STATE_TEXT} FOR UPDATE")
_MOVE = sql(
    "UPDATE erasures SET subject = $2, counts = $3, report = $4, status = $5, finished_us = $6 "
    "WHERE id = $1"
)
# The partial index has those that are not done; SQLite uses it only where the statement states
# that.
DONE = sql(
    "UPDATE erasures SET status = 'done', finished_us = $1 "
    "WHERE status <> 'done' AND status = 'wiping'"
)
# PostgreSQL has no such files.
_NOTE_COPIES = sql(
    "",
    sqlite="UPDATE erasures SET report = json_set(report, '$.copies_may_remain', json('true')) "
    "WHERE status <> 'done' AND status = 'wiping'",
)
#: After a compaction: nothing of what was removed is left in the file.
NO_COPIES = sql(
    "",
    sqlite="UPDATE erasures SET report = json_remove(report, '$.copies_may_remain') "
    "WHERE report ->> '$.copies_may_remain'",
)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of an erasure."""

    status: ErasureStatus
    subject: Subject
    counts: dict[str, int]
    report: Report
    created_us: int

    @property
    def is_dry_run(self) -> bool:
        return self.status is ErasureStatus.LOOKING


class Files(Protocol):
    """Traces of removed rows in the files of a store."""

    async def wipe(self) -> Wiped:
        """Overwrite them as far as possible."""
        ...


class Erasures:
    """Erasures of all projects.

    Args:
        database: one whose writes overwrite what they remove, if the store can do so.
    """

    def __init__(
        self,
        database: Database,
        system_events: SystemEvents,
        numbers: RowNumbers,
        person_events: PersonEvents,
        person_messages: PersonMessages,
        files: Files,
    ) -> None:
        self._database = database
        self._system_events = system_events
        self._numbers = numbers
        self._person_events = person_events
        self._person_messages = person_messages
        self._files = files

    async def begin(
        self,
        project_id: int,
        contact_id: str,
        now_us: int,
        *,
        actor: str,
        mask_mentions: bool = False,
        dry_run: bool = False,
    ) -> Erasure | None:
        """Remove a contact and begin to forget the person; None when nothing is kept.

        Also for a contact that was deleted before, as long as events of it are kept. A repeated
        request returns the existing erasure, unless events were stored since: then a new erasure
        removes them, or the same one while it is running.

        Args:
            mask_mentions: whether names in events of others are masked, not only reported.
            dry_run: whether to remove nothing and only report what would be removed.
        """
        request = Request(
            project_id=project_id,
            contact_id=contact_id,
            now_us=now_us,
            actor=actor,
            mask_mentions=mask_mentions,
            dry_run=dry_run,
        )

        async def work(tx: Transaction) -> Erasure | None:
            writer = ContactWriter(tx, self._system_events, self._numbers, now_us, "erase")
            return await begin(tx, writer, self._person_events, self._person_messages, request)

        return await write_contacts(lambda: self._database.write(work))

    async def get(self, project_id: int, erasure_id: str) -> Erasure | None:
        """One erasure or dry run, None when the project has no such erasure."""
        row = await self._database.read(lambda tx: tx.row(GET, erasure_id, project_id))
        return None if row is None else erasure(row)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[Erasure]:
        """Erasures of a project, newest first, numbered below `before`; no dry runs."""
        place = BIGINT_MAX if before is None else before
        rows = await self._database.read(lambda tx: tx.rows(LIST, project_id, place, limit))
        return [erasure(row) for row in rows]

    async def unfinished(self, limit: int) -> Sequence[Erasure]:
        """Erasures and dry runs of all projects that are not done, oldest first."""
        rows = await self._database.read(lambda tx: tx.rows(UNFINISHED, limit))
        return [erasure(row) for row in rows]

    async def advance(self, erasure_id: str, limit: int, now_us: int) -> bool:
        """Erase the next slice, up to `limit` rows; returns whether there is more to do.

        1. Remove the messages to the person, then the person's events; a dry run counts them. 2.
        When none is left and events in flight have settled, search the events of others. 3. Then
        remove what else names the person.
        """
        state = await self._database.read(lambda tx: _state(tx, erasure_id))
        if state is None:
            return False
        if state.is_dry_run:
            has_more = await self._count(erasure_id, state, limit)
        else:
            has_more = await self._database.write(
                lambda tx: self._erase(tx, erasure_id, limit, now_us)
            )
        return True if has_more else await self._search(erasure_id, now_us)

    async def _erase(self, tx: Transaction, erasure_id: str, limit: int, now_us: int) -> bool:
        state = await _state(tx, erasure_id, lock=True)
        if state is None:
            return False
        erased = await self._person_messages.erase(tx, state.subject, limit)
        if erased is not None:
            counts = added(state.counts, erased)
            await _move(tx, erasure_id, msgspec.structs.replace(state, counts=counts))
            return True
        places = await self._person_events.find(tx, state.subject, limit)
        if not places:
            return now_us - state.created_us < SETTLE_US
        subject = await self._learn(tx, state.subject, places, paths=True)
        removed = await self._person_events.remove(tx, subject.project_id, places)
        counts = added(state.counts, removed.counts)
        await _move(tx, erasure_id, msgspec.structs.replace(state, subject=subject, counts=counts))
        return True

    async def _learn(
        self, tx: Transaction, subject: Subject, places: Sequence[Place], *, paths: bool
    ) -> Subject:
        """`learn`, and include all events of former contacts stored when the erasure began."""
        learned = await learn(tx, subject, places, paths=paths)
        former = tuple(each for each in learned.contact_ids if each not in subject.contact_ids)
        if not former:
            return learned
        of_former = msgspec.structs.replace(learned, contact_ids=former, external_ids=(), emails=())
        last, last_system = await self._person_events.last(tx, of_former)
        return msgspec.structs.replace(
            learned,
            last=max(learned.last, min(last, learned.search_end)),
            last_system=max(learned.last_system, min(last_system, learned.search_end)),
        )

    async def _count(self, erasure_id: str, state: State, limit: int) -> bool:
        """Examine the next of the person's events, then count messages; False at the end."""

        async def examine(tx: Transaction) -> State | None:
            subject, counts = state.subject, state.counts
            places = await page_of_person(tx, subject, subject.looked_to, limit)
            if not places:
                if subject.messages_counted:
                    return None
                if subject.counting:
                    counts = added(counts, await self._person_messages.count(tx, subject))
                    subject = msgspec.structs.replace(subject, messages_counted=True)
                    return msgspec.structs.replace(state, subject=subject, counts=counts)
                # All identifiers of the person are known now: start over.
                subject = msgspec.structs.replace(subject, counting=True, looked_to=-1)
                return msgspec.structs.replace(state, subject=subject)
            subject = await self._learn(tx, subject, places, paths=subject.counting)
            subject = msgspec.structs.replace(subject, looked_to=places[-1][1])
            if subject.counting:
                details = await read_details(tx, subject.project_id, places)
                counts = added(counts, counts_of(details) | {"events": len(places)})
                examples = {row[0] for row in details["catalog_examples"]}
                subject = msgspec.structs.replace(
                    subject, examples=tuple({*subject.examples, *examples})
                )
            return msgspec.structs.replace(state, subject=subject, counts=counts)

        examined = await self._database.read(examine)
        if examined is not None:
            await self._database.write(lambda tx: _move(tx, erasure_id, examined))
        return examined is not None

    async def _search(self, erasure_id: str, now_us: int) -> bool:
        """Search the next events of others; at the end, finish."""
        state = await self._database.read(lambda tx: _state(tx, erasure_id))
        if state is None:
            return False
        search = MentionSearch(state.subject)
        examined = await self._database.read(search.read)

        async def apply(tx: Transaction) -> bool:
            held = await _state(tx, erasure_id, lock=True)
            if held is None or held.subject != state.subject:
                # Requested again in the meantime: start with what was stored since.
                return held is not None
            return await self._searched(tx, erasure_id, held, search, examined, now_us)

        return await self._database.write(apply)

    async def _searched(
        self,
        tx: Transaction,
        erasure_id: str,
        state: State,
        search: MentionSearch,
        examined: Slice,
        now_us: int,
    ) -> bool:
        applied = await search.apply(tx, examined, state.report, dry_run=state.is_dry_run)
        subject = msgspec.structs.replace(state.subject, searched_to=examined.searched_to)
        counts = added(state.counts, {"system_events": applied.system_events})
        state = msgspec.structs.replace(
            state, subject=subject, report=applied.report, counts=counts
        )
        if not examined.is_last:
            await _move(tx, erasure_id, state)
            return True
        if state.is_dry_run:
            places = await find_mentions(tx, subject)
            examples = [event for event in places.examples if event not in subject.examples]
            found = msgspec.structs.replace(places, examples=examples).counts()
            status = ErasureStatus.DONE
        else:
            found = await erase_mentions(tx, subject)
            status = ErasureStatus.WIPING
        counts = added(state.counts, found)
        done = msgspec.structs.replace(state, counts=counts, status=status)
        await _move(tx, erasure_id, done, now_us)
        return False

    async def wipe(self, now_us: int) -> bool:
        """Overwrite the traces in files of erasures that are `wiping`; then they are done.

        Returns:
            False when a reader still needs what is to be overwritten: retry later.
        """
        wiped = await self._files.wipe()
        if wiped is Wiped.NOT_YET:
            return False

        async def finish(tx: Transaction) -> None:
            if wiped is Wiped.IN_PLACE:
                await tx.run(_NOTE_COPIES)
            await tx.run(DONE, now_us)

        await self._database.write(finish)
        return True


async def _state(tx: Transaction, erasure_id: str, *, lock: bool = False) -> State | None:
    """Of an erasure or dry run in progress; else None."""
    row: Any = await tx.row(_HOLD_STATE if lock else _STATE, erasure_id)
    if row is None:
        return None
    status, subject, counts, report, created_us = row
    return State(
        status=ErasureStatus(status),
        subject=read_subject(subject),
        counts=msgspec.json.decode(counts, type=dict[str, int]),
        report=read_report(report),
        created_us=created_us,
    )


async def _move(tx: Transaction, erasure_id: str, state: State, now_us: int = 0) -> None:
    """Store its progress; the person's identifiers are removed at the end."""
    has_more = state.status in {ErasureStatus.RUNNING, ErasureStatus.LOOKING}
    subject = subject_text(state.subject) if has_more else None
    finished_us = now_us if state.status is ErasureStatus.DONE else None
    texts = (json_text(state.counts), json_text(state.report), state.status.value)
    await tx.run(_MOVE, erasure_id, subject, *texts, finished_us)

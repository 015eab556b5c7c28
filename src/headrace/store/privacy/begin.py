"""Begins an erasure: finds the person, removes the contact, and stores what the job is to find."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.contacts.contact import Contact
from headrace.domain.events.placeholders import placeholders
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.access.audit import write_audit
from headrace.store.access.policies import read_policies
from headrace.store.contacts.contact_writes import ContactWriter, by_id
from headrace.store.contacts.groups.memberships import read_memberships
from headrace.store.contacts.identifiers import Alias, aliases_of, ids_of, own_aliases
from headrace.store.contacts.refs import find_ref
from headrace.store.contract.erasures import (
    DRY_RUN_KEPT_US,
    EARLIER_LISTED_MAX,
    EarlierErasure,
    Erasure,
    ErasureStatus,
    Mentions,
    Report,
)
from headrace.store.contract.merges import ALIASES_MAX
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Transaction
from headrace.store.privacy.erased_events import PersonEvents
from headrace.store.privacy.mention_search import LAST
from headrace.store.privacy.person_events import had_events
from headrace.store.privacy.person_messages import PersonMessages
from headrace.store.privacy.rows import (
    COLUMNS,
    Shared,
    Subject,
    added,
    erasure,
    json_text,
    read_report,
    read_subject,
    subject_of,
    subject_text,
)

GET = sql(f"SELECT {COLUMNS} FROM erasures WHERE id = $1 AND project_id = $2")
_E_COLUMNS = ", ".join(f"e.{name.strip()}" for name in COLUMNS.split(","))
OF_CONTACTS = sql(
    f"SELECT DISTINCT {_E_COLUMNS} FROM erased_contacts c JOIN erasures e ON e.id = c.erasure_id "
    "WHERE c.contact_id = ANY($1::text[]) AND c.project_id = $2 ORDER BY e.number DESC"
)
ERASED_WITH = sql(
    "SELECT o.contact_id FROM erased_contacts c JOIN erased_contacts o "
    "ON o.erasure_id = c.erasure_id WHERE c.contact_id = ANY($2::text[]) AND c.project_id = $1",
)
_INSERT = sql(
    "INSERT INTO erasures (id, project_id, contact_id, status, subject, counts, actor, created_us, "
    "dry_run, report) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
)
_INSERT_CONTACT = sql(
    "INSERT INTO erased_contacts (contact_id, project_id, erasure_id) VALUES ($1, $2, $3)"
)
OLD_DRY_RUNS = sql(
    "DELETE FROM erasures WHERE project_id = $1 AND dry_run = 1 AND status = 'done' "
    "AND created_us < $2"
)
_EXTENDED = sql(
    "SELECT subject, report FROM erasures WHERE id = $1 AND status = 'running' FOR UPDATE"
)
_EXTEND = sql("UPDATE erasures SET subject = $2, report = $3 WHERE id = $1")
MERGED_WITH = sql(
    "SELECT contact_id, other_contact_id FROM merges "
    "WHERE contact_id = ANY($2::text[]) AND project_id = $1 AND undone_us IS NULL "
    "UNION ALL SELECT contact_id, other_contact_id FROM merges "
    "WHERE other_contact_id = ANY($2::text[]) AND project_id = $1 AND undone_us IS NULL"
)
UNDONE_INTO = sql(
    "SELECT contact_id, created_us, undone_us FROM merges "
    "WHERE other_contact_id = $2 AND project_id = $1 AND undone_us IS NOT NULL ORDER BY number"
)
REMOVE_MERGES = sql(
    "DELETE FROM merges WHERE project_id = $2 "
    "AND (contact_id = ANY($1::text[]) OR other_contact_id = ANY($1::text[]))"
)
COUNT_MERGES = sql(
    "SELECT count(*) FROM merges WHERE project_id = $2 "
    "AND (contact_id = ANY($1::text[]) OR other_contact_id = ANY($1::text[]))"
)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A requested erasure."""

    project_id: int
    contact_id: str
    now_us: int
    actor: str
    mask_mentions: bool
    dry_run: bool


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """The person that an id identifies."""

    #: None when the contact was deleted or erased.
    contact: Contact | None
    #: Of the contact and of all that were merged with it.
    ids: tuple[str, ...]
    #: Newest first.
    erasures: tuple[Erasure, ...]


async def find_person(
    tx: Transaction, project_id: int, contact_id: str, *, lock: bool = False
) -> Person:
    """The person that an id identifies, whether or not anything is kept about the person."""
    held = await by_id(tx, project_id, contact_id, lock=lock)
    if held is not None:
        return Person(contact=held, ids=tuple(await ids_of(tx, held.id)), erasures=())
    ids = await _ids_by_merges(tx, project_id, contact_id)
    erasures = [erasure(row) for row in await tx.rows(OF_CONTACTS, ids, project_id)]
    return Person(contact=None, ids=tuple(ids), erasures=tuple(erasures))


async def _ids_by_merges(tx: Transaction, project_id: int, contact_id: str) -> list[str]:
    """The id of a deleted contact, and of all that current merges unite with it.

    Its aliases were removed with it; only merges and receipts are left.
    """
    found = {contact_id}
    new = [contact_id]
    while new and len(found) <= ALIASES_MAX:
        rows = await tx.rows(MERGED_WITH, project_id, new)
        erased = await tx.rows(ERASED_WITH, project_id, new)
        new = sorted({each for row in (*rows, *erased) for each in row} - found)
        found.update(new)
    return sorted(found)


async def subject_of_person(tx: Transaction, project_id: int, person: Person) -> Subject:
    """The identifiers by which all of the person's events are found, whenever they arrive."""
    identifiers: list[Alias] = []
    written: list[str | None] = []
    held = person.contact
    if held is not None:
        identifiers = [*await aliases_of(tx, held.id), *own_aliases(held)]
        written.append(held.email_original)
    words = (await read_policies(tx, project_id)).placeholder_identifiers
    subject = subject_of(project_id, person.ids, identifiers, written, placeholders(words))
    return msgspec.structs.replace(
        subject,
        last=BIGINT_MAX,
        last_system=BIGINT_MAX,
        shared=tuple(await _shared(tx, project_id, person.ids)),
        search_end=await tx.value(LAST, project_id) or 0,
    )


async def _shared(tx: Transaction, project_id: int, ids: Sequence[str]) -> list[Shared]:
    """Periods in which other contacts had the person's data: from a merge until its undoing."""
    found: list[Shared] = []
    new = [Shared(each, 0, BIGINT_MAX) for each in ids]
    while new and len(found) <= ALIASES_MAX:
        held = new.pop()
        for into, merged_us, undone_us in await tx.rows(UNDONE_INTO, project_id, held.contact_id):
            shared = Shared(into, max(merged_us, held.from_us), min(undone_us, held.to_us))
            if shared.from_us <= shared.to_us and shared not in found:
                found.append(shared)
                new.append(shared)
    return found


async def begin(
    tx: Transaction,
    writer: ContactWriter,
    person_events: PersonEvents,
    person_messages: PersonMessages,
    request: Request,
) -> Erasure | None:
    """Begin an erasure, in the caller's transaction; None when nothing is kept about the person."""
    project_id = request.project_id
    person = await find_person(tx, project_id, request.contact_id, lock=not request.dry_run)
    if person.contact is None:
        # Events that the first erasure itself emitted about the person are no reason for another
        # one.
        is_kept = await had_events(
            tx, project_id, person.ids, system=not person.erasures
        ) or await person_messages.had_messages(tx, project_id, person.ids)
        if person.erasures and not request.dry_run:
            running = await _extended(tx, person_events, person.erasures[0], request)
            if running is not None:
                return running
            if not is_kept:
                return person.erasures[0]
        elif not is_kept:
            return None
    subject = await subject_of_person(tx, project_id, person)
    last, last_system = await person_events.last(tx, subject)
    if person.erasures:
        last_system = 0
    subject = msgspec.structs.replace(subject, last=last, last_system=last_system)
    counts = await contact_counts(tx, project_id, person)
    if not request.dry_run:
        await _remove_contact(tx, project_id, writer, person)
    return await _insert(tx, request, person, subject, counts)


async def contact_counts(tx: Transaction, project_id: int, person: Person) -> dict[str, int]:
    """Rows that are removed with the contact, by place."""
    counts = {"merges": await tx.value(COUNT_MERGES, list(person.ids), project_id)}
    held = person.contact
    if held is None:
        return added({}, counts)
    ref = await find_ref(tx, held.project_id, held.id)
    assert ref is not None
    memberships = await read_memberships(tx, ref)
    counts |= {
        "contacts": 1,
        "identifiers": len(await aliases_of(tx, held.id)),
        "topics": len(memberships.topics) + (memberships.opted_out_us is not None),
        "audiences": len(memberships.audiences),
    }
    return added({}, counts)


async def _remove_contact(
    tx: Transaction, project_id: int, writer: ContactWriter, person: Person
) -> None:
    await tx.run(REMOVE_MERGES, list(person.ids), project_id)
    if person.contact is not None:
        await writer.remove(person.contact)


async def _insert(
    tx: Transaction, request: Request, person: Person, subject: Subject, counts: dict[str, int]
) -> Erasure:
    erasure_id, project_id, now_us = uuid_text(new_uuid()), request.project_id, request.now_us
    own_id = request.contact_id if person.contact is None else person.contact.id
    report = Report(
        contact_ids=person.ids,
        mask_mentions=request.mask_mentions,
        earlier=tuple(_earlier(each) for each in person.erasures[:EARLIER_LISTED_MAX]),
    )
    status = ErasureStatus.LOOKING if request.dry_run else ErasureStatus.RUNNING
    values = (erasure_id, project_id, own_id, status.value, subject_text(subject))
    columns = (json_text(counts), request.actor, now_us, int(request.dry_run), json_text(report))
    await tx.run(_INSERT, *values, *columns)
    if request.dry_run:
        await tx.run(OLD_DRY_RUNS, project_id, now_us - DRY_RUN_KEPT_US)
    else:
        rows = [(each, project_id, erasure_id) for each in person.ids]
        await tx.run_many(_INSERT_CONTACT, rows)
        detail = {"erasure": erasure_id, "contact": own_id}
        await write_audit(tx, now_us, request.actor, project_id, "contact.erase", detail)
    row = await tx.row(GET, erasure_id, project_id)
    assert row is not None
    return erasure(row)


def _earlier(of: Erasure) -> EarlierErasure:
    return EarlierErasure(
        id=of.id, counts=of.counts, created_us=of.created_us, finished_us=of.finished_us
    )


async def _extended(
    tx: Transaction, person_events: PersonEvents, of: Erasure, request: Request
) -> Erasure | None:
    """The same erasure, extended to what was stored since; None when it is no longer running."""
    held = await tx.row(_EXTENDED, of.id)
    if held is None:
        return None
    subject, report = read_subject(held[0]), read_report(held[1])
    last, _ = await person_events.last(tx, subject)
    subject = msgspec.structs.replace(subject, last=max(last, subject.last))
    if request.mask_mentions and not report.mask_mentions:
        # Mentions that were only reported so far are searched again.
        report = msgspec.structs.replace(report, mask_mentions=True, mentions=Mentions())
        subject = msgspec.structs.replace(subject, searched_to=-1)
    await tx.run(_EXTEND, of.id, subject_text(subject), json_text(report))
    row = await tx.row(GET, of.id, request.project_id)
    assert row is not None
    return erasure(row)

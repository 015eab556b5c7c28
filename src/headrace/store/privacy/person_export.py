"""Reads all that is kept about a person: what an erasure would remove, and mentions elsewhere.

Each page is a read of its own: concurrent changes may be included or not.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headrace.domain.contacts.contact import Contact
from headrace.store.access.audit import write_audit
from headrace.store.contacts.groups.memberships import read_memberships
from headrace.store.contacts.identifiers import Alias, aliases_of
from headrace.store.contacts.merge_rows import Memberships
from headrace.store.contacts.refs import find_ref
from headrace.store.contract.automations import EntryRow, RejectedStart, RunDetail
from headrace.store.contract.erasures import Erasure, Mention
from headrace.store.contract.messages import MessageCopy, Suppressed
from headrace.store.contract.push import DeviceCopy
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Database, Row, Transaction
from headrace.store.privacy.begin import contact_counts, find_person, subject_of_person
from headrace.store.privacy.erased_mentions import READ, find_mentions
from headrace.store.privacy.learning import learn
from headrace.store.privacy.mention_search import MentionSearch
from headrace.store.privacy.person_details import Details, read_details
from headrace.store.privacy.person_events import (
    Place,
    chunks_of_events,
    had_events,
    page_of_person,
)
from headrace.store.privacy.person_messages import MessagePlace, PersonMessages
from headrace.store.privacy.rows import Subject

#: Events of one page.
EVENTS_MAX = 50
#: Messages of one page; details of each are read separately.
MESSAGES_MAX = 50
#: Runs, and rejected starts, of one page.
RUNS_MAX = 20
#: Exports that a process runs at once: each searches all events of a project.
EXPORTS_MAX = 2

MERGES = sql(
    "SELECT id, contact_id, other_contact_id, actor, created_us, undone_us, undone_by, snapshot "
    "FROM merges WHERE contact_id = ANY($1::text[]) AND project_id = $2 "
    "UNION ALL SELECT id, contact_id, other_contact_id, actor, created_us, undone_us, undone_by, "
    "snapshot FROM merges WHERE other_contact_id = ANY($1::text[]) AND project_id = $2 "
    "AND contact_id <> ALL($1::text[])",
    sqlite="SELECT id, contact_id, other_contact_id, actor, created_us, undone_us, undone_by, "
    "snapshot FROM merges WHERE contact_id IN (SELECT value FROM json_each(?1)) "
    "AND project_id = ?2 "
    "UNION ALL SELECT id, contact_id, other_contact_id, actor, created_us, undone_us, undone_by, "
    "snapshot FROM merges WHERE other_contact_id IN (SELECT value FROM json_each(?1)) "
    "AND contact_id NOT IN (SELECT value FROM json_each(?1)) AND project_id = ?2",
)
_PAIR = "contact_id, other_contact_id, events, external_id_count, email_count, first_us, last_us"
PAIRS = sql(
    f"SELECT {_PAIR} FROM conflict_pairs WHERE low_id = $1 AND project_id = $2 "
    f"UNION ALL SELECT {_PAIR} FROM conflict_pairs WHERE high_id = $1 AND project_id = $2"
)
_TOPICS = sql("SELECT id, name FROM topics WHERE id = ANY($1::text[])")
_AUDIENCES = sql("SELECT id, name FROM audiences WHERE id = ANY($1::text[])")
_EVENT = (
    "e.sequence, e.id, e.event, e.source, e.contact_id, e.external_id, e.email, e.email_original, "
    "e.idempotency_key, e.occurred_us, e.received_us, e.api_key_id, e.request_id, e.payload"
)
EVENTS = sql(
    f"SELECT {_EVENT}, o.contact_id, coalesce(o.status, 0), coalesce(o.attempts, 0), "
    "o.last_error, o.resolution FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "JOIN events e ON e.lane = k.lane AND e.sequence = k.sequence "
    "LEFT JOIN event_states o ON o.lane = e.lane AND o.sequence = e.sequence ORDER BY e.sequence",
    sqlite=f"SELECT {_EVENT}, e.resolved_contact_id, e.status, e.attempts, e.last_error, "
    "e.resolution FROM json_each(?2) k CROSS JOIN events e ON e.sequence = k.value "
    "ORDER BY e.sequence",
)


class PersonFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A person, without events."""

    subject: Subject
    contact: Contact | None
    #: Aliases of the contact.
    identifiers: Sequence[Alias]
    memberships: Memberships
    #: Names of topics and audiences, by id.
    names: Mapping[str, str]
    #: Rows of `MERGES` and `PAIRS`.
    merges: Sequence[Row]
    pairs: Sequence[Row]
    #: Earlier erasures, newest first.
    erasures: Sequence[Erasure]
    #: Rows that would be removed with the contact, by place.
    counts: dict[str, int]


class ExportPage(msgspec.Struct, frozen=True):
    """Some events of a person, with what is kept about them."""

    #: Rows of `EVENTS`.
    events: Sequence[Row]
    details: Details


class NamedRows(msgspec.Struct, frozen=True):
    """Rows elsewhere that name the person, or that exist only because of the person's events."""

    #: `id, message, details, route, body_shape`.
    rejections: Sequence[Row]
    #: `id, detail`.
    audit: Sequence[Row]
    #: Name of event and path.
    paths: Sequence[tuple[str, str]]
    #: `event, number, path`.
    drift: Sequence[Row]
    #: Name of event and example.
    examples: Sequence[Row]


class PersonExports:
    """Reads people of all projects for export."""

    def __init__(self, database: Database, person_messages: PersonMessages) -> None:
        self._database = database
        self._person_messages = person_messages
        self._in_progress = 0

    async def find(self, project_id: int, contact_id: str) -> PersonFacts | None:
        """A person by the id of the contact or of one merged into it, deleted ones included.

        None when nothing is kept.
        """

        async def read(tx: Transaction) -> PersonFacts | None:
            person = await find_person(tx, project_id, contact_id)
            held = person.contact
            if held is None and not (
                await had_events(tx, project_id, person.ids, system=True)
                or await self._person_messages.had_messages(tx, project_id, person.ids)
            ):
                return None
            memberships = Memberships()
            if held is not None:
                ref = await find_ref(tx, project_id, held.id)
                assert ref is not None
                memberships = await read_memberships(tx, ref)
            topics = [choice.topic_id for choice in memberships.topics]
            named = [
                *await tx.rows(_TOPICS, topics),
                *await tx.rows(_AUDIENCES, [*memberships.audiences]),
            ]
            pairs = [row for each in person.ids for row in await tx.rows(PAIRS, each, project_id)]
            return PersonFacts(
                subject=await subject_of_person(tx, project_id, person),
                contact=held,
                identifiers=[] if held is None else await aliases_of(tx, held.id),
                memberships=memberships,
                names={row[0]: row[1] for row in named},
                merges=await tx.rows(MERGES, list(person.ids), project_id),
                pairs=pairs,
                erasures=person.erasures,
                counts=await contact_counts(tx, project_id, person),
            )

        return await self._database.read(read, snapshot=True)

    async def note(self, project_id: int, contact_id: str, now_us: int, *, actor: str) -> None:
        """Audit the export of a person."""
        detail = {"contact": contact_id}

        async def work(tx: Transaction) -> None:
            await write_audit(tx, now_us, actor, project_id, "contact.export", detail)

        await self._database.write(work)

    async def learned(self, subject: Subject) -> Subject:
        """The subject with the identifiers in its events."""
        after = -1
        while True:
            places = await self._places(subject, after)
            if not places:
                return subject
            subject = await self._learn(subject, places, paths=False)
            after = places[-1][1]

    async def pages(self, subject: Subject) -> AsyncIterator[tuple[Subject, ExportPage]]:
        """All events of a person in order of receipt, with the subject as known at that point."""
        after = -1
        while places := await self._places(subject, after):
            after = places[-1][1]
            subject = await self._learn(subject, places, paths=True)
            chunks = await self._database.read(
                lambda tx, places=places: chunks_of_events(tx, places)  # type: ignore[misc]
            )
            for chunk in chunks:
                yield subject, await self._page(subject.project_id, chunk)

    async def _places(self, subject: Subject, after: int) -> list[Place]:
        return await self._database.read(lambda tx: page_of_person(tx, subject, after, EVENTS_MAX))

    async def _learn(self, subject: Subject, places: list[Place], *, paths: bool) -> Subject:
        return await self._database.read(lambda tx: learn(tx, subject, places, paths=paths))

    async def _page(self, project_id: int, places: list[Place]) -> ExportPage:
        async def read(tx: Transaction) -> ExportPage:
            events = await tx.rows(EVENTS, *columns_of(places, 2))
            return ExportPage(events, await read_details(tx, project_id, places))

        return await self._database.read(read)

    async def messages(self, subject: Subject) -> AsyncIterator[MessageCopy]:
        """Messages to a person with everything that is kept about them, one at a time."""
        place: MessagePlace | None = MessagePlace()
        while place is not None:
            found, place = await self._database.read(
                lambda tx, place=place: self._person_messages.page(  # type: ignore[misc]
                    tx, subject, place, MESSAGES_MAX
                )
            )
            for each in found:
                yield await self._database.read(
                    lambda tx, each=each: self._person_messages.copy(tx, each),  # type: ignore[misc]
                    snapshot=True,
                )

    async def runs(self, subject: Subject) -> AsyncIterator[RunDetail]:
        """Runs of a person in automations, page by page."""
        place: MessagePlace | None = MessagePlace()
        while place is not None:
            found, place = await self._database.read(
                lambda tx, place=place: self._person_messages.runs(  # type: ignore[misc]
                    tx, subject, place, RUNS_MAX
                ),
                snapshot=True,
            )
            for each in found:
                yield each

    async def rejected_starts(self, subject: Subject) -> AsyncIterator[RejectedStart]:
        """Events of a person that started no run."""
        place: MessagePlace | None = MessagePlace()
        while place is not None:
            found, place = await self._database.read(
                lambda tx, place=place: self._person_messages.rejected_starts(  # type: ignore[misc]
                    tx, subject, place, RUNS_MAX
                )
            )
            for each in found:
                yield each

    async def entries(self, subject: Subject) -> Sequence[EntryRow]:
        """When a person last started each automation."""
        return await self._database.read(lambda tx: self._person_messages.entries(tx, subject))

    async def devices(self, subject: Subject) -> Sequence[DeviceCopy]:
        """Devices of a person with their notifications."""
        return await self._database.read(lambda tx: self._person_messages.devices(tx, subject))

    async def message_facts(self, subject: Subject) -> tuple[Sequence[Suppressed], dict[str, int]]:
        """Suppressions of a person's addresses; and rows about messages, by place."""

        async def read(tx: Transaction) -> tuple[Sequence[Suppressed], dict[str, int]]:
            listed = await self._person_messages.suppressions(tx, subject)
            return listed, await self._person_messages.count(tx, subject)

        return await self._database.read(read, snapshot=True)

    async def mentions(self, subject: Subject) -> AsyncIterator[Mention]:
        """Events of others that name the person, in order of receipt."""
        is_last = False
        while not is_last:
            search = MentionSearch(subject)
            part = await self._database.read(search.read)
            for event in part.found:
                mention = search.mention(event)
                if mention is not None:
                    yield mention
            is_last = part.is_last
            subject = msgspec.structs.replace(subject, searched_to=part.searched_to)

    async def named(self, subject: Subject) -> NamedRows:
        """Rows elsewhere that an erasure would remove or blank."""

        async def read(tx: Transaction) -> NamedRows:
            places = await find_mentions(tx, subject)
            rows: dict[str, Sequence[Any]] = {
                name: await tx.rows(statement, subject.project_id)
                for name, statement in READ.items()
                if name != "paths"
            }
            rejections, audit = set(places.rejections), set(places.audit)
            drift, examples = set(places.drift), set(places.examples)
            return NamedRows(
                rejections=[row for row in rows["rejections"] if row[0] in rejections],
                audit=[row for row in rows["audit"] if row[0] in audit],
                paths=places.paths,
                drift=[row for row in rows["drift"] if (row[0], row[1]) in drift],
                examples=[row for row in rows["examples"] if row[0] in examples],
            )

        return await self._database.read(read)

    @property
    def is_full(self) -> bool:
        """Whether the limit of concurrent exports is reached."""
        return self._in_progress >= EXPORTS_MAX

    @contextlib.contextmanager
    def in_progress(self) -> Iterator[None]:
        """Counts one as in progress."""
        self._in_progress += 1
        try:
            yield
        finally:
            self._in_progress -= 1

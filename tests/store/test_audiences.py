"""Audiences in the store: each entry and exit emits one event, also after deletions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.domain.contacts.audiences import AUDIENCES_MAX, Audience, AudienceFields, Entered
from headrace.domain.contacts.contact import Contact
from headrace.store.contacts.groups.audiences import TooManyAudiencesError, UnknownContactsError
from headrace.store.contract.contacts import ContactFilter
from headrace.store.contract.errors import StoreConflictError
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events

ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
ENTERED, EXITED = "sendrealm.audience.entered", "sendrealm.audience.exited"


def create(session: StoreSession, name: str = "VIP", project_id: int = 1) -> Audience:
    fields = AudienceFields(name=name)
    return session.run(session.store.audiences.create(project_id, fields, START_US))


def enter(session: StoreSession, audience: Audience, *contacts: Contact) -> Entered | None:
    ids = [contact.id for contact in contacts]
    return session.run(session.store.audiences.enter(1, audience.id, ids, START_US))


def exit_(session: StoreSession, audience: Audience, contact: Contact) -> bool:
    return session.run(session.store.audiences.exit(1, audience.id, contact.id, START_US))


def members(session: StoreSession, audience: Audience) -> list[str]:
    wanted = ContactFilter(audience_id=audience.id)
    page = session.run(session.store.contacts.list(1, wanted, before=None, limit=200))
    return [contact.id for contact in page.contacts]


def emitted(session: StoreSession) -> list[tuple[str, str, str]]:
    """Event, name of the audience, contact."""
    events = system_events(session, "sendrealm.audience.")
    return [(name, each["audience_name"], each["contact_id"]) for name, each in events]


def test_an_audience_is_kept_changed_and_listed(session: StoreSession) -> None:
    audiences = session.store.audiences
    first, second = create(session), create(session, "New")

    fields = AudienceFields(description="Best customers")
    changed = session.run(audiences.update(1, first.id, fields, START_US + 5))

    assert changed is not None
    assert (changed.name, changed.description) == ("VIP", "Best customers")
    assert changed.updated_us == START_US + 5
    assert session.run(audiences.get(1, first.id)) == changed
    assert session.run(audiences.list(1, before=None, limit=5)) == [second, changed]
    assert session.run(audiences.list(1, before=second.created_us, limit=5)) == [changed]


def test_a_name_is_taken_once_in_a_project(session: StoreSession) -> None:
    create(session)
    create(session, project_id=2)
    with pytest.raises(StoreConflictError, match="name"):
        create(session)


def test_contacts_enter_and_exit_once(session: StoreSession) -> None:
    audience = create(session)
    a, b, c = (create_contact(session, external_id=name) for name in "abc")

    assert enter(session, audience, a, b, a) == Entered(2, 0)
    assert enter(session, audience, c, b) == Entered(1, 1)
    assert exit_(session, audience, b)
    assert not exit_(session, audience, b)

    # Newest contact first.
    assert members(session, audience) == [c.id, a.id]
    assert emitted(session) == [
        (ENTERED, "VIP", a.id),
        (ENTERED, "VIP", b.id),
        (ENTERED, "VIP", c.id),
        (EXITED, "VIP", b.id),
    ]
    ((_, payload), *_) = system_events(session, ENTERED)
    assert payload["audience_id"] == audience.id


def test_unknown_contact_is_named_and_nothing_is_added(session: StoreSession) -> None:
    audience, contact = create(session), create_contact(session)
    stranger = create_contact(session, 2)

    ids = [ABSENT, contact.id, stranger.id]

    with pytest.raises(UnknownContactsError) as caught:
        session.run(session.store.audiences.enter(1, audience.id, ids, START_US))

    assert caught.value.args == ([0, 2],)
    assert members(session, audience) == []
    assert emitted(session) == []


def test_concurrent_additions_enter_each_contact_once(session: StoreSession) -> None:
    audience = create(session)
    contacts = [create_contact(session) for _ in range(10)]

    async def work() -> list[Entered | None]:
        enter_one = session.store.audiences.enter
        ids = [contact.id for contact in contacts]
        return await asyncio.gather(
            *(enter_one(1, audience.id, ids[n % 3 :], START_US) for n in range(12))
        )

    answers = session.run(work())

    assert sum(answer.entered for answer in answers if answer is not None) == 10
    assert sorted(emitted(session)) == sorted((ENTERED, "VIP", each.id) for each in contacts)


def test_deleted_contact_exits_before_its_deletion(session: StoreSession) -> None:
    first, second = create(session), create(session, "New")
    contact, stays = create_contact(session), create_contact(session)
    enter(session, first, stays, contact)
    enter(session, second, contact)

    session.run(session.store.contacts.delete(1, contact.id, START_US + 1, source="api"))

    names = [name for name, _ in system_events(session, "sendrealm.")]
    assert names[-3:] == [EXITED, EXITED, "sendrealm.contact.deleted"]
    assert sorted(emitted(session)[-2:]) == [
        (EXITED, "New", contact.id),
        (EXITED, "VIP", contact.id),
    ]
    # A new contact is in none of them.
    create_contact(session)
    assert (members(session, first), members(session, second)) == ([stays.id], [])


def test_audiences_of_a_contact(session: StoreSession) -> None:
    contact, other = create_contact(session), create_contact(session)
    second, first, _third = create(session, "b"), create(session, "a"), create(session, "c")
    for audience in (first, second):
        enter(session, audience, contact)
    of_contact = session.store.audiences.of_contact
    assert session.run(of_contact(1, contact.id)) == [first, second]
    assert session.run(of_contact(1, other.id)) == []
    assert session.run(of_contact(2, contact.id)) == []
    session.run(session.store.audiences.delete(1, first.id, START_US))
    assert session.run(of_contact(1, contact.id)) == [second]


def test_members_of_a_deleted_audience_are_removed_in_the_background(session: StoreSession) -> None:
    audiences, audience = session.store.audiences, create(session)
    contacts = [create_contact(session) for _ in range(5)]
    enter(session, audience, *contacts)

    assert session.run(audiences.delete(1, audience.id, START_US))
    assert not session.run(audiences.delete(1, audience.id, START_US))
    assert session.run(audiences.get(1, audience.id)) is None
    assert enter(session, audience, contacts[0]) is None
    assert not exit_(session, audience, contacts[0])
    create(session)
    # One is deleted in the meantime.
    session.run(session.store.contacts.delete(1, contacts[4].id, START_US, source="api"))
    steps = 1
    while session.run(audiences.remove_deleted(2, START_US)):
        steps += 1

    assert steps == 3
    exited = [each for each in emitted(session) if each[0] == EXITED]
    assert sorted(exited) == sorted((EXITED, "VIP", each.id) for each in contacts)
    assert session.place.run_sql("SELECT count(*) FROM audience_members") == [(0,)]
    assert session.place.run_sql("SELECT count(*) FROM audiences") == [(1,)]
    assert not session.run(audiences.remove_deleted(2, START_US))


def test_projects_are_isolated(session: StoreSession) -> None:
    audiences, audience = session.store.audiences, create(session)
    contact = create_contact(session)
    enter(session, audience, contact)

    assert session.run(audiences.get(2, audience.id)) is None
    assert session.run(audiences.list(2, before=None, limit=5)) == []
    assert session.run(audiences.update(2, audience.id, AudienceFields(name="a"), 9)) is None
    assert not session.run(audiences.delete(2, audience.id, 9))
    assert session.run(audiences.enter(2, audience.id, [contact.id], 9)) is None
    assert not session.run(audiences.exit(2, audience.id, contact.id, 9))
    wanted = ContactFilter(audience_id=audience.id)
    page = session.run(session.store.contacts.list(2, wanted, before=None, limit=5))
    assert page.contacts == []
    assert members(session, audience) == [contact.id]


def test_number_of_audiences_is_limited(session: StoreSession) -> None:
    audiences = session.store.audiences

    async def fill() -> list[Any]:
        return [
            await audiences.create(1, AudienceFields(name=f"a{number}"), START_US)
            for number in range(AUDIENCES_MAX)
        ]

    made = session.run(fill())
    with pytest.raises(TooManyAudiencesError):
        create(session, "one more")
    session.run(audiences.delete(1, made[0].id, START_US))
    create(session, "one more")

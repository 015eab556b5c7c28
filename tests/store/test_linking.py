"""An upsert with an unknown external id joins the contact of the address sent with it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.domain.errors import ApiError
from headrace.store.contract.errors import StoreConflictError
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events

EMAIL = "a@b.example"
LATER_US = START_US + 1_000_000


def upsert(session: StoreSession, *, link: bool = True, **fields: Any) -> Contact:
    write = ContactWrite(**{"external_id": "x", "email": EMAIL} | fields, link=link)
    return session.run(session.store.contacts.upsert(1, write, LATER_US, source="api"))[0]


def test_unknown_external_id_joins(session: StoreSession) -> None:
    held = create_contact(session, email=EMAIL, properties={"a": 1})
    joined = upsert(session, properties={"b": 2})
    assert (joined.id, joined.external_id, joined.email) == (held.id, "x", EMAIL)
    assert joined.properties == {"a": 1, "b": 2}
    assert upsert(session) == joined
    ((_, payload),) = system_events(session, "sendrealm.contact.updated")
    assert payload["changes"]["external_id"] == {"from": None, "to": "x"}


def test_join_by_an_alias_keeps_the_address(session: StoreSession) -> None:
    own = create_contact(session, email="own@b.example")
    other = create_contact(session, email=EMAIL)
    session.run(session.store.merges.merge(1, own.id, other.id, START_US, actor="tester"))
    joined = upsert(session)
    assert (joined.id, joined.external_id, joined.email) == (own.id, "x", "own@b.example")


def test_no_join_without_the_policy(session: StoreSession) -> None:
    create_contact(session, email=EMAIL)
    with pytest.raises(StoreConflictError) as refused:
        upsert(session, link=False)
    assert refused.value.args == ("email",)


def test_no_join_with_a_contact_that_has_an_external_id(session: StoreSession) -> None:
    create_contact(session, external_id="y", email=EMAIL)
    with pytest.raises(StoreConflictError) as refused:
        upsert(session)
    assert refused.value.args == ("email",)


def test_no_join_when_the_external_id_was_cleared_later(session: StoreSession) -> None:
    held = create_contact(session, external_id="y", email=EMAIL)
    contacts = session.store.contacts
    clear = ContactWrite(external_id=None)
    session.run(contacts.update(1, held.id, clear, LATER_US, source="api"))
    with pytest.raises(StoreConflictError):
        upsert(session, occurred_us=START_US + 1)
    assert upsert(session, occurred_us=LATER_US + 1).id == held.id


def test_one_of_many_concurrent_upserts_joins(session: StoreSession) -> None:
    """In one batch, and in concurrent ones."""
    held = create_contact(session, email=EMAIL)
    writes = [ContactWrite(external_id=f"x{n}", email=EMAIL, link=True) for n in range(4)]
    contacts = session.store.contacts

    async def all_at_once() -> list[Any]:
        parts = [
            contacts.upsert_many(1, [one, *writes], LATER_US, source="import") for one in writes
        ]
        return [outcome for part in await asyncio.gather(*parts) for outcome in part]

    outcomes = session.run(all_at_once())
    joined = {each.contact.id for each in outcomes if not isinstance(each, ApiError)}
    assert joined == {held.id}
    refused = [each for each in outcomes if isinstance(each, ApiError)]
    assert {error.status for error in refused} == {409}
    assert len(outcomes) - len(refused) == 5

"""Lists of contacts: any filters together, newest first, in bounded steps."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.contact import Contact
from headrace.domain.contacts.search import MATCHES_MAX
from headrace.domain.contacts.topics import TopicFields
from headrace.store.contract.contacts import ContactFilter
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, fill_contacts

ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def found(session: StoreSession, *, limit: int = 200, **wanted: Any) -> list[str]:
    """Ids of all pages."""
    ids: list[str] = []
    before: int | None = None
    while True:
        page = session.run(
            session.store.contacts.list(1, ContactFilter(**wanted), before=before, limit=limit)
        )
        ids += [contact.id for contact in page.contacts]
        if page.next_before is None:
            return ids
        before = page.next_before


def audience_of(session: StoreSession, *contacts: Contact) -> str:
    audiences = session.store.audiences
    made = session.run(audiences.create(1, AudienceFields(name="a"), START_US))
    session.run(audiences.enter(1, made.id, [contact.id for contact in contacts], START_US))
    return made.id


def topic_of(session: StoreSession, *contacts: Contact, default: bool, wanted: bool) -> str:
    topics = session.store.topics
    fields = TopicFields(name=f"topic {default} {wanted}", default_subscribed=default)
    made = session.run(topics.create(1, fields, START_US))
    for contact in contacts:
        session.run(topics.subscribe(1, contact.id, made.id, START_US, wanted=wanted))
    return made.id


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ("an", "ab"),
        ("AN", "b"),
        (" an", "b"),
        ("Ann", "bc"),
        ("anna@x.org", "a"),
        ("anna@x.org.", ""),
        ("ö", "d"),
        ("\ud7ff", "e"),
        ("%", ""),
        ("a%", ""),
        ("_", ""),
    ],
)
def test_a_search_is_for_the_beginning_of_an_identifier(
    session: StoreSession, search: str, names: str
) -> None:
    people = {
        "a": create_contact(session, external_id="anna@x.org"),
        "b": create_contact(session, email="anna@y.org"),
        "c": create_contact(session, external_id="Anna"),
        "d": create_contact(session, external_id="ölaf", email="o@x.org"),
        "e": create_contact(session, external_id="\ud7ff!", properties={"name": "an"}),
    }
    create_contact(session, 2, external_id="anna@x.org")

    # Case matters in an external id, but not in an address.
    assert sorted(found(session, search=search)) == sorted(people[name].id for name in names)


def test_a_contact_found_by_both_identifiers_is_listed_once(session: StoreSession) -> None:
    contact = create_contact(session, external_id="anna", email="anna@x.org")
    assert found(session, search="anna") == [contact.id]


def test_pages_of_a_search_are_newest_first(session: StoreSession) -> None:
    contacts = [create_contact(session, external_id=f"u{9 - n}") for n in range(7)]
    assert found(session, search="u", limit=2) == [each.id for each in reversed(contacts)]


def test_wide_search_continues_over_pages(session: StoreSession) -> None:
    first = create_contact(session, external_id="wide 0")
    fill_contacts(session, MATCHES_MAX + 10, prefix="wide")
    last = create_contact(session, external_id="wide 1")

    ids = found(session, search="wide")

    assert len(ids) == MATCHES_MAX + 12
    assert len(set(ids)) == len(ids)
    assert {first.id, last.id} <= set(ids)


def test_contacts_subscribed_by_choice_or_default(session: StoreSession) -> None:
    a, b, c = (create_contact(session, external_id=name) for name in "abc")
    by_choice = topic_of(session, a, c, default=False, wanted=True)
    by_default = topic_of(session, c, default=True, wanted=False)
    assert found(session, topic_id=by_choice, limit=1) == [c.id, a.id]
    assert found(session, topic_id=by_default, limit=1) == [b.id, a.id]

    session.run(session.store.topics.opt_out(1, a.id, START_US))

    assert found(session, topic_id=by_choice) == [c.id]
    assert found(session, topic_id=by_default) == [b.id]


def test_unknown_topics_and_audiences_have_no_contacts(session: StoreSession) -> None:
    create_contact(session)
    assert found(session, audience_id=ABSENT) == []
    assert found(session, topic_id=ABSENT) == []


def test_any_filters_can_be_combined(session: StoreSession) -> None:
    """One contact matches everything, each of the others lacks one thing."""
    fields: dict[str, Any] = {
        "external_id": "u-all",
        "email": "all@x.org",
        "properties": {"plan": "pro"},
    }
    whole = create_contact(session, **fields)
    no_property = create_contact(session, external_id="u-2", email="two@x.org")
    no_search = create_contact(session, external_id="v-3", properties={"plan": "pro"})
    no_audience = create_contact(session, external_id="u-4", properties={"plan": "pro"})
    no_choice = create_contact(session, external_id="u-5", properties={"plan": "pro"})
    refused = create_contact(session, external_id="u-6", properties={"plan": "pro"})
    everybody = [whole, no_property, no_search, no_audience, no_choice, refused]
    chosen = [whole, no_property, no_search, no_audience, refused]
    filters: dict[str, tuple[Any, list[Contact]]] = {
        "audience_id": (
            audience_of(session, *(each for each in everybody if each is not no_audience)),
            [each for each in everybody if each is not no_audience],
        ),
        "topic_id": (topic_of(session, *chosen, default=False, wanted=True), chosen),
        "search": ("u-", [each for each in everybody if each is not no_search]),
        "properties": (
            (("plan", "pro"),),
            [each for each in everybody if each is not no_property],
        ),
        "created_after_us": (START_US, everybody),
        "created_before_us": (START_US + 1, everybody),
    }
    exact = {"external_id": ("u-all", [whole]), "email": ("all@x.org", [whole])}

    for size in range(1, len(filters) + len(exact) + 1):
        for names in itertools.combinations({**filters, **exact}, size):
            given = {name: ({**filters, **exact})[name] for name in names}
            wanted = [
                contact.id
                for contact in reversed(everybody)
                if all(contact in matching for _, matching in given.values())
            ]
            values = {name: value for name, (value, _) in given.items()}
            assert found(session, limit=2, **values) == wanted, names


@pytest.mark.parametrize(
    "wanted",
    [
        {"external_id": "gone"},
        {"email": "gone@x.org"},
        {"external_id": "own", "email": "gone@x.org"},
        {"search": "gon"},
        {"search": "gon", "external_id": "own"},
    ],
)
def test_identifiers_of_a_merged_contact_list_the_survivor(
    session: StoreSession, wanted: dict[str, Any]
) -> None:
    own = create_contact(session, external_id="own", email="own@x.org")
    other = create_contact(session, external_id="gone", email="gone@x.org")
    create_contact(session, external_id="else")
    merges = session.store.merges
    session.run(merges.merge(1, own.id, other.id, START_US, actor="tester"))
    assert found(session, **wanted) == [own.id]
    assert found(session, external_id="else", email="gone@x.org") == []

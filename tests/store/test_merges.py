"""Merges: what is kept, where identifiers lead, and undoing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.contact import Contact, ContactWrite
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.errors import ApiError
from headrace.store.contract.contacts import Upserted
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.merges import Merge, MergeRejectedError, MergeRejection
from tests.support.events import START_US
from tests.support.session import StoreSession

ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
LATER_US = START_US + 1_000_000


def create(
    session: StoreSession, project_id: int = 1, at_us: int = START_US, **fields: Any
) -> Contact:
    write = ContactWrite(**fields)
    return session.run(session.store.contacts.create(project_id, write, at_us, source="api"))


def update(session: StoreSession, contact_id: str, at_us: int = LATER_US, **fields: Any) -> Contact:
    write = ContactWrite(**fields)
    done = session.run(session.store.contacts.update(1, contact_id, write, at_us, source="api"))
    assert done is not None
    return done


def get(session: StoreSession, contact_id: str) -> Contact | None:
    return session.run(session.store.contacts.get(1, contact_id))


def merge(session: StoreSession, own: Contact, other: Contact, at_us: int = LATER_US) -> Merge:
    return session.run(session.store.merges.merge(1, own.id, other.id, at_us, actor="tester"))


def undo(session: StoreSession, done: Merge, at_us: int = LATER_US + 1) -> Merge:
    return session.run(session.store.merges.undo(1, done.id, at_us, actor="tester"))


def rejection(
    session: StoreSession, own_id: str, other_id: str, project_id: int = 1
) -> MergeRejection:
    with pytest.raises(MergeRejectedError) as raised:
        session.run(
            session.store.merges.merge(project_id, own_id, other_id, LATER_US, actor="tester")
        )
    return raised.value.rejection


def refused_undo(session: StoreSession, done: Merge, project_id: int = 1) -> MergeRejection:
    with pytest.raises(MergeRejectedError) as raised:
        session.run(session.store.merges.undo(project_id, done.id, LATER_US, actor="tester"))
    return raised.value.rejection


def emitted(session: StoreSession) -> list[tuple[str, dict[str, Any]]]:
    rows = session.place.run_sql(
        "SELECT event, payload FROM events WHERE source = 3 ORDER BY sequence"
    )
    return [(event.removeprefix("sendrealm."), json.loads(payload)) for event, payload in rows]


def two(session: StoreSession) -> tuple[Contact, Contact]:
    own = create(session, external_id="x", properties={"plan": "free", "seats": 1})
    other = create(
        session,
        at_us=START_US + 5,
        external_id="y",
        email="b@b.example",
        email_original="B@b.example",
        properties={"plan": "pro", "city": "Rome"},
    )
    return own, other


def test_the_survivor_keeps_its_own_and_gets_what_it_lacks(session: StoreSession) -> None:
    own, other = two(session)

    merge(session, own, other)

    found = get(session, own.id)
    assert found is not None
    assert (found.external_id, found.email, found.email_original) == (
        "x",
        "b@b.example",
        "B@b.example",
    )
    assert found.properties == {"plan": "pro", "seats": 1, "city": "Rome"}
    assert found.created_us == own.created_us


def test_newer_value_of_a_property_wins(session: StoreSession) -> None:
    own, other = two(session)
    update(session, own.id, properties={"plan": "basic", "city": None})
    merge(session, own, other, LATER_US + 9)
    found = get(session, own.id)
    assert found is not None
    assert found.properties == {"plan": "basic", "seats": 1}


def test_all_identifiers_of_the_other_resolve_to_the_survivor(session: StoreSession) -> None:
    own, other = two(session)
    merge(session, own, other)
    found = get(session, own.id)
    contacts = session.store.contacts

    assert get(session, other.id) == found
    for write in (ContactWrite(external_id="y"), ContactWrite(email="b@b.example")):
        upserted = session.run(contacts.upsert(1, write, LATER_US, source="api"))
        assert (upserted[0].id, upserted[1]) == (own.id, False)
    with pytest.raises(StoreConflictError) as raised:
        create(session, external_id="y", email="b@b.example")
    assert raised.value.args == ("external_id", "email")


@pytest.mark.parametrize("field", ["external_id", "email"])
def test_an_alias_finds_the_survivor_whose_own_identifier_stays(
    session: StoreSession, field: str
) -> None:
    own = create(session, external_id="x", email="own@x.org")
    other = create(session, external_id="y", email="other@x.org")
    done = merge(session, own, other)
    alias = getattr(other, field)
    write = ContactWrite(**{field: alias}, properties={"via": "alias"})

    upsert = session.store.contacts.upsert(1, write, LATER_US + 1, source="api")
    [many] = session.run(session.store.contacts.upsert_many(1, [write], LATER_US, source="api"))
    found, created = session.run(upsert)

    assert (found.id, created) == (own.id, False)
    assert isinstance(many, Upserted)
    assert many.contact.id == own.id
    assert (found.external_id, found.email) == (own.external_id, own.email)
    assert found.properties["via"] == "alias"
    again = ContactWrite(**{field: getattr(own, field)})
    assert session.run(session.store.contacts.upsert(1, again, LATER_US, source="api"))[1] is False
    undo(session, done)
    assert get(session, other.id) == other


def test_merge_emits_events_about_both_contacts(session: StoreSession) -> None:
    own, other = two(session)
    before = len(emitted(session))

    merge(session, own, other)

    about = {"source": "merge"}
    assert emitted(session)[before:] == [
        ("contact.deleted", {"contact_id": other.id, **about, "merged_into": own.id}),
        (
            "contact.updated",
            {
                "contact_id": own.id,
                **about,
                "merged_from": other.id,
                "changes": {
                    "email": {"from": None, "to": "B@b.example"},
                    "properties.plan": {"from": "free", "to": "pro"},
                    "properties.city": {"from": None, "to": "Rome"},
                },
            },
        ),
    ]


def test_survivor_that_gains_nothing_has_no_event(session: StoreSession) -> None:
    own, other = create(session, external_id="x"), create(session, external_id="y")
    before = len(emitted(session))
    merge(session, own, other)
    assert [name for name, _ in emitted(session)[before:]] == ["contact.deleted"]


def test_preview_shows_the_merge_and_changes_nothing(session: StoreSession) -> None:
    own, other = two(session)
    topic = session.run(session.store.topics.create(1, TopicFields(name="News"), START_US))
    session.run(session.store.topics.subscribe(1, other.id, topic.id, START_US, wanted=True))
    audience = session.run(session.store.audiences.create(1, AudienceFields(name="VIP"), START_US))
    session.run(session.store.audiences.enter(1, audience.id, [other.id], START_US))

    preview = session.run(session.store.merges.preview(1, own.id, other.id))

    assert (get(session, own.id), get(session, other.id)) == (own, other)
    assert preview.other == other
    assert (preview.topics, preview.audiences, preview.events) == (1, 1, 0)
    assert set(preview.aliases) == {("contact_id", other.id), ("external_id", "y")}
    assert preview.changes.keys() == {"email", "properties.plan", "properties.city"}
    merge(session, own, other)
    found = get(session, own.id)
    assert found is not None
    assert preview.contact.properties == found.properties


def test_topics_and_audiences_are_merged_and_restored(session: StoreSession) -> None:
    own, other = two(session)
    topics, audiences = session.store.topics, session.store.audiences
    news, ads, _ = (
        session.run(topics.create(1, TopicFields(name=name, default_subscribed=on), START_US))
        for name, on in (("News", False), ("Ads", True), ("All", True))
    )
    vip, old = (
        session.run(audiences.create(1, AudienceFields(name=name), START_US))
        for name in ("VIP", "Old")
    )
    session.run(topics.subscribe(1, own.id, ads.id, START_US + 1, wanted=True))
    session.run(topics.subscribe(1, other.id, news.id, START_US + 2, wanted=True))
    session.run(topics.subscribe(1, other.id, ads.id, START_US + 2, wanted=False))
    session.run(audiences.enter(1, vip.id, [other.id], START_US))
    session.run(audiences.enter(1, old.id, [own.id, other.id], START_US))
    wanted = {
        contact.id: session.run(topics.subscriptions(1, contact.id, before=None, limit=10))
        for contact in (own, other)
    }
    before = len(emitted(session))

    done = merge(session, own, other)

    held = session.run(topics.subscriptions(1, own.id, before=None, limit=10)) or ()
    assert {s.topic.name: s.is_subscribed for s in held} == {
        "News": True,
        "Ads": False,
        "All": True,
    }
    names = [(name, body["contact_id"]) for name, body in emitted(session)[before:]]
    assert names[:5] == [
        *[("audience.exited", other.id)] * 2,
        ("contact.deleted", other.id),
        ("contact.updated", own.id),
        ("audience.entered", own.id),
    ]
    assert set(names[5:]) == {("topic.unsubscribed", own.id), ("topic.subscribed", own.id)}
    undo(session, done)
    assert wanted == {
        contact.id: session.run(topics.subscriptions(1, contact.id, before=None, limit=10))
        for contact in (own, other)
    }
    assert not session.run(audiences.exit(1, vip.id, own.id, LATER_US))
    assert session.run(audiences.exit(1, vip.id, other.id, LATER_US))
    assert session.run(audiences.exit(1, old.id, own.id, LATER_US))


def test_opt_out_of_everything_survives_a_merge(session: StoreSession) -> None:
    own, other = two(session)
    topics = session.store.topics
    session.run(topics.create(1, TopicFields(name="All", default_subscribed=True), START_US))
    session.run(topics.opt_out(1, other.id, START_US))

    done = merge(session, own, other)

    held = session.run(topics.subscriptions(1, own.id, before=None, limit=10))
    assert [s.is_subscribed for s in held or ()] == [False]
    undo(session, done)
    back = session.run(topics.subscriptions(1, own.id, before=None, limit=10))
    assert [s.is_subscribed for s in back or ()] == [True]


def test_a_later_opt_out_wins_over_a_choice_of_the_other(session: StoreSession) -> None:
    own, other = two(session)
    topics = session.store.topics
    news = session.run(topics.create(1, TopicFields(name="News"), START_US))
    offers = session.run(topics.create(1, TopicFields(name="Offers"), START_US))
    session.run(topics.subscribe(1, own.id, news.id, START_US, wanted=True))
    session.run(topics.opt_out(1, other.id, START_US + 10))
    session.run(topics.subscribe(1, own.id, offers.id, START_US + 20, wanted=True))

    done = merge(session, own, other)

    held = session.run(topics.subscriptions(1, own.id, before=None, limit=10))
    assert {s.topic.name: s.is_subscribed for s in held or ()} == {"News": False, "Offers": True}
    undo(session, done)
    back = session.run(topics.subscriptions(1, own.id, before=None, limit=10))
    assert {s.topic.name: s.is_subscribed for s in back or ()} == {"News": True, "Offers": True}


@pytest.mark.parametrize("survivor", ["own", "other"])
def test_the_last_of_several_opt_outs_counts(session: StoreSession, survivor: str) -> None:
    """Out, in again, out again: later than what the other one has chosen in between."""
    own, other = two(session)
    topics = session.store.topics
    news, offers = (
        session.run(topics.create(1, TopicFields(name=name), START_US))
        for name in ("News", "Offers")
    )
    session.run(topics.opt_out(1, own.id, START_US + 10))
    session.run(topics.subscribe(1, own.id, news.id, START_US + 20, wanted=True))
    session.run(topics.subscribe(1, other.id, offers.id, START_US + 30, wanted=True))
    session.run(topics.opt_out(1, own.id, START_US + 40))

    left = own if survivor == "own" else other
    merge(session, left, other if survivor == "own" else own)

    held = session.run(topics.subscriptions(1, left.id, before=None, limit=10))
    assert {s.topic.name: s.is_subscribed for s in held or ()} == {"News": False, "Offers": False}


@pytest.mark.parametrize("first", ["own", "other"])
def test_the_last_opt_out_of_both_counts_in_a_further_merge(
    session: StoreSession, first: str
) -> None:
    own, other = two(session)
    third = create(session)
    topics = session.store.topics
    news = session.run(topics.create(1, TopicFields(name="News"), START_US))
    early, late = (own, other) if first == "own" else (other, own)
    session.run(topics.opt_out(1, early.id, START_US + 10))
    session.run(topics.subscribe(1, third.id, news.id, START_US + 20, wanted=True))
    session.run(topics.opt_out(1, late.id, START_US + 30))

    merge(session, own, other)
    merge(session, own, third)

    held = session.run(topics.subscriptions(1, own.id, before=None, limit=10))
    assert [s.is_subscribed for s in held or ()] == [False]


def test_opt_out_of_the_survivor_applies_to_choices_of_the_other(
    session: StoreSession,
) -> None:
    own, other = two(session)
    topics = session.store.topics
    news = session.run(topics.create(1, TopicFields(name="News"), START_US))
    session.run(topics.subscribe(1, other.id, news.id, START_US, wanted=True))
    session.run(topics.opt_out(1, own.id, START_US + 10))

    merge(session, own, other)

    held = session.run(topics.subscriptions(1, own.id, before=None, limit=10))
    assert [s.is_subscribed for s in held or ()] == [False]


def test_one_of_equal_concurrent_merges_is_made(session: StoreSession) -> None:
    own, other = two(session)

    async def at_once() -> list[Merge | BaseException]:
        return await asyncio.gather(
            *(
                session.store.merges.merge(1, own.id, other.id, LATER_US, actor="tester")
                for _ in range(3)
            ),
            return_exceptions=True,
        )

    done = session.run(at_once())
    assert sum(isinstance(each, Merge) for each in done) == 1
    refused = [each.rejection for each in done if isinstance(each, MergeRejectedError)]
    assert refused == [MergeRejection.SAME_CONTACT] * 2


def test_undo_restores_both_sides(session: StoreSession) -> None:
    own, other = two(session)
    undone = undo(session, merge(session, own, other))

    assert undone.undone_by == "tester"
    assert (get(session, own.id), get(session, other.id)) == (own, other)
    names = [name for name, _ in emitted(session)]
    assert names[-2:] == ["contact.updated", "contact.created"]


def test_undo_leaves_later_changes_with_the_survivor(session: StoreSession) -> None:
    own, other = two(session)
    done = merge(session, own, other)
    update(
        session, own.id, LATER_US + 1, properties={"city": "Oslo", "new": 1}, email="n@n.example"
    )

    undo(session, done, LATER_US + 2)

    found = get(session, own.id)
    assert found is not None
    assert (found.external_id, found.email) == ("x", "n@n.example")
    assert found.properties == {"plan": "free", "seats": 1, "city": "Oslo", "new": 1}
    assert get(session, other.id) == other


def test_undo_returns_an_identifier_that_the_survivor_adopted(session: StoreSession) -> None:
    own, other = two(session)
    done = merge(session, own, other)
    update(session, own.id, external_id="y")

    undo(session, done)

    found = get(session, own.id)
    assert found is not None
    assert found.external_id == "x"
    assert get(session, other.id) == other


def test_undo_twice_is_rejected(session: StoreSession) -> None:
    done = merge(session, *two(session))
    undo(session, done)
    assert refused_undo(session, done) is MergeRejection.UNDONE_BEFORE


def test_undo_is_in_reverse_order(session: StoreSession) -> None:
    """A later merge that builds on one is undone before it."""
    a, b, c = (create(session, external_id=name) for name in "abc")
    first = merge(session, a, b)
    second = merge(session, c, a)
    assert {(get(session, each.id) or a).id for each in (a, b, c)} == {c.id}

    assert refused_undo(session, first) is MergeRejection.NOT_THE_LAST
    undo(session, second)
    assert [(get(session, each.id) or a).id for each in (a, b, c)] == [a.id, a.id, c.id]
    undo(session, first)
    assert [get(session, each.id) for each in (a, b, c)] == [a, b, c]


def test_undo_is_rejected_when_another_contact_has_an_identifier(session: StoreSession) -> None:
    own, other = two(session)
    done = merge(session, own, other)
    update(session, own.id, email="n@n.example")
    taken = create(session, email="b@b.example")
    assert refused_undo(session, done) is MergeRejection.IDENTIFIER_TAKEN
    assert get(session, taken.id) == taken


def test_undo_is_rejected_after_deletion_of_the_survivor(session: StoreSession) -> None:
    own, other = two(session)
    done = merge(session, own, other)
    assert session.run(session.store.contacts.delete(1, other.id, LATER_US, source="api"))
    assert get(session, own.id) is None
    assert refused_undo(session, done) is MergeRejection.CONTACT_GONE
    assert create(session, external_id="y").id not in (own.id, other.id)


def test_impossible_merges_are_rejected(session: StoreSession) -> None:
    own, other = two(session)
    stranger = create(session, 2, external_id="x")

    assert rejection(session, own.id, ABSENT) is MergeRejection.NOT_FOUND
    assert rejection(session, ABSENT, own.id) is MergeRejection.NOT_FOUND
    assert rejection(session, own.id, stranger.id) is MergeRejection.NOT_FOUND
    assert rejection(session, own.id, other.id, project_id=2) is MergeRejection.NOT_FOUND
    assert rejection(session, own.id, own.id) is MergeRejection.SAME_CONTACT
    done = merge(session, own, other)
    assert rejection(session, own.id, other.id) is MergeRejection.SAME_CONTACT
    assert refused_undo(session, done, project_id=2) is MergeRejection.NO_SUCH_MERGE


def test_properties_over_the_limit_are_rejected(session: StoreSession) -> None:
    own = create(session, properties={"a": "x" * 9_000})
    other = create(session, properties={"b": "x" * 9_000})
    with pytest.raises(ApiError):
        merge(session, own, other)
    assert (get(session, own.id), get(session, other.id)) == (own, other)


def test_merges_are_listed_newest_first(session: StoreSession) -> None:
    a, b, c = (create(session, external_id=name) for name in "abc")
    made = [merge(session, a, b), merge(session, a, c)]
    merges = session.store.merges
    assert session.run(merges.list(1, before=None, limit=10)) == made[::-1]
    assert session.run(merges.list(1, before=made[1].number, limit=10)) == made[:1]
    assert session.run(merges.get(1, made[0].id)) == made[0]
    assert session.run(merges.get(2, made[0].id)) is None

"""Topics and subscriptions in the store: an event for each change, and for nothing else."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from headrace.domain.contacts.topics import (
    TOPICS_MAX,
    Subscription,
    Topic,
    TopicFields,
    subscription_id,
)
from headrace.store.contacts.groups.topics import TooManyTopicsError
from headrace.store.contract.errors import StoreConflictError
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events

ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def create(session: StoreSession, name: str = "News", project_id: int = 1, **more: Any) -> Topic:
    fields = TopicFields(name=name, **more)
    return session.run(session.store.topics.create(project_id, fields, START_US))


def subscribe(
    session: StoreSession, contact_id: str, topic: Topic, now_us: int, *, wanted: bool
) -> Subscription | None:
    topics = session.store.topics
    return session.run(topics.subscribe(1, contact_id, topic.id, now_us, wanted=wanted))


def stands(session: StoreSession, contact_id: str) -> dict[str, tuple[bool, int | None]]:
    found = session.run(session.store.topics.subscriptions(1, contact_id, before=None, limit=99))
    assert found is not None
    return {each.topic.name: (each.is_subscribed, each.changed_us) for each in found}


def topic_events(session: StoreSession) -> list[tuple[str, dict[str, Any]]]:
    return system_events(session, "sendrealm.topic.")


def test_a_topic_is_kept_changed_and_listed(session: StoreSession) -> None:
    topics = session.store.topics
    first = create(session, "News", description="Weekly", default_subscribed=True)
    second = create(session, "Offers")

    assert session.run(topics.get(1, first.id)) == first
    assert (second.description, second.default_subscribed) == ("", False)
    changed = session.run(
        topics.update(1, first.id, TopicFields(default_subscribed=False), START_US + 5)
    )
    assert changed is not None
    assert (changed.name, changed.default_subscribed) == ("News", False)
    assert changed.updated_us == START_US + 5
    assert session.run(topics.list(1, before=None, limit=5)) == [second, changed]
    assert session.run(topics.list(1, before=second.created_us, limit=5)) == [changed]


def test_a_write_that_changes_nothing_leaves_the_time(session: StoreSession) -> None:
    topic = create(session)
    again = session.run(session.store.topics.update(1, topic.id, TopicFields(name="News"), 9))
    assert again == topic


def test_a_name_is_taken_once_in_a_project(session: StoreSession) -> None:
    topics = session.store.topics
    create(session, "News")
    other = create(session, "Offers")
    create(session, "News", 2)

    with pytest.raises(StoreConflictError, match="name"):
        create(session, "News")
    with pytest.raises(StoreConflictError, match="name"):
        session.run(topics.update(1, other.id, TopicFields(name="News"), START_US))

    assert session.run(topics.get(1, other.id)) == other


def test_a_choice_is_an_event_when_it_changes_something(session: StoreSession) -> None:
    contact, topic = create_contact(session, external_id="x"), create(session)

    subscribe(session, contact.id, topic, START_US + 1, wanted=True)
    again = subscribe(session, contact.id, topic, START_US + 2, wanted=True)
    last = subscribe(session, contact.id, topic, START_US + 3, wanted=False)

    assert again is not None
    assert (again.is_subscribed, again.changed_us) == (True, START_US + 1)
    assert last is not None
    assert (last.is_subscribed, last.changed_us) == (False, START_US + 3)
    payload = {"topic_id": topic.id, "topic_name": "News", "contact_id": contact.id}
    assert topic_events(session) == [
        ("sendrealm.topic.subscribed", payload),
        ("sendrealm.topic.unsubscribed", payload),
    ]


def test_choosing_the_default_is_stored_without_an_event(session: StoreSession) -> None:
    contact = create_contact(session)
    topic = create(session, default_subscribed=True)
    assert stands(session, contact.id) == {"News": (True, None)}

    subscribe(session, contact.id, topic, START_US + 1, wanted=True)
    session.run(session.store.topics.update(1, topic.id, TopicFields(default_subscribed=False), 9))

    assert stands(session, contact.id) == {"News": (True, START_US + 1)}
    assert topic_events(session) == []


def test_changed_default_applies_to_contacts_without_a_choice(session: StoreSession) -> None:
    contact, topic = create_contact(session), create(session)
    session.run(session.store.topics.update(1, topic.id, TopicFields(default_subscribed=True), 9))
    assert stands(session, contact.id) == {"News": (True, None)}
    assert topic_events(session) == []


def test_opting_out_of_everything_outlasts_new_topics(session: StoreSession) -> None:
    contact, topics = create_contact(session), session.store.topics
    chosen, _, refused = (
        create(session, name, default_subscribed=name == "b") for name in ("a", "b", "c")
    )
    subscribe(session, contact.id, chosen, START_US + 1, wanted=True)
    subscribe(session, contact.id, refused, START_US + 1, wanted=False)

    first = session.run(topics.opt_out(1, contact.id, START_US + 2))
    again = session.run(topics.opt_out(1, contact.id, START_US + 3))
    create(session, "later", default_subscribed=True)

    assert first is not None
    assert again is not None
    assert (first.changed, first.at_us) == (2, START_US + 2)
    assert (again.changed, again.at_us) == (0, START_US + 2)
    found = stands(session, contact.id)
    assert {name: each[0] for name, each in found.items()} == dict.fromkeys(
        ("later", "c", "b", "a"), False
    )
    names = [(name, payload["topic_name"]) for name, payload in topic_events(session)]
    unsubscribed = "sendrealm.topic.unsubscribed"
    assert names[0] == ("sendrealm.topic.subscribed", "a")
    assert sorted(names[1:]) == [(unsubscribed, "a"), (unsubscribed, "b")]


def test_contact_that_opted_out_can_choose_again(session: StoreSession) -> None:
    contact, topic = create_contact(session), create(session, default_subscribed=True)
    session.run(session.store.topics.opt_out(1, contact.id, START_US + 1))
    subscribe(session, contact.id, topic, START_US + 2, wanted=True)
    assert stands(session, contact.id) == {"News": (True, START_US + 2)}
    assert len(topic_events(session)) == 2


def test_deleted_topic_is_gone_at_once_and_its_rows_later(session: StoreSession) -> None:
    topics, topic = session.store.topics, create(session)
    for _ in range(5):
        subscribe(session, create_contact(session).id, topic, START_US, wanted=True)
    told = topic_events(session)

    assert session.run(topics.delete(1, topic.id, START_US))
    assert not session.run(topics.delete(1, topic.id, START_US))
    assert session.run(topics.get(1, topic.id)) is None
    assert session.run(topics.list(1, before=None, limit=5)) == []
    create(session, "News")
    steps = 0
    while session.run(topics.remove_deleted(2)):
        steps += 1

    assert steps == 2
    assert session.place.run_sql("SELECT count(*) FROM topic_subscriptions") == [(0,)]
    assert session.place.run_sql("SELECT count(*) FROM topics") == [(1,)]
    # No contact has unsubscribed.
    assert topic_events(session) == told


def test_a_deleted_contact_leaves_no_subscription(session: StoreSession) -> None:
    contact, topic = create_contact(session), create(session, default_subscribed=True)
    subscribe(session, contact.id, topic, START_US, wanted=False)
    session.run(session.store.topics.opt_out(1, contact.id, START_US))
    told = topic_events(session)

    session.run(session.store.contacts.delete(1, contact.id, START_US, source="api"))
    newcomer = create_contact(session)

    assert stands(session, newcomer.id) == {"News": (True, None)}
    assert topic_events(session) == told


def test_projects_are_isolated(session: StoreSession) -> None:
    topics = session.store.topics
    topic, contact = create(session), create_contact(session)
    other = create_contact(session, 2)

    assert session.run(topics.get(2, topic.id)) is None
    assert session.run(topics.update(2, topic.id, TopicFields(name="a"), 9)) is None
    assert not session.run(topics.delete(2, topic.id, 9))
    assert session.run(topics.subscribe(2, other.id, topic.id, 9, wanted=True)) is None
    assert session.run(topics.subscribe(1, other.id, topic.id, 9, wanted=True)) is None
    assert session.run(topics.subscriptions(2, contact.id, before=None, limit=5)) is None
    assert session.run(topics.opt_out(2, contact.id, 9)) is None
    assert topic_events(session) == []


def test_number_of_topics_is_limited(session: StoreSession) -> None:
    topics = session.store.topics

    async def fill() -> None:
        for number in range(TOPICS_MAX):
            await topics.create(1, TopicFields(name=f"t{number}"), START_US)

    session.run(fill())
    with pytest.raises(TooManyTopicsError):
        create(session, "one more")
    everything = session.run(topics.list(1, before=None, limit=2 * TOPICS_MAX))
    assert [topic.name for topic in everything] == [f"t{n}" for n in reversed(range(TOPICS_MAX))]
    session.run(topics.delete(1, everything[0].id, START_US))
    create(session, "one more")


def test_the_id_of_a_subscription_is_that_of_the_pair() -> None:
    first = subscription_id(ABSENT, "a")
    assert first == subscription_id(ABSENT, "a")
    assert first != subscription_id(ABSENT, "b")
    assert uuid.UUID(first).version == 8

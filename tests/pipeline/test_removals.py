"""The loop that empties deleted audiences and topics: in slices, by one worker, over restarts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.topics import TopicFields
from headrace.pipeline.upkeep.deleted_lists import (
    LEADERSHIP_SECONDS,
    SLICE_ROWS,
    DeletedListCleaner,
)
from tests.support.events import START_US
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession
from tests.support.stored_contacts import fill_contacts, system_events

MEMBERS = 2 * SLICE_ROWS + 50


@pytest.fixture
def session(tmp_path: Path) -> Iterator[StoreSession]:
    opened = StoreSession(SqlitePlace(tmp_path))
    yield opened
    opened.close()


def removals(session: StoreSession, owner: str = "one") -> DeletedListCleaner:
    store = session.store
    return DeletedListCleaner(
        store.audiences, store.topics, store.processing, owner=owner, clock_us=lambda: START_US
    )


def deleted_audience(session: StoreSession) -> None:
    """A deleted audience with many members."""
    fill_contacts(session, MEMBERS, prefix="u")
    ids = [str(row[0]) for row in session.place.run_sql("SELECT id FROM contacts")]
    audiences = session.store.audiences
    made = session.run(audiences.create(1, AudienceFields(name="a"), START_US))
    session.run(audiences.enter(1, made.id, ids, START_US))
    session.run(audiences.delete(1, made.id, START_US))


def exited(session: StoreSession) -> int:
    return len(system_events(session, "sendrealm.audience.exited"))


def test_a_large_audience_goes_slice_by_slice(session: StoreSession) -> None:
    deleted_audience(session)
    loop = removals(session)

    counts = []
    more = True
    while more:
        more = session.run(loop.run_once())
        counts.append(exited(session))

    assert counts == [SLICE_ROWS, 2 * SLICE_ROWS, MEMBERS]
    assert session.place.run_sql("SELECT count(*) FROM audience_members") == [(0,)]
    assert session.place.run_sql("SELECT count(*) FROM audiences") == [(0,)]


def test_another_worker_continues_where_one_has_ended(session: StoreSession) -> None:
    deleted_audience(session)
    session.run(removals(session).run_once())
    session.place.run_sql("DELETE FROM leader_leases")

    other = removals(session, "two")
    while session.run(other.run_once()):
        pass

    assert exited(session) == MEMBERS


def test_one_worker_at_a_time_removes(session: StoreSession) -> None:
    assert LEADERSHIP_SECONDS > 0
    deleted_audience(session)
    session.run(removals(session).run_once())
    assert not session.run(removals(session, "two").run_once())
    assert exited(session) == SLICE_ROWS


def test_topics_and_audiences_go_side_by_side(session: StoreSession) -> None:
    deleted_audience(session)
    topics = session.store.topics
    topic = session.run(topics.create(1, TopicFields(name="t"), START_US))
    contact_id = str(session.place.run_sql("SELECT id FROM contacts LIMIT 1")[0][0])
    session.run(topics.subscribe(1, contact_id, topic.id, START_US, wanted=True))
    session.run(topics.delete(1, topic.id, START_US))

    assert session.run(removals(session).run_once())

    assert session.place.run_sql("SELECT count(*) FROM topic_subscriptions") == [(0,)]
    assert session.place.run_sql("SELECT count(*) FROM topics") == [(0,)]

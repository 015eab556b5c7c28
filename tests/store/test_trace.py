"""Everything a store keeps about one event, from one snapshot."""

from __future__ import annotations

import pytest

from headrace.domain.ids import uuid_text
from headrace.store.contract.dead_letters import DeadLetterKind, DeadLetterState
from headrace.store.contract.deliveries import DeliveryState, SubscriberKind
from headrace.store.contract.trace import KeyUsed, TraceFacts
from tests.support.dead_letters import DeadLetterRows, rows_in
from tests.support.events import START_US, as_stored, new_event
from tests.support.places import Place
from tests.support.session import StoreSession
from tests.support.stored_rows import columns, insert


@pytest.fixture
def rows(session: StoreSession) -> DeadLetterRows:
    return rows_in(session.place)


def facts(session: StoreSession, event_id: bytes, project_id: int = 1) -> TraceFacts:
    found = session.run(session.store.trace.facts(project_id, event_id))
    assert found is not None
    return found


def test_a_fresh_event_was_only_received(session: StoreSession) -> None:
    event = new_event()
    session.accept(event)

    assert facts(session, event.id) == TraceFacts(
        event=as_stored(event),
        resolution=None,
        processed_us=None,
        lease_until_us=None,
        leased_attempt=0,
        retry_due_us=None,
        repeats=[],
        attempts=[],
        deliveries=[],
        dead_letters=[],
        subscribers=[],
    )


def test_duplicates_of_the_key_belong_to_it(session: StoreSession) -> None:
    event = new_event(key="k")
    session.accept(event)
    session.accept(new_event(key="k", received_us=START_US + 1, request_id="r2"))
    session.accept(new_event(key="k", received_us=START_US + 2, event="other", api_key_id=None))

    assert facts(session, event.id).repeats == [
        KeyUsed(START_US + 1, "0123456789abcdef", "r2", mismatch=False),
        KeyUsed(START_US + 2, None, "r1", mismatch=True),
    ]


def hold(place: Place, sequence: int, attempt: int, lease_until_us: int) -> None:
    """Let a worker claim an event; on PostgreSQL it has one lease for all claims."""
    place.run_sql(
        "UPDATE event_queue SET attempt = ?, owner = 'a' WHERE sequence = ?", attempt, sequence
    )
    if "lease_until_us" in columns(place, "event_queue"):
        place.run_sql("UPDATE event_queue SET lease_until_us = ?", lease_until_us)
    else:
        insert(place, "workers", owner="a", epoch=1, lease_until_us=lease_until_us)


def test_claim_and_retry_are_shown(session: StoreSession) -> None:
    event, other = new_event(), new_event()
    session.accept(event, other)
    place = session.place
    hold(place, event.sequence, attempt=2, lease_until_us=77)
    place.run_sql("DELETE FROM event_queue WHERE sequence = ?", other.sequence)
    values = {"lane": other.lane, "sequence": other.sequence, "project_id": 1}
    insert(place, "event_retries", **values, due_us=99, attempt=3, crashes=0)

    found, waits = facts(session, event.id), facts(session, other.id)

    assert (found.lease_until_us, found.leased_attempt, found.retry_due_us) == (77, 2, None)
    assert (waits.lease_until_us, waits.leased_attempt, waits.retry_due_us) == (None, 0, 99)


def test_failures_and_how_they_ended(session: StoreSession, rows: DeadLetterRows) -> None:
    event, other = new_event(), new_event()
    session.accept(event, other)
    subscriber = rows.subscriber(1)
    first = rows.processing(event.sequence, attempts=2)
    session.run(session.store.dead_letters.replay(1, first, START_US, actor="me"))
    second = rows.delivery(event.sequence, subscriber, attempts=2)
    rows.delivery(other.sequence, subscriber)

    found = facts(session, event.id)

    assert [attempt.number for attempt in found.attempts] == [1, 2]
    assert [letter.id for letter in found.dead_letters] == [first, second]
    closed, still_open = found.dead_letters
    assert (closed.kind, closed.state) == (DeadLetterKind.PROCESSING, DeadLetterState.REPLAYED)
    assert (closed.closed_us, closed.closed_by, closed.reason) == (START_US, "me", None)
    assert (still_open.state, still_open.closed_by) == (DeadLetterState.OPEN, None)
    [delivery] = found.deliveries
    assert (delivery.subscriber_id, delivery.state) == (subscriber, DeliveryState.DEAD_LETTERED)
    assert [attempt.http_status for attempt in delivery.attempts] == [400, 400]


def test_subscribers_of_the_project_and_handlers_of_all(
    session: StoreSession, rows: DeadLetterRows
) -> None:
    event = new_event()
    session.accept(event)
    own = rows.subscriber(1, events=["order.*"], enabled=False)
    rows.subscriber(2)
    handler = rows.subscriber(0, kind="handler", target="shop.on_order")

    subscribers = {each.id: each for each in facts(session, event.id).subscribers}

    assert set(subscribers) == {own, handler}
    assert subscribers[handler].kind is SubscriberKind.HANDLER
    assert subscribers[own].events == ("order.*",)
    assert not subscribers[own].enabled
    assert subscribers[own].disabled_reason == "switched off"


def test_another_project_has_no_such_event(session: StoreSession) -> None:
    event = new_event()
    session.accept(event)

    assert session.run(session.store.trace.facts(2, event.id)) is None
    assert session.run(session.store.trace.facts(1, bytes(16))) is None
    assert uuid_text(facts(session, event.id).event.id) == uuid_text(event.id)

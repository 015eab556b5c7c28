"""Guarantees of the store's committer about a batch."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.domain.events.event import FirstCopy, NewEvent
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError, StoreRowError
from headrace.store.contract.events import REPEATS_KEPT
from tests.support.events import START_US, as_stored, new_event
from tests.support.session import StoreSession


def first_copy(event: NewEvent, *, mismatch: bool = False) -> FirstCopy:
    return FirstCopy(event.id, event.event, event.occurred_us, mismatch)


@pytest.mark.parametrize("count", [1, 2, 3, 63, 64, 65, 127, 200, 512])
def test_new_events_are_stored_as_they_are(session: StoreSession, count: int) -> None:
    events = [new_event(key=f"key-{n}", payload=f'{{"n": {n}}}') for n in range(count)]
    assert session.accept(*events) == [None] * count
    for event in (events[0], events[count // 2], events[-1]):
        assert session.run(session.store.events.get(1, event.id)) == as_stored(event)
    assert session.stored_ids() == [event.id for event in events]


def test_every_column_survives(session: StoreSession) -> None:
    event = new_event(
        key=" ~key with blanks~ ",
        contact_id="c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10",
        external_id="número \U0001f600 \u202e",
        email="mike@xn--bcher-kva.example",
        email_original="Mike@Bücher.example",
        occurred_us=-62_135_596_800_000_000,
        source=2,
        api_key_id=None,
        request_id=None,
        payload='{ "a" : 1.0, "a": 1e400, "\\u00e9": "\\ud83d\\ude00", "n": 9007199254740993 }',
    )
    session.accept(event)
    assert session.run(session.store.events.get(1, event.id)) == as_stored(event)


def test_a_batch_without_keys_knows_no_duplicates(session: StoreSession) -> None:
    events = [new_event() for _ in range(70)]
    assert session.accept(*events) == [None] * 70


def test_a_duplicate_inside_a_batch_resolves_to_the_first(session: StoreSession) -> None:
    first, other, again = new_event(key="k"), new_event(key="other"), new_event(key="k")
    assert session.accept(first, other, again) == [None, None, first_copy(first)]
    assert session.stored_ids() == [first.id, other.id]


def test_a_duplicate_of_a_stored_event_resolves_to_it(session: StoreSession) -> None:
    first = new_event(key="k")
    session.accept(first)
    fresh, again = new_event(), new_event(key="k")
    assert session.accept(fresh, again) == [None, first_copy(first)]
    assert session.stored_ids() == [first.id, fresh.id]


def test_a_batch_of_nothing_but_duplicates(session: StoreSession) -> None:
    firsts = [new_event(key=f"k{n}") for n in range(100)]
    session.accept(*firsts)
    again = [new_event(key=f"k{n}") for n in range(100)]
    assert session.accept(*again) == [first_copy(first) for first in firsts]
    assert len(session.stored_ids()) == 100


def test_projects_never_share_a_key(session: StoreSession) -> None:
    one, two = new_event(project_id=1, key="k"), new_event(project_id=2, key="k")
    assert session.accept(one, two) == [None, None]
    again = new_event(project_id=2, key="k")
    assert session.accept(again) == [first_copy(two)]
    assert session.run(session.store.events.get_by_key(1, "k")) == as_stored(one)
    assert session.run(session.store.events.get_by_key(2, "k")) == as_stored(two)
    assert session.run(session.store.events.get_by_key(3, "k")) is None


def test_keys_are_compared_byte_for_byte(session: StoreSession) -> None:
    keys = ["a", "A", "a ", " a", "a%", "a_", "a'"]
    assert session.accept(*(new_event(key=key) for key in keys)) == [None] * len(keys)
    for key in keys:
        found = session.run(session.store.events.get_by_key(1, key))
        assert found is not None
        assert found.idempotency_key == key


@pytest.mark.parametrize(
    ("change", "mismatch"),
    [
        ({}, False),
        ({"payload": '{"total":12.5}'}, False),
        ({"payload": '{"total": 12.51}'}, True),
        ({"event": "order.cancelled"}, True),
        ({"external_id": "customer-2"}, True),
        ({"email": "a@b.example"}, True),
        ({"occurred_us": START_US + 1}, True),
        ({"received_us": START_US + 5, "occurred_us": START_US + 5}, False),
        ({"received_us": START_US + 5}, False),
    ],
)
def test_duplicate_with_other_content_is_a_mismatch(
    session: StoreSession, change: dict[str, Any], mismatch: bool
) -> None:
    first = new_event(key="k")
    again = new_event(key="k", **change)
    assert session.accept(first, again) == [None, first_copy(first, mismatch=mismatch)]
    assert session.accept(again) == [first_copy(first, mismatch=mismatch)]
    stored = session.run(session.store.events.get_by_key(1, "k"))
    assert stored == as_stored(first)


def test_kept_duplicates_are_limited(session: StoreSession) -> None:
    first = new_event(key="k")
    session.accept(first)
    for number in range(REPEATS_KEPT + 3):
        session.accept(
            new_event(
                key="k",
                received_us=START_US + number,
                request_id=f"r{number}",
                payload='{"total": 12.5}' if number % 2 else '{"other": 1}',
            )
        )
    stored = session.run(session.store.events.get(1, first.id))
    assert stored is not None
    repeats = session.run(session.store.events.repeats(stored))
    assert [repeat.request_id for repeat in repeats] == [f"r{n}" for n in range(REPEATS_KEPT)]
    assert [repeat.at_us for repeat in repeats] == [START_US + n for n in range(REPEATS_KEPT)]
    assert repeats[0].mismatch is True
    assert repeats[1].mismatch is False
    assert repeats[0].api_key_id == "0123456789abcdef"


def test_outcomes_are_reported_only_after_the_commit(session: StoreSession) -> None:
    """Another connection sees every row when the waiting requests get their outcome."""
    seen: list[tuple[bytes, ...]] = []

    def check_rows(batch: list[Pending]) -> None:
        del batch
        seen.append(tuple(session.stored_ids()))

    session.batches.on_settle = check_rows
    first, second = new_event(key="a"), new_event(key="b")
    session.accept(first)
    session.accept(new_event(key="a"), second)
    assert seen == [(first.id,), (first.id, second.id)]


@pytest.mark.parametrize("guilty_at", [0, 1, 37, 99])
@pytest.mark.parametrize("guilt", ["sequence", "text", "number"])
def test_invalid_event_fails_alone(session: StoreSession, guilty_at: int, guilt: str) -> None:
    there = new_event()
    session.accept(there)
    good = [new_event(key=f"k{n}") for n in range(100)]
    guilty = {
        "sequence": new_event(key="guilty", sequence=there.sequence),
        "text": new_event(key="guilty", email="\ud800"),
        "number": new_event(key="guilty", occurred_us=1 << 63),
    }[guilt]
    batch = [*good[:guilty_at], guilty, *good[guilty_at:]]
    outcomes = session.accept(*batch)
    assert isinstance(outcomes.pop(guilty_at), StoreError)
    assert outcomes == [None] * 100
    assert session.stored_ids() == [there.id, *(event.id for event in good)]
    assert session.failures == []
    # The key of an event that was not stored is free.
    assert session.accept(new_event(key="guilty")) == [None]


def test_several_invalid_events_and_duplicates_in_one_batch(session: StoreSession) -> None:
    there = new_event(key="there")
    session.accept(there)
    first = new_event(key="k")
    outcomes = session.accept(
        first,
        new_event(email="\udfff"),
        new_event(key="k"),
        new_event(sequence=there.sequence),
        new_event(key="there"),
        new_event(key="new"),
    )
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        StoreRowError,
        FirstCopy,
        StoreRowError,
        FirstCopy,
        type(None),
    ]
    assert outcomes[2] == first_copy(first)
    assert outcomes[4] == first_copy(there)
    assert len(session.stored_ids()) == 3


def test_every_accepted_event_waits_for_processing_once(session: StoreSession) -> None:
    events = [new_event(project_id=n % 3 + 1, key=f"k{n}") for n in range(90)]
    session.accept(*events)
    session.accept(*(new_event(key=f"k{n}", project_id=n % 3 + 1) for n in range(90)))
    waiting = session.place.run_sql(
        "SELECT project_id, sequence, lane FROM event_queue ORDER BY sequence"
    )
    assert list(waiting) == [(e.project_id, e.sequence, e.lane) for e in events]


def test_statistics_count_events_and_failures(session: StoreSession) -> None:
    session.accept(new_event(), new_event())
    session.accept(new_event(email="\ud800"))
    stats = session.store.commit_stats
    assert stats.events == 3
    assert stats.commits == 2
    assert stats.failed_commits == 1
    assert stats.size_buckets[1] == 1
    assert stats.size_buckets[2] == 2


def test_the_last_sequence_is_the_highest_stored(session: StoreSession) -> None:
    assert session.run(session.store.events.last_sequence()) == 0
    events = [new_event(), new_event()]
    session.accept(*events)
    assert session.run(session.store.events.last_sequence()) == events[-1].sequence

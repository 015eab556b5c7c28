"""Lists against a plain model: the same events, filtered by Python."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.contacts.contact import ContactWrite
from headrace.domain.deliveries.subscriptions import pattern_wants
from headrace.domain.events.event import DeliveryStatus, NewEvent, Source, Status, StoredEvent
from headrace.store.contract.deliveries import DeliveryState
from headrace.store.contract.events import EventFilter, EventPage
from tests.support.events import START_US, as_stored, new_event
from tests.support.places import PLACES, Place
from tests.support.session import StoreSession

EVENTS = 700
MINUTE_US = 60_000_000

NAMES = ("order.completed", "order.cancelled", "orders.closed", "visit", "rare")
PATTERNS = (*NAMES, "order.*", "orders.*", "visit.*", "o.*")
EXTERNAL_IDS = ("customer-1", "customer-2", "Customer-1", "%")
EMAILS = ("a@one.example", "b@one.example")
CONTACTS = ("c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10", "00000000-0000-4000-8000-000000000001")


class Filled:
    """A store with events of two projects in every state, and the same events as a list."""

    def __init__(self, session: StoreSession, model: list[StoredEvent]) -> None:
        self.session = session
        self.model = model


@pytest.fixture(scope="module")
def filled(store_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    place = PLACES[store_kind](Path(tmp_path_factory.mktemp("filled")))
    rng = random.Random(20260608)
    session = StoreSession(place)
    model = []
    for number in range(EVENTS):
        # A sequence encodes its time of receipt, as in the server.
        received_us = START_US + number * MINUTE_US // 4
        event = new_event(
            project_id=rng.choice((1, 1, 1, 2)),
            sequence=((received_us // 1000) << 21) + number,
            event=rng.choices(NAMES, (40, 28, 2, 29, 1))[0],
            contact_id=rng.choice((None, None, *CONTACTS)),
            external_id=rng.choice((None, *EXTERNAL_IDS)),
            email=rng.choice((None, *EMAILS)),
            occurred_us=START_US + rng.randrange(-500, 500) * MINUTE_US,
            received_us=received_us,
            source=rng.choices((0, 1, 2, 3), (90, 5, 4, 1))[0],
        )
        status = rng.choices((0, 1, 2, 3, 4), (10, 3, 3, 80, 4))[0]
        session.accept(event)
        place.set_status(event.sequence, Status(status))
        states = _deliver(place, rng, event) if status == Status.PROCESSED else []
        shown = DeliveryStatus[delivery_status(states)]
        model.append(as_stored(event, status=status, delivery_status=shown))
    yield Filled(session, model)
    session.close()
    place.remove()


def _deliver(place: Place, rng: random.Random, event: NewEvent) -> list[int]:
    """Insert deliveries of an event; returns their states."""
    states = rng.choice(([], [], [3], [3, 3], [4], [4, 4], [3, 4], [4, 0], [2], [1, 3], [0, 4, 4]))
    for number, state in enumerate(states):
        place.run_sql(
            "INSERT INTO deliveries (lane, number, id, project_id, sequence, subscriber_id, state, "
            "due_us, created_us) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)",
            *(event.lane, event.sequence * 4 % (1 << 62) + number, f"{event.sequence}-{number}"),
            *(event.project_id, event.sequence, f"s{number}", state),
        )
    return states


def delivery_status(states: list[int]) -> str:
    """The naive definition, by the states of all deliveries."""
    failed = states.count(DeliveryState.DEAD_LETTERED)
    if failed:
        return "FAILED" if failed == len(states) else "PARTLY_FAILED"
    if not states:
        return "NONE"
    return "DELIVERED" if set(states) == {DeliveryState.DELIVERED} else "PENDING"


def sometimes(values: st.SearchStrategy[str] | st.SearchStrategy[int]) -> st.SearchStrategy[object]:
    return st.none() | values


MOMENTS = st.integers(-520, 520).map(lambda minutes: START_US + minutes * MINUTE_US)
FILTERS = st.builds(
    EventFilter,
    event=sometimes(st.sampled_from((*PATTERNS, "nowhere"))),
    contact_id=sometimes(st.sampled_from(CONTACTS)),
    external_id=sometimes(st.sampled_from((*EXTERNAL_IDS, "nobody", "customer-1' OR 1=1 --"))),
    email=sometimes(st.sampled_from(EMAILS)),
    status=sometimes(st.integers(0, 4)),
    delivery_status=sometimes(st.integers(0, 4)),
    source=sometimes(st.integers(0, 3)),
    occurred_after_us=sometimes(MOMENTS),
    occurred_before_us=sometimes(MOMENTS),
    received_after_us=sometimes(MOMENTS),
    received_before_us=sometimes(MOMENTS),
)


def matches(event: StoredEvent, wanted: EventFilter) -> bool:
    if wanted.event is not None and not pattern_wants(wanted.event, event.event):
        return False
    equal = ("contact_id", "external_id", "email", "status", "delivery_status", "source")
    for name in equal:
        value = getattr(wanted, name)
        if value is not None and getattr(event, name) != value:
            return False
    for column in ("occurred", "received"):
        at_us = getattr(event, f"{column}_us")
        after_us = getattr(wanted, f"{column}_after_us")
        before_us = getattr(wanted, f"{column}_before_us")
        if after_us is not None and at_us < after_us:
            return False
        if before_us is not None and at_us >= before_us:
            return False
    return True


def listed(
    session: StoreSession, project_id: int, wanted: EventFilter, limit: int
) -> Sequence[StoredEvent]:
    """All pages of a list, each checked for its size and its place."""
    events: list[StoredEvent] = []
    before = None
    while True:
        page = session.run(
            session.store.events.list(project_id, wanted, before=before, limit=limit)
        )
        assert len(page.events) <= limit
        events += page.events
        if page.next_before is None:
            return events
        assert before is None or page.next_before < before
        before = page.next_before


@settings(max_examples=150)
@given(wanted=FILTERS, project_id=st.integers(1, 3), limit=st.sampled_from((7, 50, 200)))
def test_list_has_the_matches_newest_first(
    filled: Filled,
    wanted: EventFilter,
    project_id: int,
    limit: int,
) -> None:
    session, model = filled.session, filled.model
    expected = [
        event
        for event in reversed(model)
        if event.project_id == project_id and matches(event, wanted)
    ]
    assert listed(session, project_id, wanted, limit) == expected


@settings(max_examples=60)
@given(wanted=FILTERS, limit=st.sampled_from((3, 50)))
def test_a_search_in_bounded_steps_finds_the_same(
    filled: Filled, wanted: EventFilter, limit: int
) -> None:
    session, model = filled.session, filled.model
    expected = [
        event for event in reversed(model) if event.project_id == 1 and matches(event, wanted)
    ]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("headrace.store.events.event_lists.ROWS_EXAMINED_MAX", 11)
        assert listed(session, 1, wanted, limit) == expected


def test_each_filter_alone_and_every_pair_finds_something(
    filled: Filled,
) -> None:
    """So that lists that are always empty do not pass the test above."""
    session, model = filled.session, filled.model
    sample = next(
        event
        for event in model
        if event.project_id == 1 and event.contact_id and event.external_id and event.email
    )
    wanted = {
        "event": sample.event,
        "contact_id": sample.contact_id,
        "external_id": sample.external_id,
        "email": sample.email,
        "status": sample.status,
        "source": sample.source,
        "occurred_after_us": sample.occurred_us,
        "occurred_before_us": sample.occurred_us + 1,
        "received_after_us": sample.received_us,
        "received_before_us": sample.received_us + 1,
    }
    for one in wanted:
        for other in wanted:
            chosen = EventFilter(**{name: wanted[name] for name in (one, other)})  # type: ignore[arg-type]
            assert sample in listed(session, 1, chosen, 200), (one, other)


def test_pages_are_full_and_end_with_the_last_event(
    filled: Filled,
) -> None:
    session, model = filled.session, filled.model
    mine = [event for event in reversed(model) if event.project_id == 1]
    list_page = session.store.events.list
    page = session.run(list_page(1, EventFilter(), before=None, limit=len(mine)))
    assert page.events == mine
    assert page.next_before is None
    page = session.run(list_page(1, EventFilter(), before=None, limit=len(mine) - 1))
    assert page.events == mine[:-1]
    assert page.next_before is not None
    page = session.run(list_page(1, EventFilter(), before=page.next_before, limit=5))
    assert page.events == mine[-1:]


def test_export_order_is_the_order_of_receipt(
    filled: Filled,
) -> None:
    session, model = filled.session, filled.model
    found: list[StoredEvent] = []
    sequence = 0
    while page := session.run(session.store.events.after(1, sequence, 99)):
        found += page
        sequence = page[-1].sequence
    assert found == [event for event in model if event.project_id == 1]


def test_event_of_another_project_is_not_found(
    filled: Filled,
) -> None:
    session, model = filled.session, filled.model
    theirs = next(event for event in model if event.project_id == 2)
    assert session.run(session.store.events.get(2, theirs.id)) == theirs
    assert session.run(session.store.events.get(1, theirs.id)) is None


def test_an_id_that_differs_only_in_its_random_bits_is_absent(session: StoreSession) -> None:
    event = new_event()
    session.accept(event)
    forged = event.id[:-1] + bytes([event.id[-1] ^ 1])
    assert session.run(session.store.events.get(1, forged)) is None


def test_a_small_project_is_not_hidden_behind_a_large_one(session: StoreSession) -> None:
    """Its first page shows its events, however many others there are of other projects."""
    mine = [new_event(project_id=2) for _ in range(3)]
    session.accept(*mine)
    for _ in range(5):
        session.accept(*(new_event(project_id=1) for _ in range(20)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("headrace.store.events.event_lists.ROWS_EXAMINED_MAX", 50)
        page = session.run(session.store.events.list(2, EventFilter(), before=None, limit=50))
    assert page.events == [as_stored(event) for event in reversed(mine)]
    assert page.next_before is None


def _contact(session: StoreSession, **fields: str) -> str:
    write = ContactWrite(**fields)  # type: ignore[arg-type]
    return session.run(session.store.contacts.create(1, write, START_US, source="api")).id


def test_events_of_a_contact_are_those_resolved_to_it_or_to_what_was_merged(
    session: StoreSession,
) -> None:
    own, other = _contact(session, external_id="own"), _contact(session, external_id="other")
    stranger = _contact(session, external_id="stranger")
    sent: dict[str, NewEvent] = {}

    def accept(name: str, resolved: str | None, **fields: Any) -> None:
        sent[name] = new_event(**{"external_id": None, **fields})
        session.accept(sent[name])
        if resolved is not None:
            session.place.resolve(sent[name].sequence, resolved)

    accept("by external id", own, external_id="own")
    accept("by the other's id", other, contact_id=other)
    accept("by the other's external id", other, external_id="other", event="visit")
    accept("about a stranger", stranger, external_id="stranger")
    accept("sent with the id, while the two were one with another", stranger, contact_id=own)
    accept("by the id", own, contact_id=own, event="visit")
    accept("waits", None, contact_id=other)

    def found(contact_id: str, **others: str) -> list[str]:
        names = {event.sequence: name for name, event in sent.items()}
        pages = [
            listed(session, 1, EventFilter(contact_id=contact_id, **others), limit)  # type: ignore[arg-type]
            for limit in (1, 2, 50)
        ]
        assert pages[0] == pages[1] == pages[2]
        # Without system events.
        return [names[event.sequence] for event in pages[0] if event.source != Source.SYSTEM]

    assert found(own) == ["by the id", "by external id"]
    session.run(session.store.merges.merge(1, own, other, START_US + 1, actor="test"))
    everything = [
        *("waits", "by the id", "by the other's external id", "by the other's id"),
        "by external id",
    ]
    assert found(own) == found(other) == everything
    assert found(own, event="visit") == ["by the id", "by the other's external id"]
    assert found(own, external_id="other") == ["by the other's external id"]
    assert session.run(
        session.store.events.list(2, EventFilter(contact_id=own), before=None, limit=50)
    ) == EventPage([], None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("headrace.store.events.event_lists.ROWS_EXAMINED_MAX", 1)
        assert found(own, event="visit") == ["by the id", "by the other's external id"]


def test_reads_after_a_reopening_show_the_same(session: StoreSession) -> None:
    events = [new_event(key=f"k{n}") for n in range(10)]
    session.accept(*events)
    session.close()
    again = StoreSession(session.place)
    try:
        page = again.run(again.store.events.list(1, EventFilter(), before=None, limit=50))
        assert page.events == [as_stored(event) for event in reversed(events)]
        assert again.accept(msgspec.structs.replace(new_event(key="k3"))) != [None]
    finally:
        again.close()

"""Batches when the network to the database, or the database itself, fails."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from headrace.domain.events.event import FirstCopy, NewEvent
from headrace.store.contract.errors import StoreError
from headrace.store.engine.postgres.database import PoolOptions
from headrace.store.postgres import open_store
from headrace.store.store import Store
from tests.support.deep_stack import check_commits_survive_broken_puts
from tests.support.events import new_event
from tests.support.places import PostgresPlace
from tests.support.postgres import PostgresServer
from tests.support.session import Outcome, StoreSession
from tests.support.tcp_proxy import Cut, TcpProxy
from tests.support.waiting import wait_until


class ProxiedPlace(PostgresPlace):
    """A database behind a proxy that can cut connections."""

    def __init__(self, options: PoolOptions | None = None) -> None:
        super().__init__(options=options)
        self.proxy = TcpProxy(self.server.port)
        self.proxy.open()

    async def open(self) -> Store:
        url = f"postgresql://postgres@127.0.0.1:{self.proxy.port}/{self.database}"
        return await open_store(url, self.options)

    def remove(self) -> None:
        self.proxy.close()
        super().remove()


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[ProxiedPlace]:
    made = ProxiedPlace(getattr(request, "param", None))
    yield made
    made.remove()


@pytest.fixture
def session(place: ProxiedPlace) -> Iterator[StoreSession]:
    opened = StoreSession(place)
    yield opened
    opened.close()


def accept_once_reachable(session: StoreSession, event: NewEvent) -> Outcome:
    """Resend it until the store is back, like a caller that gets 503."""
    outcomes: list[Outcome] = []

    def settled() -> bool:
        outcomes[:] = session.accept(event)
        return not isinstance(outcomes[0], StoreError)

    wait_until(settled, "the store takes events again")
    return outcomes[0]


@pytest.mark.parametrize("where", list(Cut))
@pytest.mark.parametrize(
    ("place", "mark"),
    [(PoolOptions(), b"lost"), (PoolOptions(statements_kept=0), b"COMMIT;")],
    indirect=["place"],
    ids=["one statement", "transaction"],
)
def test_connection_lost_at_commit_fails_exactly_this_batch(
    place: ProxiedPlace, session: StoreSession, mark: bytes, where: Cut
) -> None:
    before, lost = new_event(key="before"), new_event(key="lost")
    assert session.accept(before) == [None]
    place.proxy.cut_at(mark, where)
    [outcome] = session.accept(lost)
    assert isinstance(outcome, StoreError)

    again = new_event(key="lost")
    answer = accept_once_reachable(session, again)
    if where is Cut.BEFORE:
        assert answer is None
        assert session.stored_ids() == [before.id, again.id]
    else:
        assert isinstance(answer, FirstCopy)
        assert answer.id == lost.id
        assert session.stored_ids() == [before.id, lost.id]


def test_duplicate_whose_commit_is_lost_gets_an_error(
    place: ProxiedPlace, session: StoreSession
) -> None:
    """New events of the same batch are stored and succeed."""
    first = new_event(key="k")
    assert session.accept(first) == [None]
    place.proxy.cut_at(b"COMMIT;", Cut.AFTER)
    fresh, outcome = session.accept(new_event(key="other"), new_event(key="k"))
    assert fresh is None
    assert isinstance(outcome, StoreError)
    answer = accept_once_reachable(session, new_event(key="k"))
    assert isinstance(answer, FirstCopy)
    assert answer.id == first.id


def test_unreachable_database_is_reported_and_reconnected(
    place: ProxiedPlace, session: StoreSession
) -> None:
    assert session.accept(new_event()) == [None]
    place.proxy.close()
    for _ in range(3):
        outcomes = session.accept(*(new_event() for _ in range(5)))
        assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    place.proxy.open()
    assert accept_once_reachable(session, new_event()) is None
    assert len(session.stored_ids()) == 2
    assert session.store.commit_stats.failed_commits >= 3


def test_reads_reconnect(place: ProxiedPlace, session: StoreSession) -> None:
    place.proxy.close()
    with pytest.raises(StoreError):
        session.run(session.store.projects.list())
    place.proxy.open()
    assert session.run(session.store.projects.list()) == []


def test_sessions_ended_by_the_server_are_replaced(
    place: ProxiedPlace, session: StoreSession
) -> None:
    assert session.accept(new_event()) == [None]
    place.run_sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'headrace'"
    )
    assert accept_once_reachable(session, new_event()) is None


def test_two_processes_store_each_key_once(place: ProxiedPlace) -> None:
    """Both repeatedly get the same keys at once, in different orders."""
    sessions = [StoreSession(place) for _ in range(2)]
    sent: list[list[NewEvent]] = [[], []]
    outcomes: list[list[Outcome]] = [[], []]

    async def both() -> None:
        def work(number: int) -> None:
            for turn in range(10):
                keys = [f"k{turn}-{n}" for n in range(30)]
                events = [new_event(key=key) for key in (keys if number else reversed(keys))]
                sent[number] += events
                outcomes[number] += sessions[number].accept(*events)

        await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(2)))

    try:
        asyncio.run(both())
        firsts = {
            event.idempotency_key: event.id
            for events, answers in zip(sent, outcomes, strict=True)
            for event, answer in zip(events, answers, strict=True)
            if answer is None
        }
        assert len(firsts) == 300
        answers = [answer for answers in outcomes for answer in answers]
        assert sum(answer is None for answer in answers) == 300
        for events, found in zip(sent, outcomes, strict=True):
            for event, answer in zip(events, found, strict=True):
                if answer is not None:
                    assert isinstance(answer, FirstCopy)
                    assert answer.id == firsts[event.idempotency_key]
        assert sorted(sessions[0].stored_ids()) == sorted(firsts.values())
        assert place.run_sql("SELECT count(*) FROM duplicate_requests") == [(300,)]
    finally:
        for session in sessions:
            session.close()


def test_ids_of_two_processes_never_collide(place: ProxiedPlace) -> None:
    sessions = [StoreSession(place) for _ in range(2)]
    try:
        ids = [session.run(session.store.event_ids()) for session in sessions]
        now_us = sessions[0].store.clock_us()
        given = [each.next(7, now_us)[0] for _ in range(5000) for each in ids]
        assert len(set(given)) == len(given)
    finally:
        for session in sessions:
            session.close()


def test_interrupted_wait_for_a_standby_is_an_error(own_server: PostgresServer) -> None:
    """The server then commits only locally, and only sends a warning."""
    place = PostgresPlace(server=own_server)
    session = StoreSession(place)
    try:
        assert session.accept(new_event()) == [None]
        own_server.set("synchronous_standby_names", "elsewhere")
        numbers = itertools.count()

        async def accept_until_cancelled() -> tuple[NewEvent, Outcome]:
            cancelling = asyncio.create_task(asyncio.to_thread(cancel_waiting))
            # The setting applies once the checkpointer has read it, which is not visible: the first
            # commits may not wait yet.
            while True:
                event = new_event(key=f"k{next(numbers)}")
                [outcome] = await session.accepted(event)
                if outcome is not None or cancelling.done():
                    await cancelling
                    return event, outcome

        def cancel_waiting() -> None:
            sql = (
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' "
                "AND application_name = 'headrace'"
            )
            wait_until(lambda: bool(place.run_sql(sql)), "a commit waits for the standby")

        event, outcome = session.run(accept_until_cancelled())
        assert isinstance(outcome, StoreError)
        own_server.set("synchronous_standby_names", "")
        [repeat] = session.accept(new_event(key=event.idempotency_key))
        assert isinstance(repeat, FirstCopy)
        assert repeat.id == event.id
    finally:
        own_server.set("synchronous_standby_names", "")
        session.close()
        place.remove()


def test_an_error_between_queueing_and_waking_does_not_stop_the_store(place: ProxiedPlace) -> None:
    """Wherever it fails: the next event is stored."""

    async def run() -> None:
        store = await place.open()
        await check_commits_survive_broken_puts(store)
        await store.close()

    asyncio.run(run())

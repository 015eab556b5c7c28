"""The loop that processes accepted events."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from headrace.domain.access.policies import Policies
from headrace.domain.events.event import Source, Status
from headrace.pipeline.processing import processor as processor_module
from headrace.store.contract.errors import LeadershipLostError, StoreBusyError, StoreError
from tests.support.dead_letters import rows_in
from tests.support.events import new_event
from tests.support.places import Place
from tests.support.processors import Bench, GuiltyPlanner, RefusedPlanner
from tests.support.queue import LEADERSHIP_US, Queue
from tests.support.session import StoreSession

#: Longer than any test: a test that waits this long was not woken.
FOR_EVER = 1000.0


class PermanentError(Exception):
    permanent = True


@pytest.fixture
def queue(any_place: Place) -> Iterator[Queue]:
    session = StoreSession(any_place)
    yield Queue(session, first_owner=None)
    session.close()


@pytest.fixture(autouse=True)
def paces(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a clock."""
    for name in ("STANDBY_SECONDS", "GATHER_SECONDS", "ERROR_SECONDS"):
        monkeypatch.setattr(processor_module, name, 0.0)


@pytest.fixture
def guilty(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Exception]], None]:
    """Make the planner raise for events named `guilty`."""

    def use(error: Callable[[], Exception]) -> None:
        class Planner(GuiltyPlanner):
            pass

        Planner.error = staticmethod(error)
        monkeypatch.setattr(processor_module, "BatchPlanner", Planner)

    return use


def all_processed(queue: Queue) -> bool:
    waiting = queue.sql("SELECT 1 FROM event_queue UNION ALL SELECT 1 FROM event_retries")
    return not waiting and {row[0] for row in queue.marks("status")} == {Status.PROCESSED}


def accept_with_guilty(queue: Queue) -> tuple[list[int], int]:
    """Ten events, one of them guilty: `(good, guilty)`."""
    sequences = queue.accept(*(new_event(event="guilty" if n == 4 else "good") for n in range(10)))
    return sequences[:4] + sequences[5:], sequences[4]


def test_accepted_and_resulting_events_are_processed(queue: Queue) -> None:
    queue.accept(*(new_event(external_id=f"x{n % 5}") for n in range(300)))

    async def scenario() -> None:
        bench = Bench(queue)
        async with bench.running() as processor:
            await bench.store.until(lambda: all_processed(queue))
        assert processor.stats.processed == 305
        assert processor.stats.failed == 0

    queue.session.run(scenario())
    created = "SELECT count(*) FROM events WHERE source = ?"
    assert queue.sql(created, Source.SYSTEM) == [(5,)]
    assert queue.sql("SELECT count(*) FROM event_queue") == [(0,)]


@pytest.mark.parametrize("error", [ValueError, TypeError, KeyError, RecursionError])
def test_failing_event_fails_alone(
    queue: Queue,
    guilty: Callable[[Callable[[], Exception]], None],
    error: Callable[[], Exception],
) -> None:
    guilty(error)
    good, bad = accept_with_guilty(queue)

    async def scenario() -> None:
        bench = Bench(queue)
        await bench.settle(bench.processor())

    queue.session.run(scenario())
    assert {queue.status(sequence) for sequence in good} == {Status.PROCESSED}
    assert queue.status(bad) is Status.RETRYING
    assert len(queue.attempts(bad)) == 1
    assert all(not queue.attempts(sequence) for sequence in good)


def test_row_rejected_by_the_store_fails_alone(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor_module, "BatchPlanner", RefusedPlanner)
    good, bad = accept_with_guilty(queue)

    async def scenario() -> None:
        bench = Bench(queue)
        await bench.settle(bench.processor())

    queue.session.run(scenario())
    assert {queue.status(sequence) for sequence in good} == {Status.PROCESSED}
    assert queue.status(bad) is Status.RETRYING
    assert queue.attempts(bad)[0][3] == "StoreRowError"


def test_retries_follow_the_policy_and_end_in_a_dead_letter(
    queue: Queue, guilty: Callable[[Callable[[], Exception]], None]
) -> None:
    guilty(lambda: ValueError("it is what it is"))
    _, bad = accept_with_guilty(queue)
    policies = Policies(processing_max_attempts=4, retry_base_seconds=10, retry_factor=3)

    async def scenario() -> None:
        bench = Bench(queue, policies)
        processor = bench.processor()
        await bench.settle(processor)
        for nominal_s in (10, 30, 90):
            ((due_us,),) = queue.sql("SELECT due_us FROM event_retries WHERE sequence = ?", bad)
            assert 0.8 * nominal_s <= (due_us - queue.clock()) / 1e6 <= 1.2 * nominal_s
            assert await processor.run_once() == 0
            queue.clock.now_us = due_us
            await bench.settle(processor)

    queue.session.run(scenario())
    assert queue.status(bad) is Status.DEAD_LETTERED
    attempts = queue.attempts(bad)
    assert [(row[3], row[4]) for row in attempts] == [
        ("ValueError", "ValueError: it is what it is")
    ] * 4
    rows = queue.sql("SELECT cause, error, attempts, first_failed_us FROM dead_letters")
    assert rows == [("ValueError", "ValueError: it is what it is", 4, attempts[0][1])]


def test_a_permanent_error_is_a_dead_letter_at_once(
    queue: Queue, guilty: Callable[[Callable[[], Exception]], None]
) -> None:
    guilty(PermanentError)
    good, bad = accept_with_guilty(queue)

    async def scenario() -> None:
        bench = Bench(queue)
        await bench.settle(bench.processor())

    queue.session.run(scenario())
    assert queue.status(bad) is Status.DEAD_LETTERED
    assert queue.sql("SELECT cause, attempts FROM dead_letters") == [("PermanentError", 1)]
    assert {queue.status(sequence) for sequence in good} == {Status.PROCESSED}


def test_an_error_whose_text_cannot_be_stored_is_still_recorded(
    queue: Queue, guilty: Callable[[Callable[[], Exception]], None]
) -> None:
    guilty(lambda: ValueError("half a pair: \ud83d " + "x" * 5000))
    good, bad = accept_with_guilty(queue)

    async def scenario() -> None:
        bench = Bench(queue)
        await bench.settle(bench.processor())

    queue.session.run(scenario())
    error = queue.attempts(bad)[0][4]
    assert error.startswith("ValueError: half a pair: \\ud83d xxx")
    assert len(error) == processor_module.ERROR_CHARACTERS_MAX
    assert {queue.status(sequence) for sequence in good} == {Status.PROCESSED}


@pytest.mark.parametrize("errors", [1, 2, 5])
def test_a_store_error_uses_up_no_claim_and_no_attempt(queue: Queue, errors: int) -> None:
    queue.accept_many(600)

    async def scenario() -> None:
        bench = Bench(queue)
        bench.store.process_errors = [StoreBusyError("busy") for _ in range(errors)]
        async with bench.running() as processor:
            await bench.store.until(lambda: all_processed(queue))
        assert processor.stats.failed == 0

    queue.session.run(scenario())
    assert set(queue.marks("attempts")) == {(1,)}
    assert queue.sql("SELECT count(*) FROM processing_attempts") == [(0,)]


def test_store_error_while_isolating_the_failing_event(
    queue: Queue, guilty: Callable[[Callable[[], Exception]], None]
) -> None:
    guilty(ValueError)
    good, bad = accept_with_guilty(queue)

    async def scenario() -> None:
        bench = Bench(queue)
        processor = bench.processor()
        assert await processor._is_leader()
        bench.store.process_errors = [StoreError("once")]
        with pytest.raises(StoreError):
            await processor.run_once()
        async with bench.running():
            await bench.store.until(
                lambda: (
                    {queue.status(s) for s in good} == {Status.PROCESSED}
                    and queue.status(bad) is Status.RETRYING
                )
            )

    queue.session.run(scenario())
    assert len(queue.attempts(bad)) == 1


# Leadership


def test_standby_takes_over_when_the_leader_dies(queue: Queue) -> None:
    async def scenario() -> None:
        bench = Bench(queue)
        first = bench.processor("a")
        assert await first._is_leader()
        await queue.accept_meanwhile(5)
        held = await bench.store.claim("a", 2)
        async with bench.running("b"):
            await bench.store.until_asked("acquire_leadership", "b", times=3)
            assert ("claim", "b") not in bench.store.calls
            queue.dead.add("a")
            await bench.store.until(lambda: all_processed(queue))
        crashed = queue.sql("SELECT sequence FROM processing_attempts ORDER BY sequence")
        assert [row[0] for row in crashed] == [claimed.sequence for claimed in held]

    queue.session.run(scenario())


def test_worker_paused_past_its_lease_becomes_standby(queue: Queue) -> None:
    queue.accept_many(3)

    async def scenario() -> None:
        bench = Bench(queue)
        paused = bench.processor("a")
        assert await paused._is_leader()
        paused._batch = await bench.store.claim("a", 2)
        queue.clock.now_us += LEADERSHIP_US
        assert await bench.store.acquire_leadership("processing", "b", LEADERSHIP_US) == 2
        before = queue.everything()
        with pytest.raises(LeadershipLostError):
            await paused.run_once()
        assert queue.everything() == before
        async with bench.running("a"):
            await bench.store.until_asked("acquire_leadership", "a", times=3)
        assert queue.everything()["processing_attempts"] == []

    queue.session.run(scenario())


def test_leadership_is_renewed_before_the_lease_ends(queue: Queue) -> None:
    async def scenario() -> None:
        bench = Bench(queue)
        processor = bench.processor()
        for _ in range(10):
            assert await processor._is_leader()
        assert bench.store.calls.count(("acquire_leadership", "a")) == 1
        bench.monotonic_s += bench.store.pace.renew_seconds
        assert await processor._is_leader()
        assert bench.store.calls.count(("acquire_leadership", "a")) == 2

    queue.session.run(scenario())


def test_a_stop_gives_back_what_was_claimed(queue: Queue) -> None:
    queue.accept_many(3)

    async def scenario() -> None:
        bench = Bench(queue)
        processor = bench.processor("a")
        assert await processor._is_leader()
        processor._batch = await bench.store.claim("a", 3)
        await processor.stop()
        assert await bench.store.acquire_leadership("processing", "b", LEADERSHIP_US) is not None
        claimed = await bench.store.claim("b", 3)
        assert [(c.attempt, c.crashes) for c in claimed] == [(1, 0)] * 3

    queue.session.run(scenario())


# Waking up


def test_an_idle_worker_wakes_when_it_is_nudged(queue: Queue) -> None:
    async def scenario() -> None:
        bench = Bench(queue)
        bench.store.pace = msgspec.structs.replace(bench.store.pace, poll_seconds=FOR_EVER)
        async with bench.running():
            await bench.store.until_asked("claim", "a")
            for _ in range(3):
                await queue.accept_meanwhile(1)
                bench.nudged.set()
                await bench.store.until(lambda: all_processed(queue))

    queue.session.run(scenario())


def test_worker_polls_without_being_woken(queue: Queue) -> None:
    async def scenario() -> None:
        bench = Bench(queue)
        async with bench.running():
            await bench.store.until_asked("claim", "a", times=3)
            await queue.accept_meanwhile(1)
            await bench.store.until(lambda: all_processed(queue))

    queue.session.run(scenario())


def test_event_reaches_a_subscriber_unknown_to_the_worker(queue: Queue) -> None:
    async def scenario() -> None:
        bench = Bench(queue)
        await bench.rules.refresh()
        told: list[int] = []
        processor = bench.processor()
        processor.on_deliveries = lambda: told.append(1)
        rows = rows_in(queue.session.place)
        subscriber = rows.subscriber(1, events=["order.*"])
        queue.sql("INSERT INTO meta (name, value) VALUES ('subscribers_version', '1')")
        await queue.accept_meanwhile(3)
        await bench.settle(processor)
        found = queue.sql("SELECT subscriber_id FROM deliveries")
        assert found == [(subscriber,)] * 3
        assert told == [1]

    queue.session.run(scenario())

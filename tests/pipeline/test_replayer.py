"""The replay loop: at the set rate, after a crash, one worker at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.pipeline.delivering.replayer import Replayer, ReplayReport
from headrace.process_names import own_name
from headrace.store.contract.dead_letters import DeadLetterFilter, NewReplay, Replay, ReplayStatus
from headrace.store.contract.errors import StoreError
from headrace.store.contract.resends import ResendFilter
from tests.support.dead_letters import rows_in
from tests.support.events import START_US, new_event
from tests.support.places import Place, SqlitePlace
from tests.support.processed import settle
from tests.support.session import StoreSession

ACTOR = "0123456789abcdef"


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us

    def pass_seconds(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)


@pytest.fixture
def place(tmp_path: Path) -> SqlitePlace:
    return SqlitePlace(tmp_path)


@pytest.fixture
def session(any_place: Place) -> Iterator[StoreSession]:
    opened = StoreSession(any_place)
    yield opened
    opened.close()


def replay_of(session: StoreSession, count: int, per_second: int, project_id: int = 1) -> Replay:
    """A replay of this many new dead letters."""
    rows = rows_in(session.place)
    events = [new_event(project_id=project_id) for _ in range(count)]
    session.accept(*events)
    for event in events:
        rows.processing(event.sequence, attempts=1)

    async def work() -> Replay:
        total, last = await session.store.dead_letters.count(project_id, DeadLetterFilter())
        new = NewReplay(
            id=str(uuid.uuid4()),
            project_id=project_id,
            wanted=DeadLetterFilter(),
            per_second=per_second,
            total=total,
            last_number=last,
            actor=ACTOR,
        )
        return await session.store.replays.create(new, START_US)

    return session.run(work())


def replayer(session: StoreSession, clock: Clock, owner: str = "") -> Replayer:
    return Replayer(
        session.store.replays,
        session.store.processing,
        owner=owner or own_name(),
        clock_us=clock,
    )


def shown(session: StoreSession, replay: Replay) -> tuple[ReplayStatus, int]:
    found = session.run(session.store.replays.get(replay.project_id, replay.id))
    assert found is not None
    return found.status, found.done


def test_a_replay_keeps_to_its_rate(session: StoreSession) -> None:
    clock = Clock()
    replay = replay_of(session, 12, per_second=5)
    loop = replayer(session, clock)

    assert session.run(loop.run_once()) == ReplayReport(1, 1)
    assert session.run(loop.run_once()) == ReplayReport(1, 0)
    clock.pass_seconds(1)
    assert session.run(loop.run_once()) == ReplayReport(1, 5)
    clock.pass_seconds(0.4)
    assert session.run(loop.run_once()) == ReplayReport(1, 2)
    clock.pass_seconds(60)
    assert session.run(loop.run_once()) == ReplayReport(0, 4)
    assert shown(session, replay) == (ReplayStatus.DONE, 12)
    assert session.run(loop.run_once()) == ReplayReport(0, 0)


def test_replays_run_side_by_side(session: StoreSession) -> None:
    clock = Clock()
    first = replay_of(session, 4, per_second=1)
    second = replay_of(session, 4, per_second=100, project_id=2)
    loop = replayer(session, clock)

    session.run(loop.run_once())
    clock.pass_seconds(1)
    assert session.run(loop.run_once()) == ReplayReport(1, 4)

    assert shown(session, first) == (ReplayStatus.RUNNING, 2)
    assert shown(session, second) == (ReplayStatus.DONE, 4)


def resend_of(session: StoreSession, count: int) -> Replay:
    """A job that sends this many new events, none of them delivered yet, to a webhook."""
    rows = rows_in(session.place)
    events = [new_event() for _ in range(count)]
    session.accept(*events)
    for event in events:
        settle(session, rows, event)
    wanted = ResendFilter(webhook_id=rows.subscriber(1), from_us=START_US, patterns=("*",))

    async def work() -> Replay:
        replays = session.store.replays
        found = await replays.count_resend(1, wanted, START_US + 1_000_000)
        new = NewReplay(
            id=str(uuid.uuid4()),
            project_id=1,
            wanted=DeadLetterFilter(),
            per_second=30,
            total=found.total,
            last_number=found.last_number,
            actor=ACTOR,
            resend=wanted,
            position=found.position,
        )
        return await replays.create(new, START_US)

    return session.run(work())


def test_a_stopped_replay_is_left_alone(session: StoreSession) -> None:
    clock = Clock()
    replay = replay_of(session, 5, per_second=1)
    loop = replayer(session, clock)
    session.run(loop.run_once())

    session.run(session.store.replays.stop(1, replay.id, clock(), actor=ACTOR))
    clock.pass_seconds(60)

    assert session.run(loop.run_once()) == ReplayReport(0, 0)
    assert shown(session, replay) == (ReplayStatus.STOPPED, 1)


def test_one_worker_replays_at_a_time(session: StoreSession) -> None:
    clock = Clock()
    replay_of(session, 5, per_second=1000)
    first, second = replayer(session, clock), replayer(session, clock, owner="another-host:1:1")
    session.run(first.run_once())
    clock.pass_seconds(1)

    assert session.run(second.run_once()) == ReplayReport(0, 0)
    assert session.run(first.run_once()) == ReplayReport(0, 4)


class FailingOnce:
    """The clock of a machine whose store is briefly unavailable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.failed = asyncio.Event()

    def __call__(self) -> int:
        if not self.failed.is_set():
            self.failed.set()
            raise StoreError("away")
        return self._clock()


def test_an_error_does_not_end_the_loop(session: StoreSession) -> None:
    clock = Clock()
    replay = replay_of(session, 1, per_second=1)
    failing = FailingOnce(clock)
    loop = Replayer(
        session.store.replays, session.store.processing, owner=own_name(), clock_us=failing
    )

    async def run() -> None:
        task = asyncio.create_task(loop.run())
        async with asyncio.timeout(20):
            await failing.failed.wait()
            while await session.store.replays.running(1):
                assert not task.done()
        task.cancel()

    session.run(run())

    assert shown(session, replay) == (ReplayStatus.DONE, 1)


def worker(place: SqlitePlace, fail_point: str = "") -> int:
    """Run all replays in a process of its own; returns its exit status."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
    if fail_point:
        environment["HEADRACE_FAIL_POINT"] = fail_point
    command = [sys.executable, "-m", "tests.pipeline.replay_process", f"sqlite:///{place.path}"]
    return subprocess.run(command, env=environment, check=False, timeout=60).returncode


def test_killed_at_every_commit_it_replays_each_once(place: SqlitePlace) -> None:
    """Each process dies one commit later than the previous one, with uncommitted rows."""
    session = StoreSession(place)
    replay = replay_of(session, 12, per_second=30)
    kills = 0
    try:
        for commits in range(1, 20):
            before = shown(session, replay)[1]
            status = worker(place, f"inside_commit:kill:{commits}")
            if status == 0:
                break
            assert status == -signal.SIGKILL
            kills += 1
            assert before <= shown(session, replay)[1] < 12
        assert worker(place) == 0
        assert kills >= 3
        assert shown(session, replay) == (ReplayStatus.DONE, 12)
        assert place.run_sql("SELECT count(*) FROM event_queue WHERE attempt = 0") == [(12,)]
        assert place.run_sql("SELECT DISTINCT state FROM dead_letters") == [(1,)]
        ended = "SELECT count(*) FROM audit WHERE action = 'replay.done'"
        assert place.run_sql(ended) == [(1,)]
    finally:
        session.close()


def test_killed_at_every_commit_it_sends_each_event_once(place: SqlitePlace) -> None:
    """No event is left out or gets a second delivery, and the order of receipt is kept."""
    session = StoreSession(place)
    job = resend_of(session, 12)
    kills = 0
    try:
        for commits in range(1, 20):
            before = shown(session, job)[1]
            status = worker(place, f"inside_commit:kill:{commits}")
            if status == 0:
                break
            assert status == -signal.SIGKILL
            kills += 1
            assert before <= shown(session, job)[1] < 12
            # Made and counted in one transaction.
            made = place.run_sql("SELECT count(*) FROM deliveries")
            assert made == [(shown(session, job)[1],)]
        assert worker(place) == 0
        assert kills >= 3
        assert shown(session, job) == (ReplayStatus.DONE, 12)
        # Each process starts with the same clock, so the due times begin again.
        sent = place.run_sql("SELECT sequence FROM deliveries WHERE state = 0 ORDER BY number")
        assert sent == place.run_sql("SELECT sequence FROM events ORDER BY sequence")
        ended = "SELECT count(*) FROM audit WHERE action = 'resend.done'"
        assert place.run_sql(ended) == [(1,)]
    finally:
        session.close()

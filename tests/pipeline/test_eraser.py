"""The erasure loop: slice by slice, one worker at a time, secure deletion last."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.contacts.contact import ContactWrite
from headrace.pipeline.contacts.eraser import LEADERSHIP_SECONDS, Eraser, ErasureReport
from headrace.store.contract.erasures import SETTLE_US, Erasure, ErasureStatus
from tests.support.events import START_US
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now_us = START_US
        self.monotonic_s = 0.0

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def session(tmp_path: Path) -> Iterator[StoreSession]:
    opened = StoreSession(SqlitePlace(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def eraser(session: StoreSession, clock: Clock, owner: str = "a") -> Eraser:
    return Eraser(
        session.store.erasures,
        session.store.processing,
        owner=owner,
        clock_us=clock,
        monotonic_s=lambda: clock.monotonic_s,
    )


def begun(session: StoreSession, name: str = "x") -> Erasure:
    contacts, erasures = session.store.contacts, session.store.erasures
    made = session.run(contacts.create(1, ContactWrite(external_id=name), START_US, source="api"))
    found = session.run(erasures.begin(1, made.id, START_US, actor="t"))
    assert found is not None
    return found


def status(session: StoreSession, erasure: Erasure) -> ErasureStatus:
    found = session.run(session.store.erasures.get(1, erasure.id))
    assert found is not None
    return found.status


def test_an_erasure_is_taken_to_its_end(session: StoreSession, clock: Clock) -> None:
    erasure, loop = begun(session), eraser(session, clock)

    assert session.run(loop.run_once()) == ErasureReport(1, 0)
    clock.now_us += SETTLE_US
    session.run(loop.run_once())
    assert status(session, erasure) is ErasureStatus.WIPING
    assert session.run(loop.run_once()) == ErasureReport(0, 1)
    assert status(session, erasure) is ErasureStatus.DONE
    assert session.run(loop.run_once()) == ErasureReport(0, 0)


def test_no_wipe_runs_during_an_erasure(session: StoreSession, clock: Clock) -> None:
    first, loop = begun(session), eraser(session, clock)
    clock.now_us += SETTLE_US
    while status(session, first) is ErasureStatus.RUNNING:
        session.run(loop.run_once())
    clock.now_us = START_US
    begun(session, "y")
    session.run(loop.run_once())
    assert status(session, first) is ErasureStatus.WIPING


def test_wiping_leaves_time_to_others(
    session: StoreSession, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second of work is followed by a pause of many."""
    erasures, loop = session.store.erasures, eraser(session, clock)
    wipe = erasures.wipe

    async def slow(now_us: int) -> bool:
        clock.monotonic_s += 1.0
        return await wipe(now_us)

    monkeypatch.setattr(erasures, "wipe", slow)
    clock.now_us += SETTLE_US
    statuses = []
    for name in ("x", "y"):
        erasure = begun(session, name)
        for _ in range(4):
            session.run(loop.run_once())
        statuses.append(status(session, erasure))
    assert statuses == [ErasureStatus.DONE, ErasureStatus.WIPING]
    clock.monotonic_s += 30
    assert session.run(loop.run_once()) == ErasureReport(0, 1)


def test_one_worker_erases_and_another_follows_it(session: StoreSession, clock: Clock) -> None:
    begun(session)
    first, second = eraser(session, clock, "a"), eraser(session, clock, "b")
    assert session.run(first.run_once()) == ErasureReport(1, 0)
    alive = session.run(
        session.store.processing.acquire_leadership(
            "erasures", "a", int(LEADERSHIP_SECONDS * 1_000_000)
        )
    )
    assert alive is not None
    session.run(session.store.processing.release("a"))
    assert session.run(second.run_once()) == ErasureReport(1, 0)


def test_the_loop_runs_until_it_is_cancelled(session: StoreSession) -> None:
    erasure = begun(session)
    now = START_US + SETTLE_US
    loop = Eraser(session.store.erasures, session.store.processing, owner="a", clock_us=lambda: now)

    async def work() -> None:
        task = asyncio.create_task(loop.run())
        async with asyncio.timeout(20):
            while True:
                found = await session.store.erasures.get(1, erasure.id)
                if found is not None and found.status is ErasureStatus.DONE:
                    break
        task.cancel()

    session.run(work())

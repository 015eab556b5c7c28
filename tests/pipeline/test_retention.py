"""The sweep: its steps, the clock it trusts, its reports."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.upkeep.retention import CATCH_UP, DAY_US, HOUR_US
from headrace.pipeline.upkeep.retention import (
    PAUSE_SECONDS_MIN,
    PAUSE_TIMES_BEHIND,
    SWEEP_SECONDS_MAX,
    EventRetention,
    RetentionOptions,
)
from headrace.store.contract.errors import StoreError
from headrace.store.contract.retention import RetentionState
from tests.support.events import START_US
from tests.support.places import SqlitePlace
from tests.support.retained import (
    add_dead_letter,
    add_delivery,
    counts,
    finished_event,
    finished_events,
)
from tests.support.session import StoreSession

DAY_S = 24 * 3600


class Times:
    """A wall clock that can be set and a monotonic one; both advance only on request."""

    def __init__(self) -> None:
        self.wall_us = START_US
        self.monotonic_s = 1000.0
        self.pauses: list[float] = []
        #: Added by each pause, beside its own length.
        self.slow_s = 0.0

    def go_on(self, seconds: float) -> None:
        self.wall_us += int(seconds * 1_000_000)
        self.monotonic_s += seconds

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.go_on(seconds + self.slow_s)


class Sweeper:
    """A loop over a real store."""

    def __init__(self, session: StoreSession, owner: str = "1") -> None:
        self.session = session
        self.times = Times()
        self.loop = self.another(owner)

    def another(self, owner: str) -> EventRetention:
        """A loop of another process, or of this one after a restart."""
        store = self.session.store
        options = RetentionOptions(
            owner=owner,
            acquire_leadership=store.processing.acquire_leadership,
            clock_us=lambda: self.times.wall_us,
            monotonic_s=lambda: self.times.monotonic_s,
            pause=self.times.pause,
        )
        return EventRetention(store.retention, store.projects, options)

    def project(self, name: str, **policies: int) -> int:
        projects = self.session.store.projects
        made = self.session.run(projects.create(name, START_US, actor="test"))
        for policy, value in policies.items():
            self.session.run(projects.set_policy(made.id, policy, value, 0, actor="test"))
        return made.id

    def sweep(self, loop: EventRetention | None = None) -> tuple[int, int]:
        """Sweep once; returns events and dead letters removed."""
        report = self.session.run((loop or self.loop).run_once())
        return report.events, report.dead_letters

    def days_later(self, days: float) -> None:
        """Advance the clocks, with a sweep each half day and at the end."""
        for _ in range(int(days * 2)):
            self.sweep()
            self.times.go_on(DAY_S / 2)
        self.sweep()


@pytest.fixture
def sweeper(tmp_path: Path) -> Iterator[Sweeper]:
    session = StoreSession(SqlitePlace(tmp_path))
    yield Sweeper(session)
    session.close()


def test_each_project_has_its_own_days(sweeper: Sweeper) -> None:
    short = sweeper.project("short", event_retention_days=1)
    long = sweeper.project("long", event_retention_days=10)
    for project_id in (short, long):
        finished_event(sweeper.session, project_id=project_id)

    sweeper.days_later(1)
    assert counts(sweeper.session.place)["events"] == 2
    sweeper.days_later(0.5)
    assert sweeper.session.place.run_sql("SELECT project_id FROM events") == [(long,)]
    sweeper.days_later(10)
    assert counts(sweeper.session.place)["events"] == 0


def test_a_shorter_policy_applies_at_the_next_sweep(sweeper: Sweeper) -> None:
    project_id = sweeper.project("a")
    finished_event(sweeper.session, project_id=project_id)
    sweeper.days_later(2)
    assert sweeper.sweep() == (0, 0)

    projects = sweeper.session.store.projects
    sweeper.session.run(projects.set_policy(project_id, "event_retention_days", 1, 0, actor="t"))

    assert sweeper.sweep() == (1, 0)


def test_a_dead_letter_keeps_its_event_until_it_is_removed(sweeper: Sweeper) -> None:
    project_id = sweeper.project("a", event_retention_days=1, dead_letter_retention_days=5)
    event = finished_event(sweeper.session, project_id=project_id)
    add_dead_letter(sweeper.session.place, event, 0)

    sweeper.days_later(4.5)
    assert counts(sweeper.session.place)["events"] == 1
    sweeper.days_later(1)
    assert counts(sweeper.session.place)["dead_letters"] == 0
    sweeper.days_later(8)
    assert counts(sweeper.session.place)["events"] == 0


def test_event_unfinished_when_passed_is_removed_later(sweeper: Sweeper) -> None:
    project_id = sweeper.project("a", event_retention_days=1)
    late = finished_event(sweeper.session, project_id=project_id)
    number = add_delivery(sweeper.session.place, late, 2)
    finished_event(sweeper.session, project_id=project_id)
    sweeper.days_later(2)
    assert sweeper.session.stored_ids() == [late.id]

    sweeper.session.place.run_sql("UPDATE deliveries SET state = 3 WHERE number = ?", number)
    sweeper.days_later(8)

    assert sweeper.session.stored_ids() == []


def test_a_backlog_goes_in_slices_with_pauses_in_between(sweeper: Sweeper) -> None:
    project_id = sweeper.project("a", event_retention_days=1)
    finished_events(sweeper.session, 200, project_id=project_id)
    sweeper.sweep()
    sweeper.times.go_on(2 * DAY_S)
    sweeper.times.pauses.clear()

    report = sweeper.session.run(sweeper.loop.run_once())

    assert (report.events, report.rows, report.finished) == (200, 200, True)
    assert report.slices == len(sweeper.times.pauses) >= 3
    assert min(sweeper.times.pauses) >= PAUSE_SECONDS_MIN
    assert sum(sweeper.times.pauses) >= PAUSE_TIMES_BEHIND * report.seconds


def test_large_payloads_make_small_slices(sweeper: Sweeper) -> None:
    project_id = sweeper.project("a", event_retention_days=1)
    payload = f'{{"a": "{"x" * 600_000}"}}'
    for _ in range(4):
        finished_event(sweeper.session, project_id=project_id, payload=payload)
    sweeper.sweep()
    sweeper.times.go_on(2 * DAY_S)

    report = sweeper.session.run(sweeper.loop.run_once())

    assert (report.events, report.slices) == (4, 4)


def test_a_sweep_ends_in_time_and_the_next_continues(sweeper: Sweeper) -> None:
    project_id = sweeper.project("a", event_retention_days=1)
    finished_events(sweeper.session, 200, project_id=project_id)
    sweeper.sweep()
    sweeper.times.go_on(2 * DAY_S)
    sweeper.times.slow_s = SWEEP_SECONDS_MAX

    first = sweeper.session.run(sweeper.loop.run_once())
    sweeper.times.slow_s = 0.0
    second = sweeper.session.run(sweeper.loop.run_once())

    assert (first.slices, first.finished) == (1, False)
    assert 0 < first.events < 200
    assert first.events + second.events == 200
    assert second.finished


def test_projects_take_turns(sweeper: Sweeper) -> None:
    """A project with much to remove does not delay one with little."""
    large = sweeper.project("large", event_retention_days=1)
    small = sweeper.project("small", event_retention_days=1)
    finished_events(sweeper.session, 700, project_id=large)
    finished_event(sweeper.session, project_id=small)
    sweeper.sweep()
    sweeper.times.go_on(2 * DAY_S)
    sweeper.times.slow_s = SWEEP_SECONDS_MAX / 5

    report = sweeper.session.run(sweeper.loop.run_once())

    assert not report.finished
    left = sweeper.session.place.run_sql("SELECT DISTINCT project_id FROM events")
    assert left == [(large,)]


# --- clocks ---


def test_a_clock_that_jumps_ahead_removes_a_day_an_hour_at_most(sweeper: Sweeper) -> None:
    project_id = sweeper.project("a", event_retention_days=90)
    for day in range(100):
        finished_event(sweeper.session, project_id=project_id, received_us=START_US + day * DAY_US)
    sweeper.times.wall_us = START_US + 100 * DAY_US
    sweeper.sweep()
    held = counts(sweeper.session.place)["events"]
    assert held == 91

    sweeper.times.wall_us += 3650 * DAY_US
    for _ in range(59):
        sweeper.times.monotonic_s += 60
        sweeper.sweep()

    assert held - counts(sweeper.session.place)["events"] <= 1


def test_corrected_clock_is_trusted_at_once(sweeper: Sweeper) -> None:
    sweeper.project("a")
    sweeper.sweep()
    sweeper.times.wall_us += 3650 * DAY_US
    sweeper.times.monotonic_s += HOUR_US / 1e6
    sweeper.sweep()
    sweeper.times.wall_us = START_US + HOUR_US
    sweeper.sweep()

    assert sweeper.loop.state is not None
    assert sweeper.loop.state.clock_us == START_US + HOUR_US
    assert sweeper.loop.state.lag_us == 0


def test_time_while_nothing_ran_is_caught_up_within_reason(sweeper: Sweeper) -> None:
    sweeper.project("a")
    sweeper.sweep()
    sweeper.times.go_on(24 * DAY_S)
    restarted = sweeper.another("1")

    clocks = []
    for _ in range(27):
        sweeper.sweep(restarted)
        assert restarted.state is not None
        clocks.append(restarted.state.clock_us)
        sweeper.times.go_on(3600)

    steps = {after - before for before, after in itertools.pairwise(clocks)}
    assert max(steps) <= CATCH_UP * HOUR_US
    assert clocks[0] == START_US
    assert clocks[-1] == sweeper.times.wall_us - HOUR_US


def test_a_store_without_a_clock_starts_at_its_newest_event(sweeper: Sweeper) -> None:
    """A first start with a wrong wall clock must not empty a store."""
    project_id = sweeper.project("a", event_retention_days=1)
    finished_event(sweeper.session, project_id=project_id)
    sweeper.times.wall_us = START_US + 3650 * DAY_US

    assert sweeper.sweep() == (0, 0)


# --- reports ---


def test_totals_are_kept_over_restarts(sweeper: Sweeper) -> None:
    project_id = sweeper.project("a", event_retention_days=1)
    for _ in range(2):
        event = finished_event(sweeper.session, project_id=project_id)
        add_delivery(sweeper.session.place, event, 3)
        sweeper.sweep()
        sweeper.times.go_on(2 * DAY_S)
        sweeper.sweep()
        sweeper.times.go_on(2 * DAY_S)
        sweeper.sweep()
        sweeper.loop = sweeper.another("1")

    state = sweeper.session.run(sweeper.session.store.retention.state())

    assert isinstance(state, RetentionState)
    assert (state.events, state.rows, state.slices) == (2, 6, 2)
    assert state.lag_us == 0


def test_what_an_interrupted_sweep_removed_is_counted_by_the_next(sweeper: Sweeper) -> None:
    project_id = sweeper.project("a", event_retention_days=1)
    finished_events(sweeper.session, 100, project_id=project_id)
    sweeper.sweep()
    sweeper.times.go_on(2 * DAY_S)
    place = sweeper.session.place
    place.run_sql(
        "CREATE TRIGGER stuck BEFORE DELETE ON events WHEN (SELECT count(*) FROM events) <= 30 "
        "BEGIN SELECT raise(ABORT, 'stuck'); END"
    )
    with pytest.raises(StoreError, match="stuck"):
        sweeper.sweep()
    left = counts(place)["events"]
    assert 0 < left < 100
    place.run_sql("DROP TRIGGER stuck")

    assert sweeper.sweep() == (100, 0)
    assert sweeper.loop.state is not None
    assert sweeper.loop.state.events == 100


def test_the_lag_is_how_long_the_oldest_has_been_due(sweeper: Sweeper) -> None:
    project_id = sweeper.project("a", event_retention_days=1)
    finished_events(sweeper.session, 900, project_id=project_id)
    sweeper.sweep()
    sweeper.times.go_on(3 * DAY_S)
    sweeper.times.slow_s = SWEEP_SECONDS_MAX / 5

    report = sweeper.session.run(sweeper.loop.run_once())

    assert not report.finished
    assert report.lag_us == pytest.approx(2 * DAY_US, abs=600 * 1_000_000)


def test_one_process_sweeps_at_a_time(sweeper: Sweeper) -> None:
    """The other waits for leadership, and acquires it when the first one's process has ended."""
    asked: list[str] = []

    async def taken(name: str, owner: str, lease_us: int) -> int | None:
        asked.append(f"{name} {owner} {lease_us > 0}")
        raise asyncio.CancelledError

    store = sweeper.session.store
    options = RetentionOptions(owner="2", acquire_leadership=taken, clock_us=lambda: START_US)
    with pytest.raises(asyncio.CancelledError):
        sweeper.session.run(EventRetention(store.retention, store.projects, options).run())
    assert asked == ["retention 2 True"]
    assert sweeper.session.run(store.retention.state()) is None

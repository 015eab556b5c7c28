"""Ended replays and audit entries are removed when they are old; the newest entries stay."""

from __future__ import annotations

import uuid

import pytest

from headrace.store.contract.dead_letters import (
    REPLAYS_KEPT_US,
    DeadLetterFilter,
    NewReplay,
)
from headrace.store.contract.operators import AUDIT_KEPT_US
from tests.support.events import START_US
from tests.support.session import StoreSession

DAY_US = 24 * 3600 * 1_000_000


def replay(session: StoreSession, now_us: int, *, total: int = 0) -> str:
    """An empty replay is done at once."""
    new = NewReplay(
        id=str(uuid.uuid4()),
        project_id=1,
        wanted=DeadLetterFilter(),
        per_second=1,
        total=total,
        last_number=total,
        actor="a",
    )
    return session.run(session.store.replays.create(new, now_us)).id


def test_replays_that_ended_long_ago_are_removed(session: StoreSession) -> None:
    running = replay(session, START_US, total=1)
    for day in range(5):
        replay(session, START_US + day * DAY_US)
    newest = replay(session, START_US + 5 * DAY_US)
    now_us = START_US + REPLAYS_KEPT_US + 5 * DAY_US
    removed = [session.run(session.store.replays.prune(now_us, 2)) for _ in range(4)]
    assert removed == [2, 2, 1, 0]
    left = session.run(session.store.replays.list(1, before=None, limit=50))
    assert [each.id for each in left] == [newest, running]


@pytest.mark.parametrize("project_id", [1, 0, None])
def test_old_entries_are_removed_except_the_newest_of_each_project(
    session: StoreSession, monkeypatch: pytest.MonkeyPatch, project_id: int | None
) -> None:
    monkeypatch.setattr("headrace.store.access.audit.AUDIT_KEPT_PER_PROJECT", 2)
    session.run(session.store.projects.create("one", START_US + 400 * DAY_US, actor="a"))
    session.place.run_sql("DELETE FROM audit")
    days = (0, 1, 2, 3, 300)
    for of in (project_id, 7):
        for day in days:
            session.place.run_sql(
                "INSERT INTO audit (at_us, actor, project_id, action, detail) "
                "VALUES (?, 'a', ?, 'x', '{}')",
                *(START_US + day * DAY_US, of),
            )
    now_us = START_US + AUDIT_KEPT_US + 10 * DAY_US
    prune = session.store.operators.prune_audit
    assert [session.run(prune(now_us, 2)) for _ in range(3)] == [2, 1, 0]
    left = session.place.run_sql(
        "SELECT at_us FROM audit WHERE project_id IS NULL OR project_id <> 7 ORDER BY id"
    )
    assert left == [(START_US + day * DAY_US,) for day in (3, 300)]
    # Of an unknown project.
    assert session.place.run_sql("SELECT count(*) FROM audit WHERE project_id = 7") == [(5,)]
    # Too young, however many there are.
    assert session.run(prune(START_US + 200 * DAY_US, 2)) == 0

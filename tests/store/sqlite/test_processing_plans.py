"""The cost of processing does not grow with the backlog: statements are explained and counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from headrace.pipeline.processing.plan import BatchPlanner, Rules
from headrace.store.queues.sqlite import claims
from tests.support.events import new_event
from tests.support.places import SqlitePlace
from tests.support.queue import Queue, mark_only
from tests.support.session import StoreSession

SMALL, LARGE = 1_000, 20_000
SIZES = (SMALL, LARGE)
BATCH = 100
_SCAN = re.compile(r"SCAN (\w+)")


class Watched:
    """A queue with a backlog, and a count of what its statements do."""

    def __init__(self, folder: Path, backlog: int) -> None:
        self._place = SqlitePlace(folder)
        self.queue = Queue(StoreSession(self._place))
        self._fill(backlog)
        self._connection: apsw.Connection = self.queue.store._writer._connection  # type: ignore[attr-defined]
        self._connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, self._note)
        self.statements: dict[str, int] = {}

    def _fill(self, backlog: int) -> None:
        """Half of it in one project, the rest in 50; as many contacts and retries."""
        events = [
            new_event(
                project_id=1 if n % 2 else n % 100 + 2,
                external_id=f"customer-{n}",
                email=f"c{n}@b.example",
            )
            for n in range(backlog)
        ]
        for start in range(0, backlog, 1000):
            self.queue.accept(*events[start : start + 1000])
        self.queue.sql(
            "INSERT INTO contacts "
            "(lane, id, project_id, external_id, email, created_us, updated_us) "
            "SELECT lane, 'contact-' || sequence, project_id, external_id, email, 1, 1 FROM events"
        )
        for kind in ("external_id", "email"):
            self.queue.sql(
                "INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id) "
                f"SELECT lane, project_id, '{kind}', {kind}, id FROM contacts"
            )
        self.queue.sql(
            "INSERT INTO event_retries SELECT sequence + 1000000, project_id, lane, 1 << 60, 1, 0 "
            "FROM event_queue"
        )
        self.queue.sql("ANALYZE")

    def _note(self, info: dict[str, Any]) -> None:
        steps = info["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]
        sql = info["sql"]
        self.statements[sql] = self.statements.get(sql, 0) + int(steps)

    def steps_since(self) -> int:
        """Steps of the virtual machine since the last call."""
        steps = sum(self.statements.values())
        self.statements.clear()
        return steps

    def connect(self) -> apsw.Connection:
        """A connection of the test's own."""
        return apsw.Connection(str(self._place.path))

    def close(self) -> None:
        self.queue.session.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Watched]]:
    made = {size: Watched(tmp_path_factory.mktemp(f"backlog{size}"), size) for size in SIZES}
    yield made
    for one in made.values():
        one.close()


def assert_no_dearer(steps: dict[int, int]) -> None:
    """A hundred pages of index instead of one are a few steps more for each look-up."""
    assert 0 < steps[LARGE] <= steps[SMALL] * 1.2, steps


def test_claiming_and_finishing_do_not_grow_with_the_backlog(watched: dict[int, Watched]) -> None:
    claimed, finished = {}, {}
    for size, one in watched.items():
        one.steps_since()
        batch = one.queue.claim(limit=BATCH)
        assert len(batch) == BATCH
        claimed[size] = one.steps_since()
        assert one.queue.process(batch)[0] == BATCH
        finished[size] = one.steps_since()
    assert_no_dearer(claimed)
    assert_no_dearer(finished)


def test_resolving_contacts_does_not_grow_with_their_number(watched: dict[int, Watched]) -> None:
    steps = {}
    for size, one in watched.items():
        batch = one.queue.claim(limit=BATCH)
        one.steps_since()
        assert one.queue.process(batch, BatchPlanner(Rules({}, ())))[0] == BATCH
        steps[size] = one.steps_since()
        assert not one.queue.sql("SELECT 1 FROM contacts WHERE id NOT LIKE 'contact-%'")
    assert_no_dearer(steps)


def test_failing_and_retrying_do_not_grow_with_the_backlog(watched: dict[int, Watched]) -> None:
    steps = {}
    for size, one in watched.items():
        batch = one.queue.claim(limit=3)
        one.steps_since()
        for claimed in batch:
            one.queue.fail(claimed, retry_in_s=1)
        one.queue.clock.forward(1)
        assert len(one.queue.claim(limit=3)) == 3
        steps[size] = one.steps_since()
        assert one.queue.release() == 3
        one.queue.acquire_leadership("a")
    assert_no_dearer(steps)


def test_polling_for_due_events_takes_few_steps(watched: dict[int, Watched]) -> None:
    for one in watched.values():
        seen: list[int] = []

        def note(info: dict[str, Any], seen: list[int] = seen) -> None:
            seen.append(info["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

        connection = one.connect()
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, note)
        assert claims.anything_due(connection, one.queue.clock())
        assert 0 < sum(seen) < 2000
        connection.close()


def test_only_rescue_scans_the_queue_and_nothing_scans_the_events(
    watched: dict[int, Watched],
) -> None:
    one = watched[LARGE]
    one.statements.clear()
    batch = one.queue.claim(limit=BATCH)
    one.queue.process(batch, mark_only, claim_next=2)
    one.queue.rescue()
    connection = one.connect()
    scans: dict[str, list[str]] = {}
    for sql in one.statements:
        if sql.split(maxsplit=1)[0] not in {"SELECT", "UPDATE", "DELETE", "INSERT"}:
            continue
        values = (1,) * sql.count("?") if "?1" not in sql else (1,) * 6
        numbered = max((int(n) for n in re.findall(r"\?(\d)", sql)), default=len(values))
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values[:numbered])
        scans[sql] = [found[1] for row in plan if (found := _SCAN.match(str(row[3])))]
    connection.close()
    # That index has only running erasures: usually none.
    small = {"j", "erasures"}
    assert all("erasures_unfinished" in sql for sql, found in scans.items() if "erasures" in found)
    walking = {sql: tables for sql, tables in scans.items() if set(tables) - small}
    assert len(scans) >= 8
    assert all(tables == ["w"] and "w.owner IS NOT NULL" in sql for sql, tables in walking.items())
    assert len(walking) == 1

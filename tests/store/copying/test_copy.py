"""A whole store is copied: byte for byte, once, even when the command is killed midway."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.events.event import FirstCopy
from headrace.store.transfer.plan import COPIED
from tests.store.copying.filled import PAYLOADS, fill, fill_many
from tests.support.events import START_US, new_event
from tests.support.places import PostgresPlace, SqlitePlace
from tests.support.queue import Queue
from tests.support.server import HEADRACE, clean_environment, headrace, running_server
from tests.support.session import StoreSession
from tests.support.waiting import wait_until

_PAYLOADS = "SELECT payload FROM events ORDER BY sequence"
_ROWS_DONE = "SELECT value::json -> 'rows' ->> 'events' FROM meta WHERE name = 'copy'"
MANY = 30_000


@pytest.fixture
def source(tmp_path: Path) -> SqlitePlace:
    place = SqlitePlace(tmp_path)
    fill(place)
    return place


@pytest.fixture
def target(tmp_path: Path) -> Iterator[PostgresPlace]:
    place = PostgresPlace(tmp_path)
    yield place
    place.remove()


def copied(source: SqlitePlace, target: PostgresPlace) -> subprocess.CompletedProcess[str]:
    return headrace("copy", "--from", source.url, "--to", target.url, "--json")


def refused(source: SqlitePlace, target: PostgresPlace) -> str:
    """Error message of a copy that ends at once."""
    done = copied(source, target)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_every_row_arrives(source: SqlitePlace, target: PostgresPlace) -> None:
    done = copied(source, target)

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report["tables"]) == {each.table for each in COPIED}
    assert min(report["tables"].values()) > 0, report["tables"]
    for table, rows in report["tables"].items():
        assert target.run_sql(f"SELECT count(*) FROM {table}") == [(rows,)], table


def test_payloads_arrive_byte_for_byte(source: SqlitePlace, target: PostgresPlace) -> None:
    assert copied(source, target).returncode == 0

    sent, found = source.run_sql(_PAYLOADS), target.run_sql(_PAYLOADS)
    assert found == sent
    assert {(payload,) for payload in PAYLOADS} <= set(found)


def test_copy_continues_from_the_state_of_the_source(
    source: SqlitePlace, target: PostgresPlace
) -> None:
    """Keys are known, numbering continues, queues are kept."""
    waiting = source.run_sql("SELECT count(*) FROM event_queue")
    first = source.run_sql("SELECT id FROM events WHERE idempotency_key = 'k1'")
    assert copied(source, target).returncode == 0

    session = StoreSession(target)
    try:
        [outcome] = session.accept(new_event(key="k1"))
        assert isinstance(outcome, FirstCopy)
        assert outcome.id == first[0][0]
        made = session.run(session.store.projects.create("next", START_US, actor="test"))
        assert made.id == 2
        assert target.run_sql("SELECT count(*) FROM event_queue") == waiting
        assert session.accept(new_event(key="new")) == [None]
    finally:
        session.close()


def test_queued_events_are_processed_in_order_of_receipt(
    tmp_path: Path, target: PostgresPlace
) -> None:
    """Also where the clock was set back between two events."""
    source = SqlitePlace(tmp_path)
    session = StoreSession(source)
    events = [new_event(received_us=START_US - number * 1_000_000) for number in range(5)]
    session.accept(*events)
    session.close()
    assert copied(source, target).returncode == 0

    session = StoreSession(target)
    try:
        assert Queue(session).drain() == [event.sequence for event in events]
    finally:
        session.close()


def test_killed_copy_resumes(source: SqlitePlace, target: PostgresPlace) -> None:
    fill_many(source, MANY)
    there = kill_on_the_way(source, target)
    served = headrace("project", "list", "--store", target.url)
    assert served.returncode == 2
    assert "a part of another one" in served.stderr
    assert 0 < there < MANY
    assert target.run_sql("SELECT count(*) FROM events") == [(there,)]

    done = copied(source, target)

    assert done.returncode == 0, done.stderr
    assert (
        json.loads(done.stdout)["tables"]["events"]
        == source.run_sql("SELECT count(*) FROM events")[0][0]
    )
    assert target.run_sql(_PAYLOADS) == source.run_sql(_PAYLOADS)
    assert target.run_sql("SELECT 1 FROM meta WHERE name = 'copy'") == []


def kill_on_the_way(source: SqlitePlace, target: PostgresPlace) -> int:
    """Kill a copy while it writes events; returns how many are copied."""
    command = [*HEADRACE, "copy", "--from", source.url, "--to", target.url]
    process = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.DEVNULL)
    wait_until(lambda: rows_done(target) > 0, "the first events are there")
    process.kill()
    assert process.wait() == -9
    return rows_done(target)


def rows_done(target: PostgresPlace) -> int:
    found = target.run_sql(_ROWS_DONE)
    return int(found[0][0] or 0) if found else 0


def test_differing_tables_are_named(source: SqlitePlace, target: PostgresPlace) -> None:
    """The checksums find rows that changed while a copy was interrupted."""
    fill_many(source, MANY)
    kill_on_the_way(source, target)
    source.run_sql("UPDATE events SET occurred_us = occurred_us + 1 WHERE sequence = 1")

    done = copied(source, target)

    assert done.returncode == 1
    assert "The stores differ in events (" in done.stderr
    assert "api_keys" not in done.stderr


def test_target_with_data_is_rejected(source: SqlitePlace, target: PostgresPlace) -> None:
    session = StoreSession(target)
    session.run(session.store.projects.create("other", START_US, actor="test"))
    session.close()
    assert "The target has data already" in refused(source, target)


def test_target_without_the_schema_is_rejected(source: SqlitePlace, tmp_path: Path) -> None:
    place = PostgresPlace(tmp_path)
    place.run_sql("DROP SCHEMA public CASCADE")
    place.run_sql("CREATE SCHEMA public")
    assert "headrace migrate" in refused(source, place)
    place.remove()


def test_partial_copy_of_another_store_is_rejected(
    source: SqlitePlace, target: PostgresPlace
) -> None:
    target.run_sql(
        'INSERT INTO meta (name, value) VALUES (\'copy\', \'{"source": "another", "rows": {}}\')'
    )
    assert "a part of another store" in refused(source, target)


def test_source_in_use_is_rejected(target: PostgresPlace, tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        done = headrace("copy", "--from", server.store_url, "--to", target.url)
    assert done.returncode == 2
    assert "in use by another headrace process" in done.stderr


def test_only_from_a_file_to_a_server(source: SqlitePlace, target: PostgresPlace) -> None:
    for pair in ((source.url, source.url), (target.url, target.url)):
        done = headrace("copy", "--from", pair[0], "--to", pair[1])
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    missing = headrace("copy", "--from", "sqlite:///nowhere.db", "--to", target.url)
    assert missing.returncode == 2
    assert "There is no store" in missing.stderr

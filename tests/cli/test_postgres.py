"""The commands on a PostgreSQL store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.store.engine.postgres.migrate import newest_version
from tests.cli.exports import check_export_comes_back
from tests.support.postgres import server as postgres_server
from tests.support.server import RunningServer, headrace
from tests.support.waiting import wait_until

#: The test server uses `trust` authentication, so any password will do.
PASSWORD = "s3cret"


@pytest.fixture
def empty_url() -> Iterator[str]:
    server = postgres_server()
    name = server.new_database(migrated=False)
    yield server.url(name, user=f"postgres:{PASSWORD}")
    server.drop_database(name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A `headrace serve` that has migrated an empty database."""
    database = postgres_server()
    name = database.new_database(migrated=False)
    url = database.url(name, user=f"postgres:{PASSWORD}")
    running = RunningServer(tmp_path_factory.mktemp("shared"), {}, (), store=url)
    running.start()
    yield running
    assert running.terminate() == 0
    assert PASSWORD not in running.log_path.read_text("utf-8")
    database.drop_database(name)


@pytest.mark.parametrize("command", ["api", "worker"])
def test_only_serve_fills_an_empty_database(empty_url: str, command: str) -> None:
    done = headrace(command, "--store", empty_url)
    assert done.returncode == 2
    assert "headrace migrate" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr


def test_migrate_fills_a_database_once(empty_url: str) -> None:
    first = headrace("migrate", "--json", "--store", empty_url)
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert (told["from"], told["to"]) == (0, newest_version())
    assert PASSWORD not in first.stdout
    again = headrace("migrate", "--store", empty_url)
    assert "nothing to do" in again.stdout


def test_an_unreachable_server_is_reported_without_the_password() -> None:
    url = f"postgresql://ada:{PASSWORD}@127.0.0.1:1/headrace"
    for command in (("api",), ("doctor",), ("project", "list"), ("migrate",), ("export",)):
        done = headrace(*command, "--store", url)
        assert done.returncode == (1 if command == ("doctor",) else 2), command
        assert "postgresql://ada@127.0.0.1:1/headrace" in done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr


def test_the_first_start_shows_where_it_is_and_a_key(server: RunningServer) -> None:
    assert server.key.startswith("hr_")
    assert PASSWORD not in json.dumps(server.announced)
    assert server.ask("/events")["data"] == []


def test_an_export_comes_back_to_its_store(server: RunningServer, tmp_path: Path) -> None:
    check_export_comes_back(server, tmp_path)


def test_the_doctor_finds_it_well(server: RunningServer) -> None:
    done = headrace("doctor", "--json", "--store", server.store_url, "--port", str(server.port))
    assert done.returncode == 0, done.stdout
    found = {finding["check"]: finding for finding in json.loads(done.stdout)["checks"]}
    assert "fsync=on" in found["durability"]["found"]
    assert found["database"]["found"].startswith("postgresql 18")
    assert "disk" not in found
    assert PASSWORD not in done.stdout


def test_what_one_command_writes_the_next_one_reads(server: RunningServer, tmp_path: Path) -> None:
    store = ("--store", server.store_url)
    assert headrace("project", "create", "shop", *store).returncode == 0
    made = headrace("key", "create", "--project", "shop", "--json", *store)
    key = json.loads(made.stdout)["key"]
    policy = ("policy", "set", "event_retention_days", "30", "--project", "shop")
    assert headrace(*policy, *store).returncode == 0

    lines = tmp_path / "events.ndjson"
    lines.write_text(
        "".join(
            json.dumps({"event": "a", "external_id": f"{n}", "idempotency_key": f"k{n}"}) + "\n"
            for n in range(250)
        ),
        "utf-8",
    )
    imported = headrace("import", str(lines), "--project", "shop", "--json", *store)
    assert imported.returncode == 0, imported.stderr
    out = tmp_path / "out.ndjson"
    exported = headrace("export", "--project", "shop", "--output", str(out), *store)
    assert exported.returncode == 0, exported.stderr
    kept = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    own = [event for event in kept if event["source"] == "import"]
    assert [event["idempotency_key"] for event in own] == [f"k{n}" for n in range(250)]

    def known() -> bool:
        client = ("--url", server.url, "--key", key)
        sent = headrace("send", "--event", "a", "--external-id", "x", *client)
        return sent.returncode == 0

    wait_until(known, "the running server takes the new key")


def test_the_doctor_warns_of_missing_vacuum_settings(empty_url: str) -> None:
    assert headrace("migrate", "--store", empty_url).returncode == 0

    def vacuum() -> dict[str, str]:
        done = headrace("doctor", "--json", "--store", empty_url)
        checks: list[dict[str, str]] = json.loads(done.stdout)["checks"]
        return next(each for each in checks if each["check"] == "vacuum")

    assert vacuum()["level"] == "ok"
    database = empty_url.rpartition("/")[2]
    server = postgres_server()
    server.run_sql(database, "ALTER TABLE event_queue RESET (autovacuum_vacuum_threshold)")
    server.run_sql(database, "ALTER TABLE deliveries SET (autovacuum_enabled = off)")
    found = vacuum()
    assert found["level"] == "warn"
    assert "event_queue has no autovacuum_vacuum_threshold" in found["found"]
    assert "autovacuum of deliveries is off" in found["found"]

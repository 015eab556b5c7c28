"""`headrace backup` beside a busy server, and what must hold after `headrace restore`."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.support.commands import headrace_here
from tests.support.server import (
    HEADRACE,
    RunningServer,
    clean_environment,
    headrace,
    running_server,
)
from tests.support.waiting import wait_until

ALLOWED = {"HEADRACE_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}


class Endpoint:
    """A webhook endpoint that does not answer until it is opened."""

    def __init__(self) -> None:
        #: `webhook-id` and event id of each request, also of those without an answer.
        self.requests: list[tuple[str, str]] = []
        self.opened = threading.Event()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                endpoint.requests.append((self.headers["webhook-id"], body["data"]["id"]))
                if endpoint.opened.wait(60):
                    self.send_response(204)
                    self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


@contextmanager
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.opened.set()
        made.server.shutdown()
        made.server.server_close()
        thread.join()


def run(*arguments: str, store: str) -> Any:
    done = headrace_here(*arguments, "--json", "--store", store)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def event(key: str) -> dict[str, Any]:
    return {"event": "order.paid", "external_id": "u1", "idempotency_key": key}


def keys_in(path: Path) -> list[str]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        assert connection.pragma("integrity_check") == "ok"
        sql = (
            "SELECT idempotency_key FROM events WHERE idempotency_key IS NOT NULL ORDER BY sequence"
        )
        return [row[0] for row in connection.execute(sql)]
    finally:
        connection.close()


@contextmanager
def sending(server: RunningServer) -> Iterator[list[str]]:
    """Keys of events that a thread sends one after the other, added when they are accepted."""
    accepted: list[str] = []
    stopping = threading.Event()

    def work() -> None:
        while not stopping.is_set():
            key = f"k{len(accepted)}"
            server.ask("/events", event(key))
            accepted.append(key)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_until(lambda: len(accepted) >= 20, "some events are accepted")
        yield accepted
    finally:
        stopping.set()
        thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server"), env=ALLOWED) as running:
        yield running


def test_a_backup_of_a_busy_server_is_a_snapshot(server: RunningServer, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    with sending(server) as accepted:
        before = list(accepted)
        made = run("backup", str(target), store=server.store_url)
        wait_until(lambda: len(accepted) > len(before) + 20, "the server goes on")
    kept = keys_in(target)
    # Nothing is missing, and nothing is there without what came before it.
    assert kept[: len(before)] == before
    assert kept == accepted[: len(kept)]
    assert made["size_bytes"] == target.stat().st_size
    assert made["key_file"] == f"{server.store_path}.key"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_killed_backup_leaves_no_backup(server: RunningServer, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    command = ("backup", str(target), "--store", server.store_url)
    killed = headrace(*command, env={"HEADRACE_FAIL_POINT": "backup_copied:kill"})
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    assert headrace_here(*command).returncode == 0
    assert list(tmp_path.iterdir()) == [target]


def refused(*arguments: str, store: str) -> str:
    done = headrace_here(*arguments, "--store", store)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    return done.stderr


def test_no_file_is_overwritten_or_misread(server: RunningServer, tmp_path: Path) -> None:
    backup, new = tmp_path / "backup.db", f"sqlite:///{tmp_path / 'new.db'}"
    backup.write_text("mine", "utf-8")
    assert "exists" in refused("backup", str(backup), store=server.store_url)
    assert "damaged" in refused("restore", str(backup), store=new)
    assert "There is no backup" in refused("restore", str(tmp_path / "none"), store=new)
    assert "There is no store" in refused("backup", str(tmp_path / "b.db"), store=new)
    copy = tmp_path / "copied.db"
    for ending in ("", "-wal"):
        shutil.copy(f"{server.store_path}{ending}", f"{copy}{ending}")
    assert "has a log beside it" in refused("restore", str(copy), store=new)
    assert "in use by another" in refused("restore", str(backup), store=server.store_url)
    assert "pg_dump" in refused("backup", str(tmp_path / "b.db"), store="postgresql://a@b/c")
    assert "headrace hold" in refused("restore", str(backup), store="postgresql://a@b/c")
    assert "not held" in refused("release", store=server.store_url)
    assert sorted(each.name for each in tmp_path.iterdir() if each.suffix == ".db") == [
        "backup.db",
        "copied.db",
    ]


def test_a_restore_does_nothing_again_without_a_word(tmp_path: Path) -> None:
    backup, restored = tmp_path / "backup.db", tmp_path / "restored"
    restored.mkdir()
    with endpoint() as receiver:
        with running_server(tmp_path, env=ALLOWED) as old:
            old.ask("/webhooks", {"url": receiver.url, "events": ["order.paid"]})
            run("mail", "pause", store=old.store_url)
            mail_id = old.ask(
                "/emails",
                {"from": "x@example.org", "to": ["a@b.example"], "subject": "s", "text": "t"},
            )["data"]["messages"][0]["id"]
            old_event = old.ask("/events", event("before"))["data"]["id"]
            wait_until(lambda: len(receiver.requests) == 1, "the delivery is under way")
            run("backup", str(backup), store=old.store_url)
            # All of it is done after the backup, which cannot know.
            receiver.opened.set()
            run("mail", "resume", store=old.store_url)
            wait_until(
                lambda: old.ask(f"/messages/{mail_id}")["data"]["status"] != "queued",
                "the mail is sent",
            )
            lost_event = old.ask("/events", event("after"))["data"]["id"]
            wait_until(lambda: len(receiver.requests) == 2, "both are delivered")
            old.kill()
            key = old.key

        new = RunningServer(restored, ALLOWED, ())
        done = run("restore", str(backup), store=new.store_url)
        assert done["backup_taken_at"] < done["held_at"]
        shutil.copy(tmp_path / "headrace.db.key", restored / "headrace.db.key")
        run("mail", "resume", store=new.store_url)
        new.key = key
        new.start()
        try:
            reason = "work is held after a restore, until: headrace release"
            wait_until(lambda: new.ask("/readyz")["data"].get("worker") == reason, "it is held")
            # Senders repeat what they sent: known keys are known, the others are accepted.
            assert new.ask("/events", event("before"))["data"]["id"] == old_event
            assert new.ask("/events", event("after"))["data"]["id"] != lost_event
            shown = headrace_here("release", "--store", new.store_url).stdout
            assert "      1 deliveries\n        1 mails\n" in shown
            doctor = headrace_here("doctor", "--store", new.store_url, "--port", "0").stdout
            assert "held after a restore" in doctor
            assert len(receiver.requests) == 2

            released = run("release", "--overdue", "skip", store=new.store_url)
            assert released["due"]["deliveries"] == released["due"]["mails"] == 1
            # What was accepted while it was held is new work.
            wait_until(lambda: len(receiver.requests) == 3, "the new event is delivered")
            assert receiver.requests[2][1] not in {old_event, lost_event}
            message = new.ask(f"/messages/{mail_id}")["data"]
            assert (message["status"], message["reason"]) == ("unknown", "restored")
            [dead] = run("dead-letters", "list", store=new.store_url)
            assert (dead["cause"], dead["event_id"]) == ("restored", old_event)
            wait_until(lambda: "worker" not in new.ask("/readyz")["data"], "the worker works")

            # A person decides to repeat it: the receiver sees the same delivery.
            headrace_here("dead-letters", "replay", dead["id"], "--store", new.store_url)
            wait_until(lambda: len(receiver.requests) == 4, "the dead letter is delivered")
            assert receiver.requests[3] == receiver.requests[0]
        finally:
            assert new.terminate() == 0


def test_a_held_worker_can_be_stopped(tmp_path: Path) -> None:
    backup, store = tmp_path / "backup.db", f"sqlite:///{tmp_path / 'new.db'}"
    old = f"sqlite:///{tmp_path / 'old.db'}"
    run("migrate", store=old)
    run("backup", str(backup), store=old)
    run("restore", str(backup), store=store)
    with subprocess.Popen(
        [*HEADRACE, "worker", "--store", store],
        env=clean_environment(),
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert b"worker.held" in process.stderr.readline()
        process.terminate()
        assert process.wait(12) == 0

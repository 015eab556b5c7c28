"""`headrace doctor` and `headrace migrate`."""

import json
import socket
from pathlib import Path
from typing import Any

from tests.support.server import RunningServer, headrace


def findings(*flags: str, code: int) -> dict[str, Any]:
    done = headrace("doctor", "--json", *flags)
    assert done.returncode == code, done.stderr
    return {finding["check"]: finding for finding in json.loads(done.stdout)["checks"]}


def test_all_is_well_beside_a_running_server(server: RunningServer) -> None:
    found = findings("--store", server.store_url, "--port", str(server.port), code=0)
    assert found["durability"]["found"] == "journal_mode=wal, synchronous=full"
    assert found["database"]["found"].startswith("sqlite 3.")
    assert found[f"port {server.port}"]["found"] == (
        f"in use by headrace (pid {server.process.pid}, {_name(server.process.pid)})"
    )
    assert "free inside the file" in found["space"]["found"]
    for check in ("store", "schema", "log", "disk", "clock", "space", "secrets"):
        assert found[check]["level"] == "ok"


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text("utf-8").strip()


def test_a_missing_store_is_no_failure_and_stays_missing(tmp_path: Path) -> None:
    found = findings("--store", f"sqlite:///{tmp_path / 'none.db'}", "--port", "0", code=0)
    assert found["store"]["level"] == "warn"
    assert "headrace serve" in found["store"]["advice"]
    assert list(tmp_path.iterdir()) == []


def test_another_program_on_the_port_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # Nothing accepts connections: the probe gets no response and must not wait long for one.
        port = str(taken.getsockname()[1])
        store = f"sqlite:///{tmp_path / 'none.db'}"
        found = findings("--store", store, "--port", port, code=1)
    assert "in use by another program (pid " in found[f"port {port}"]["found"]
    assert "--port" in found[f"port {port}"]["advice"]


def test_too_little_room_fails(server: RunningServer) -> None:
    wanted = str(1 << 60)
    done = headrace("doctor", "--store", server.store_url, "--disk-free-min-bytes", wanted)
    assert done.returncode == 1
    [line] = [line for line in done.stdout.splitlines() if " disk " in line]
    assert line.startswith("fail")
    assert "Free disk space" in line
    assert done.stderr.startswith("headrace: ")


def test_a_file_that_is_no_store_fails(tmp_path: Path) -> None:
    path = tmp_path / "headrace.db"
    path.write_bytes(b"something else entirely\n" * 400)
    found = findings("--store", f"sqlite:///{path}", "--port", "0", code=1)
    assert found["store"]["level"] == "fail"
    assert path.read_bytes() == b"something else entirely\n" * 400


def test_migrate_makes_a_store_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'headrace.db'}"
    first = json.loads(headrace("migrate", "--json", "--store", store).stdout)
    assert first["from"] == 0
    assert first["to"] > 0
    second = headrace("migrate", "--store", store)
    assert second.stdout == f"The store already has schema {first['to']}; nothing to do.\n"


def test_the_ways_of_bounces_are_checked(tmp_path: Path) -> None:
    store = ("--store", f"sqlite:///{tmp_path / 'none.db'}", "--port", "0")
    found = findings(*store, "--mail-bounce-domain", "b.example.org", code=0)
    assert found["bounces"]["level"] == "warn"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        silent.close()
        url = f"imap://user:secret-password@127.0.0.1:{port}/INBOX"
        found = findings(*store, "--mail-bounce-imap", url, code=1)
    assert "cannot be opened" in found["bounces"]["found"]
    assert "secret-password" not in json.dumps(found)
    found = findings(*store, "--mail-bounce-imap", "imaps://user:secret-password", code=1)
    assert "HEADRACE_MAIL_BOUNCE_IMAP must" in found["bounces"]["found"]
    assert "secret-password" not in json.dumps(found)
    listen = ("--mail-bounce-listen", "lmtp://127.0.0.1:2424", "--mail-postmark-login", "a:b")
    found = findings(*store, *listen, code=0)
    assert found["bounces"]["found"] == "are accepted at lmtp://127.0.0.1:2424"
    assert "of Postmark are taken at" in found["webhooks"]["found"]

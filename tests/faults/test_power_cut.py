"""A power cut after any response keeps everything that was acknowledged.

The machine keeps its power: what the disk would hold is rebuilt from a trace of the system calls.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import apsw

from headrace.domain.events.event import Source
from tests.faults.power_cut import TRACED, Disk
from tests.faults.server import Faulty, send
from tests.faults.strace import calls_of, trace
from tests.torture.client import event_of

EVENTS = 25
#: Cuts after each response: one keeps nothing unsynced, the others a random part of it.
CUTS = 3
CAUTIOUS = ("-m", "headrace")
CARELESS = ("-m", "tests.faults.careless_server")


def traced_run(faulty: Faulty, log: Path, program: Sequence[str]) -> Disk:
    """Accept some events one by one under strace; returns the disk before."""
    disk = Disk(faulty.database)
    client = faulty.start(wrapper=trace(TRACED, log, bytes_shown=1 << 20), program=program)
    for number in range(EVENTS):
        answer = send(client, f"k{number}")
        assert answer is not None
        assert answer.status == 202
    # One more response, so that the last one above is in the trace before strace is killed.
    assert client.get("/healthz").status == 200
    faulty.kill()
    return disk


def stored_after(database: Path) -> list[tuple[str, str]]:
    """Open the remains of the cut like the next start does, and read them."""
    connection = apsw.Connection(str(database))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert connection.pragma("integrity_check") == "ok"
    rows = connection.execute(
        "SELECT idempotency_key, payload FROM events WHERE source = ? ORDER BY sequence",
        (Source.API,),
    ).fetchall()
    connection.close()
    return [(str(key), str(payload)) for key, payload in rows]


def losses(faulty: Faulty, log: Path, folder: Path, program: Sequence[str]) -> int:
    """Acknowledged events that some cut would have lost."""
    disk = traced_run(faulty, log, program)
    rng = random.Random(20260608)
    lost = answers = 0
    for acknowledged in disk.replay(log):
        answers += 1
        for cut in range(CUTS):
            database = disk.cut(folder / f"{acknowledged}-{cut}", rng if cut else None)
            found = stored_after(database)
            keys = [key for key, _ in found]
            assert keys == [f"k{n}" for n in range(len(keys))]
            lost += max(0, acknowledged - len(keys))
            for key, payload in found:
                assert f'"{event_of(key)["payload"]["filling"]}"' in payload
    assert answers == EVENTS
    return lost


def test_no_cut_loses_acknowledged_events(faulty: Faulty, tmp_path: Path) -> None:
    (tmp_path / "cuts").mkdir()
    assert losses(faulty, tmp_path / "strace.log", tmp_path / "cuts", CAUTIOUS) == 0


def test_without_the_sync_of_each_commit_the_same_cuts_lose_events(
    faulty: Faulty, tmp_path: Path
) -> None:
    """Otherwise the test above would prove nothing."""
    (tmp_path / "cuts").mkdir()
    assert losses(faulty, tmp_path / "strace.log", tmp_path / "cuts", CARELESS) > EVENTS


def test_each_response_follows_the_sync_of_its_commit(faulty: Faulty, tmp_path: Path) -> None:
    log = tmp_path / "strace.log"
    traced_run(faulty, log, CAUTIOUS)
    unsynced, synced, answers = 0, 0, 0
    for call in calls_of(log):
        if call.path.endswith("headrace.db-wal"):
            if call.name == "pwrite64":
                unsynced += 1
            elif call.name == "fdatasync" and call.result == 0:
                unsynced, synced = 0, synced + 1
        elif call.name != "pwrite64" and r"\x20\x32\x30\x32\x20" in call.arguments[:200]:
            answers += 1
            assert unsynced == 0
            assert synced >= answers
    assert answers == EVENTS

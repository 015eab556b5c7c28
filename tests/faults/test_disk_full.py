"""A full disk: ingest is rejected until there is room again, everything else continues."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.server import Faulty, ask_until, send
from tests.support.raw_http import Client, Response

MIB = 1024 * 1024
FILLER_BYTES = 28 * MIB
LARGE = {"payload": {"filling": "x" * 60_000}}


@pytest.fixture
def on_small_disk(small_disk: Path) -> Iterator[Faulty]:
    made = Faulty(small_disk / "headrace.db")
    yield made
    made.close()


def occupy(folder: Path, size: int) -> Path:
    filler = folder / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return filler


def answered(client: Client, key: str) -> Response:
    answer = send(client, key, LARGE)
    assert answer is not None
    return answer


def test_full_disk_rejects_events_and_recovers(on_small_disk: Faulty, small_disk: Path) -> None:
    client = on_small_disk.start()
    filler = occupy(small_disk, FILLER_BYTES)
    acknowledged: list[str] = []
    refused = None
    for number in range(1000):
        answer = answered(client, f"k{number}")
        if answer.status != 202:
            refused = answer
            break
        acknowledged.append(f"k{number}")
    assert refused is not None
    assert (refused.status, refused.code) == (503, "StorageUnavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert "full" in refused.json()["error"]["message"]
    assert len(acknowledged) > 10

    # Repeated rejections do no harm, and reading continues.
    for number in range(20):
        assert answered(client, f"refused{number}").status in (202, 503)
    listed = client.get("/events?limit=5")
    assert listed.status == 200
    assert len(listed.data) == 5
    assert client.get("/events/by-idempotency-key/k3").data["idempotency_key"] == "k3"
    assert client.get("/healthz").status == 200

    filler.unlink()
    ask_until(lambda: answered(client, "healed").status in (202, 200))
    assert on_small_disk.stop() == 0
    stored = on_small_disk.stored_keys()
    assert len(stored) == len(set(stored))
    assert set(acknowledged) | {"healed"} <= set(stored)


def test_ingest_is_rejected_before_the_disk_is_full(
    on_small_disk: Faulty, small_disk: Path
) -> None:
    client = on_small_disk.start(disk_free_min_bytes=str(20 * MIB))
    assert answered(client, "before").status == 202
    assert client.get("/readyz").status == 200

    filler = occupy(small_disk, FILLER_BYTES)
    ask_until(lambda: client.get("/readyz").status == 503)
    answer = answered(client, "meanwhile")
    assert (answer.status, answer.code) == (503, "StorageUnavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "disk" in client.get("/readyz").data["reason"]
    assert len(client.get("/events").data) == 1
    usage = os.statvfs(small_disk)
    assert usage.f_bavail * usage.f_frsize > 4 * MIB

    filler.unlink()
    ask_until(lambda: client.get("/readyz").status == 200)
    assert answered(client, "after").status == 202
    assert on_small_disk.stop() == 0
    assert on_small_disk.stored_keys() == ["before", "after"]


def test_server_started_on_a_full_disk_reports_it_and_reads(
    on_small_disk: Faulty,
) -> None:
    client = on_small_disk.start()
    assert answered(client, "before").status == 202
    assert on_small_disk.stop() == 0
    client = on_small_disk.start(disk_free_min_bytes=str(1 << 40))
    assert client.get("/readyz").status == 503
    assert answered(client, "refused").status == 503
    assert len(client.get("/events").data) == 1

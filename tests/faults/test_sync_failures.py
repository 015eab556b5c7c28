"""A disk whose fsync fails or never returns."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.server import Faulty, send, send_batch, send_until_trouble
from tests.faults.strace import calls_of, inject


def assert_recovered(faulty: Faulty, acknowledged: list[str], doubtful: str) -> None:
    """After a restart acknowledged events are stored once, and the unknown one can be resent."""
    client = faulty.start()
    found = faulty.stored_keys()
    assert found in (acknowledged, [*acknowledged, doubtful])
    answer = send(client, doubtful)
    assert answer is not None
    assert answer.status == (200 if doubtful in found else 202)
    assert faulty.stop() == 0
    assert faulty.stored_keys() == [*acknowledged, doubtful]


@pytest.mark.parametrize("when", [8, 11])
def test_crash_inside_an_fsync_loses_nothing_acknowledged(faulty: Faulty, when: int) -> None:
    wrapper = inject(f"signal=SIGKILL:when={when}")
    acknowledged, doubtful, status = send_until_trouble(faulty.start(wrapper=wrapper))
    assert status is None
    # strace ends by the signal that ended its process.
    assert faulty.wait_ended() == -signal.SIGKILL
    assert_recovered(faulty, acknowledged, doubtful)


def test_failed_fsync_fails_its_requests_and_ends_the_process(
    faulty: Faulty, tmp_path: Path
) -> None:
    log = tmp_path / "strace.log"
    wrapper = inject("error=EIO:when=8", log=log)
    acknowledged, doubtful, status = send_until_trouble(faulty.start(wrapper=wrapper))
    assert status == 503
    assert faulty.wait_ended() == 1
    calls = list(calls_of(log))
    failed = next(n for n, call in enumerate(calls) if "INJECTED" in call.error)
    assert calls[failed].path.endswith("headrace.db-wal")
    # Nothing is written to the store after a failed sync, not even at closing.
    after = [call for call in calls[failed + 1 :] if "headrace.db" in call.path]
    assert [call for call in after if not call.path.endswith(".lock")] == []
    assert_recovered(faulty, acknowledged, doubtful)


def test_a_failed_fsync_fails_the_whole_batch_it_was_for(faulty: Faulty) -> None:
    client = faulty.start(wrapper=inject("error=EIO:when=8"))
    acknowledged: list[str] = []
    while True:
        keys = [f"k{len(acknowledged) + n}" for n in range(20)]
        answer = send_batch(client, keys)
        assert answer is not None
        if answer.status == 503:
            break
        assert answer.json()["accepted"] == 20
        acknowledged += keys
    assert answer.code == "StorageUnavailable"
    assert faulty.wait_ended() == 1
    client = faulty.start()
    assert faulty.stored_keys() in (acknowledged, acknowledged + keys)
    again = send_batch(client, keys)
    assert again is not None
    assert again.json()["rejected"] == 0
    assert faulty.stop() == 0
    assert faulty.stored_keys() == acknowledged + keys


def test_a_kill_inside_the_checkpoint_of_the_next_start_loses_nothing(faulty: Faulty) -> None:
    """The process crashes again while the log is moved into the database."""
    client = faulty.start()
    keys = [f"k{n}" for n in range(30)]
    answers = [send(client, key) for key in keys]
    assert all(answer is not None and answer.status == 202 for answer in answers)
    faulty.kill()
    for when in (1, 2):
        with pytest.raises(Exception, match="-9"):
            faulty.start(wrapper=inject(f"signal=SIGKILL:when={when}"))
        faulty.wait_ended()
    client = faulty.start()
    assert faulty.stop() == 0
    assert faulty.stored_keys() == keys

"""Crashes and errors at the critical points: before, inside and after a commit."""

from __future__ import annotations

import signal

import pytest

from tests.faults.server import Faulty, send, send_batch, send_until_trouble

#: Late enough that the commits of a start, which pass `inside_commit` too, are over.
NTH = 12


@pytest.mark.parametrize(
    ("point", "stored"),
    [("before_commit", False), ("inside_commit", False), ("after_commit_before_answer", True)],
)
def test_retry_after_a_crash_gives_one_event(faulty: Faulty, point: str, stored: bool) -> None:
    client = faulty.start(fail_point=f"{point}:kill:{NTH}")
    acknowledged, doubtful, status = send_until_trouble(client)
    assert status is None
    assert acknowledged
    assert faulty.wait_ended() == -signal.SIGKILL
    assert faulty.stored_keys() == [*acknowledged, doubtful][: len(acknowledged) + stored]

    client = faulty.start()
    again, once_more = send(client, doubtful), send(client, doubtful)
    assert again is not None
    assert once_more is not None
    assert (again.status, once_more.status) == (200 if stored else 202, 200)
    assert once_more.data["id"] == again.data["id"]
    for key in acknowledged:
        repeated = send(client, key)
        assert repeated is not None
        assert repeated.status == 200
    assert faulty.stop() == 0
    assert faulty.stored_keys() == [*acknowledged, doubtful]


@pytest.mark.parametrize("point", ["before_commit", "inside_commit"])
def test_error_in_a_commit_affects_only_its_requests(faulty: Faulty, point: str) -> None:
    client = faulty.start(fail_point=f"{point}:error:{NTH}")
    acknowledged, refused, status = send_until_trouble(client)
    assert status == 503
    assert faulty.stored_keys() == acknowledged
    later, again = send(client, "later"), send(client, refused)
    assert later is not None
    assert again is not None
    assert (later.status, again.status) == (202, 202)
    assert faulty.stop() == 0
    assert faulty.stored_keys() == [*acknowledged, "later", refused]


def test_a_batch_that_could_not_be_stored_is_one_plain_503(faulty: Faulty) -> None:
    client = faulty.start(fail_point="before_commit:error:1")
    keys = [f"k{n}" for n in range(100)]
    answer = send_batch(client, keys)
    assert answer is not None
    assert answer.status == 503
    assert answer.code == "StorageUnavailable"
    assert int(answer.headers["retry-after"]) > 0
    again = send_batch(client, keys)
    assert again is not None
    assert again.json()["accepted"] == 100
    assert faulty.stop() == 0
    assert sorted(faulty.stored_keys()) == sorted(keys)


def test_error_after_the_commit_still_acknowledges_the_event(faulty: Faulty) -> None:
    """The event is stored, so it is acknowledged; then the process ends because of the error."""
    client = faulty.start(fail_point="after_commit_before_answer:error:2")
    answers = [send(client, "a"), send(client, "b")]
    assert [answer and answer.status for answer in answers] == [202, 202]
    assert faulty.wait_ended() == 1
    assert faulty.stored_keys() == ["a", "b"]

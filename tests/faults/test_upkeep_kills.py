"""Kills and errors while parts begin, keys move and the log is moved into the database."""

from __future__ import annotations

import signal

import pytest

from tests.faults.server import Faulty, send, send_until_trouble

SMALL = ("-m", "tests.faults.small_server")
#: With the pass at which the point acts. The log is moved while the server starts, too.
POINTS = [
    ("inside_begin_of_part", 1),
    ("inside_begin_of_part", 4),
    ("inside_move_of_keys", 1),
    ("inside_move_of_keys", 7),
    ("before_checkpoint", 6),
    ("before_checkpoint", 9),
    ("before_last_pages", 6),
    ("before_last_pages", 9),
]
EVENTS = 60


@pytest.mark.parametrize(("point", "nth"), POINTS)
def test_a_kill_loses_and_doubles_nothing(faulty: Faulty, point: str, nth: int) -> None:
    client = faulty.start(program=SMALL, fail_point=f"{point}:kill:{nth}")
    acknowledged, doubtful, status = send_until_trouble(client)
    assert status is None
    assert faulty.wait_ended() == -signal.SIGKILL
    stored = faulty.stored_keys()
    assert stored in (acknowledged, [*acknowledged, doubtful])

    client = faulty.start(program=SMALL)
    for key in stored:
        again = send(client, key)
        assert again is not None
        assert again.status == 200
    more = [f"more{number}" for number in range(EVENTS)]
    for key in more:
        first = send(client, key)
        assert first is not None
        assert first.status == 202
    assert faulty.stop() == 0
    assert faulty.stored_keys() == [*stored, *more]


@pytest.mark.parametrize("point", ["inside_begin_of_part", "inside_move_of_keys"])
def test_an_error_costs_no_event(faulty: Faulty, point: str) -> None:
    """It is rolled back and done again later."""
    client = faulty.start(program=SMALL, fail_point=f"{point}:error:2")
    keys = [f"k{number}" for number in range(EVENTS)]
    for status in (202, 200):
        for key in keys:
            answer = send(client, key)
            assert answer is not None
            assert answer.status == status
    assert faulty.stop() == 0
    assert faulty.stored_keys() == keys

"""Puts an exact number of events of chosen people into a store, through the batch API."""

from __future__ import annotations

import http.client
import random
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from bench.load.template import KEY, KEY_DIGITS, USER, USER_DIGITS, event_template
from bench.load.wrk import LoadFailedError
from bench.processes import HOST

EVENTS_A_REQUEST = 1_000
ANSWER_WITHIN_S = 60


class _Answer(msgspec.Struct):
    accepted: int


def everybody(people: int) -> Iterable[int]:
    """One event of each of some number of people."""
    return range(people)


def anybody(people: int, events: int) -> Iterator[int]:
    """Events of people drawn at random."""
    draw = random.Random().randrange
    return (draw(people) for _ in range(events))


def fill(port: int, api_key: str, users: Iterable[int]) -> int:
    """Send an event of every user named, in this order; return how many were sent.

    Raises:
        LoadFailedError: not all were accepted.
    """
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_WITHIN_S)
    remaining, sent = iter(users), 0
    digits = random.Random()
    try:
        while part := list(islice(remaining, EVENTS_A_REQUEST)):
            connection.request("POST", "/events/batch", _body(part, digits), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200 or msgspec.json.decode(text, type=_Answer).accepted < len(part):
                raise LoadFailedError(f"a batch was answered {answer.status}: {text[:300]!r}")
            sent += len(part)
    finally:
        connection.close()
    return sent


def _body(users: list[int], digits: random.Random) -> bytes:
    start, _, rest = event_template().partition(USER)
    before_key, between_keys, after_key = rest.split(KEY)
    events = []
    for user in users:
        key = f"{digits.getrandbits(4 * KEY_DIGITS):0{KEY_DIGITS}x}"
        number = f"{user:0{USER_DIGITS}}"
        events.append(f"{start}{number}{before_key}{key}{between_keys}{key}{after_key}")
    return ('{"events":[' + ",".join(events) + "]}").encode("ascii")

"""Open-loop load: sends at fixed times whatever the server does, and measures from those times.

A request that could not be sent when it was due, because every connection still waited for a
response, is measured from the time it was due. So a pause of the server counts for every request
that would have waited (no coordinated omission). Runs in its own process and prints one JSON line:

    python -m bench.load.open_loop --template FILE --port 8080 --rate 1000 --seconds 5

It waits with `select`, whose timeout is in microseconds: timers of the usual event loops have a
precision of a millisecond, as much as is measured here.
"""

from __future__ import annotations

import argparse
import gc
import random
import select
import socket
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.load.template import KEY, KEY_DIGITS, USER, USER_DIGITS
from bench.processes import HOST

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 100.0)
#: As many as the digits of a user can distinguish.
PEOPLE_MAX = 10**USER_DIGITS
#: How long responses may take after the last request was due.
DRAIN_S = 5.0
RECEIVE_BYTES = 65_536


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one run at a fixed rate; times in microseconds."""

    rate: int
    #: Requests that were due in the measured time, without the warm-up.
    due: int
    unanswered: int
    #: Status to number of responses, including the warm-up.
    statuses: dict[str, int]
    #: Percentile to latency from the due time, as pairs in rising order.
    percentiles: tuple[tuple[float, float], ...]
    #: 99th percentile of how late the generator itself was when a connection was free.
    send_lag_p99_us: float


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    due: float = 0.0
    received: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One run: `rate` requests a second, evenly spaced, for `warmup_s` + `seconds`."""

    port: int
    rate: int
    seconds: int
    warmup_s: int
    connections: int


@dataclass(frozen=True, kw_only=True, slots=True)
class People:
    """The people of the events."""

    #: Events are of one of this many, drawn at random...
    known: int = PEOPLE_MAX
    #: ...except for this share, each of a new person.
    new_percent: int = 0
    #: Number of the first new person.
    new_from: int = 0


class Requests:
    """Fills the placeholders of a single event's template for every request."""

    def __init__(self, template: bytes, seed: int, people: People) -> None:
        self._digits = random.Random(seed)
        self._people = people
        self._next_new = people.new_from
        self._start, _, rest = template.partition(USER.encode())
        self._before_key, self._between_keys, self._after_key = rest.split(KEY.encode())
        #: Of the last request.
        self.key = b""

    def next(self) -> bytes:
        """One more request."""
        user = b"%0*d" % (USER_DIGITS, self._user())
        self.key = key = b"%0*x" % (KEY_DIGITS, self._digits.getrandbits(4 * KEY_DIGITS))
        parts = (self._start, user, self._before_key, key, self._between_keys, key, self._after_key)
        return b"".join(parts)

    def _user(self) -> int:
        people = self._people
        if people.new_percent and self._digits.randrange(100) < people.new_percent:
            self._next_new += 1
            return self._next_new - 1
        return self._digits.randrange(people.known)


class Generator:
    """One run over a fixed set of keep-alive connections with one request each in flight."""

    def __init__(self, plan: Plan, requests: Requests) -> None:
        self._plan = plan
        self._requests = requests
        #: Key and due time of every measured request.
        self.sent: list[tuple[bytes, float]] = []
        self._epoll = select.epoll()
        self._idle: deque[_Connection] = deque()
        self._by_fd: dict[int, _Connection] = {}
        self._latencies = array("d")
        self._send_lags = array("d")
        self._statuses: Counter[str] = Counter()
        self._measured_from = 0.0
        #: When a connection became free after there was none.
        self._free_since = 0.0

    def run(self) -> Latency:
        """Connect, send everything that is due, wait for the responses."""
        self._connect()
        plan = self._plan
        total = plan.rate * (plan.warmup_s + plan.seconds)
        begin = time.perf_counter()
        self._measured_from = begin + plan.warmup_s
        give_up = self._measured_from + plan.seconds + DRAIN_S
        sent = 0
        while sent < total or len(self._idle) < len(self._by_fd):
            now = time.perf_counter()
            if now > give_up:
                break
            sent = self._send_due(begin, sent, total)
            wait_until = begin + sent / plan.rate if sent < total and self._idle else give_up
            self._receive(max(0.0, wait_until - time.perf_counter()))
        due = plan.rate * plan.seconds
        return Latency(
            rate=plan.rate,
            due=due,
            unanswered=due - len(self._latencies),
            statuses=dict(self._statuses),
            percentiles=tuple((p, percentile_of(self._latencies, p)) for p in PERCENTILES),
            send_lag_p99_us=percentile_of(self._send_lags, 99.0),
        )

    def _connect(self) -> None:
        for _ in range(self._plan.connections):
            opened = socket.create_connection((HOST, self._plan.port))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.settimeout(0)
            connection = _Connection(opened)
            self._by_fd[opened.fileno()] = connection
            self._idle.append(connection)
            self._epoll.register(opened, select.EPOLLIN)

    def _send_due(self, begin: float, sent: int, total: int) -> int:
        """Send what is due while connections are free; return how many were sent in total."""
        while sent < total and self._idle:
            due = begin + sent / self._plan.rate
            now = time.perf_counter()
            if due > now:
                break
            connection = self._idle.popleft()
            connection.due = due
            connection.socket.sendall(self._requests.next())
            sent += 1
            if due >= self._measured_from:
                self.sent.append((self._requests.key, due))
                self._send_lags.append((now - max(due, self._free_since)) * 1e6)
        return sent

    def _receive(self, timeout_s: float) -> None:
        """Read available responses, or wait at most `timeout_s` for one."""
        if not select.select([self._epoll], [], [], timeout_s)[0]:
            return
        for fd, _ in self._epoll.poll(0):
            connection = self._by_fd[fd]
            part = connection.socket.recv(RECEIVE_BYTES)
            now = time.perf_counter()
            if not part:
                raise ConnectionError("the server closed a connection")
            connection.received += part
            if not _complete(connection.received):
                continue
            self._statuses[connection.received[9:12].decode("ascii")] += 1
            connection.received.clear()
            if not self._idle:
                self._free_since = now
            self._idle.append(connection)
            if connection.due >= self._measured_from:
                self._latencies.append((now - connection.due) * 1e6)


def _complete(received: bytearray) -> bool:
    """Whether a whole response has arrived; every contender sends `Content-Length`."""
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    head = received[:head_end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise ConnectionError("an answer without Content-Length")
    value = head[at + 17 :].split(b"\r\n", 1)[0]
    return len(received) >= head_end + 4 + int(value)


def percentile_of(values: Sequence[float], percentile: float) -> float:
    """Return the smallest value that at least `percentile` per cent do not exceed."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = -(-percentile * len(ordered) // 100)
    return ordered[max(0, int(rank) - 1)]


def main() -> None:
    """Run one plan given on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--template", type=Path, required=True)
    for name in ("port", "rate", "seconds", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--warmup", type=int, default=1, help="seconds")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--known", type=int, default=PEOPLE_MAX, help="people drawn from")
    parser.add_argument("--new-percent", type=int, default=0, help="events of new people")
    parser.add_argument("--new-from", type=int, default=0, help="number of the first new one")
    parser.add_argument("--sent", type=Path, help="file for key and due time of each request")
    given = parser.parse_args()
    plan = Plan(
        port=given.port,
        rate=given.rate,
        seconds=given.seconds,
        warmup_s=given.warmup,
        connections=given.connections,
    )
    people = People(known=given.known, new_percent=given.new_percent, new_from=given.new_from)
    generator = Generator(plan, Requests(given.template.read_bytes(), given.seed, people))
    # A collection would disturb the timing; nothing here makes cycles.
    gc.disable()
    wall_s = time.time() - time.perf_counter()
    latency = generator.run()
    if given.sent is not None:
        lines = (b"%s %d\n" % (key, (due + wall_s) * 1e6) for key, due in generator.sent)
        given.sent.write_bytes(b"".join(lines))
    sys.stdout.buffer.write(msgspec.json.encode(latency) + b"\n")


if __name__ == "__main__":
    main()

"""The bounded queue between the requests and the store's committer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from headrace.observability.events import LOOP_FAILED
from headrace.store.contract import Pending

#: Events that may wait to be committed; at 20,000 a second that is half a second of work.
EVENTS_MAX = 10_000
#: Bytes of payload that may wait.
BYTES_MAX = 64 * 1024 * 1024
#: Size of one commit. More would gain nothing (the sync is shared by hundreds already), and the
#: store keeps a prepared statement up to this size.
COMMIT_EVENTS_MAX = 384
COMMIT_BYTES_MAX = 8 * 1024 * 1024
#: Fixed part of an event in memory, counted besides its payload.
_OVERHEAD_BYTES = 1024

_log = structlog.get_logger()


class CommitQueue:
    """Takes events on the event loop, gives them to the committer, brings back the outcomes.

    Only the loop adds and only the committer takes, so each side counts for itself and no lock is
    needed; what waits is the difference.

    Args:
        wake: tells the committer that something waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._wake = wake
        self._waiting: deque[tuple[Pending, int]] = deque()
        self._events_in = self._events_out = 0
        self._bytes_in = self._bytes_out = 0
        self._settled = 0
        self.closed = False
        #: Called with every batch after its outcomes were handed out.
        self.on_settled: Callable[[list[Pending]], None] = lambda _: None

    @property
    def depth(self) -> int:
        """Events that wait for the committer."""
        return self._events_in - self._events_out

    @property
    def unsettled(self) -> int:
        """Events put in whose senders have no answer yet."""
        return self._events_in - self._settled

    def has_room(self, events: int = 1) -> bool:
        """Whether `events` more may be put in."""
        return (
            self.depth + events <= EVENTS_MAX
            and self._bytes_in - self._bytes_out < BYTES_MAX
            and not self.closed
        )

    def put(self, pending: Pending) -> None:
        """Add an event; ask `has_room` first. On the event loop only."""
        size = len(pending.event.payload) + _OVERHEAD_BYTES
        self._events_in += 1
        self._bytes_in += size
        self._waiting.append((pending, size))
        self._wake()

    def take(self) -> list[Pending]:
        """What waits, up to the size of one commit. By the committer only."""
        batch: list[Pending] = []
        waiting = self._waiting
        taken = 0
        while waiting and len(batch) < COMMIT_EVENTS_MAX and taken < COMMIT_BYTES_MAX:
            pending, size = waiting.popleft()
            batch.append(pending)
            taken += size
        self._events_out += len(batch)
        self._bytes_out += taken
        return batch

    def settle(self, batch: list[Pending]) -> None:
        """Hand a batch back to the loop, from any thread."""
        self._loop.call_soon_threadsafe(self._hand_out, batch)

    def _hand_out(self, batch: list[Pending]) -> None:
        self._settled += len(batch)
        for pending in batch:
            try:
                pending.settle(pending)
            except Exception as error:  # noqa: BLE001 - logged with its trace; nobody else may suffer
                # Whatever is wrong with one connection, the others get their answers.
                _log.exception(LOOP_FAILED, error=type(error).__name__)
        self.on_settled(batch)

"""The bounded queue between the requests and the store's committers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from headrace.observability.events import LOOP_FAILED
from headrace.pipeline.unsettled_keys import UnsettledKeys, Waiting
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
    """Takes events on the event loop, gives them to the committers, brings back the outcomes.

    Events wait in one queue for each committer, chosen by their lane. So events of one identity are
    committed one after the other, in order of receipt.

    Only the loop adds and only the committer takes, so each side counts for itself and no lock is
    needed; what waits is the difference. Several committers run on the loop, a single one may run
    on a thread of its own.

    Args:
        wake: tells the committers that something waits.
        committers: see `Store.committers`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None], committers: int = 1
    ) -> None:
        self._loop = loop
        self._wake = wake
        self._waiting: list[deque[Waiting]] = [deque() for _ in range(committers)]
        self._keys = UnsettledKeys() if committers > 1 else None
        self._events_in = self._events_out = 0
        self._bytes_in = self._bytes_out = 0
        self._settled = 0
        self.closed = False
        #: Called with every batch after its outcomes were handed out.
        self.on_settled: Callable[[list[Pending]], None] = lambda _: None

    @property
    def depth(self) -> int:
        """Events that wait for a committer."""
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
        committer = pending.event.lane % len(self._waiting)
        if self._keys is None or not self._keys.holds((pending, size), committer):
            self._waiting[committer].append((pending, size))
            self._wake()

    def take(self, committer: int = 0) -> list[Pending]:
        """What waits for a committer, up to the size of one commit. By that committer only."""
        batch: list[Pending] = []
        waiting = self._waiting[committer]
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
        if self._keys is not None:
            self._release(*self._keys.settled(batch))
        for pending in batch:
            try:
                pending.settle(pending)
            except Exception as error:  # noqa: BLE001 - logged with its trace; nobody else may suffer
                # Whatever is wrong with one connection, the others get their answers.
                _log.exception(LOOP_FAILED, error=type(error).__name__)
        self.on_settled(batch)

    def _release(self, repeats: list[Waiting], failed: list[Waiting]) -> None:
        """Queue or hand out what `UnsettledKeys` has held."""
        for pending, size in repeats:
            self._waiting[pending.event.lane % len(self._waiting)].append((pending, size))
        if repeats:
            self._wake()
        if failed:
            self._events_out += len(failed)
            self._bytes_out += sum(size for _, size in failed)
            self._loop.call_soon(self._hand_out, [pending for pending, _ in failed])

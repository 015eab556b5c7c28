"""The bounded queue between the requests and the store's committers."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

import structlog

from headrace.observability.events import REQUEST_FAILED
from headrace.pipeline.intake.unsettled_keys import UnsettledKeys, Waiting
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreBusyError, StoreError, StoreRowError

#: Events that may wait to be committed; at 20,000 a second that is half a second of work.
EVENTS_MAX = 10_000
#: Bytes of payload that may wait.
BYTES_MAX = 64 * 1024 * 1024
#: Size of one commit. More would gain nothing (the sync is shared by hundreds already), and the
#: store keeps a prepared statement up to this size.
COMMIT_EVENTS_MAX = 384
COMMIT_BYTES_MAX = 8 * 1024 * 1024
#: An event whose commit is not known to have succeeded by then gets a 503 response.
WAIT_SECONDS_MAX = 15.0
#: Age of the oldest event that waits for its commit at which no more should be sent here.
READY_SECONDS_MAX = 5.0
#: Fixed part of an event in memory, counted besides its payload.
_OVERHEAD_BYTES = 1024

_log = structlog.get_logger()


class CommitQueue:
    """Takes events on the event loop, hands them to the committers, returns the outcomes.

    Events wait in one queue for each committer, chosen by their lane. So events of one identity are
    committed one after the other, in order of receipt.

    Only the loop adds, so no lock is needed for each event; what waits is the difference of two
    counts. Taking a batch takes a lock, since the loop takes back what has waited too long. Several
    committers run on the loop, a single one may run on a thread of its own.

    Args:
        wake: wakes the committers.
        committers: see `Store.committers`.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None], committers: int = 1
    ) -> None:
        self._loop = loop
        self._wake = wake
        self._waiting: list[deque[Waiting]] = [deque() for _ in range(committers)]
        self._keys = UnsettledKeys() if committers > 1 else None
        #: Batches that the committers have, with the time when the oldest event of each was put in.
        self._taken: list[tuple[float, list[Pending]]] = []
        self._lock = threading.Lock()
        self._checking: asyncio.TimerHandle | None = None
        self._events_in = self._events_out = 0
        self._bytes_in = self._bytes_out = 0
        self._settled = 0
        self.closed = False
        #: Why the last commit failed; None once one has succeeded.
        self.failure: StoreError | None = None
        #: Called with every batch after its outcomes were handed out.
        self.on_settled: Callable[[list[Pending]], None] = lambda _: None

    @property
    def depth(self) -> int:
        """Events that wait for a committer."""
        return self._events_in - self._events_out

    @property
    def unsettled(self) -> int:
        """Events added whose senders have no response yet."""
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
        waiting = (pending, size, self._loop.time())
        if self._checking is None:
            self._checking = self._loop.call_later(WAIT_SECONDS_MAX, self._check_waiting)
        committer = pending.event.lane % len(self._waiting)
        if self._keys is None or not self._keys.holds(waiting, committer):
            self._waiting[committer].append(waiting)
            self._wake()

    def take(self, committer: int = 0) -> list[Pending]:
        """What waits for a committer, up to the size of one commit. By that committer only."""
        batch: list[Pending] = []
        taken = 0
        since = float("inf")
        with self._lock:
            waiting = self._waiting[committer]
            while waiting and len(batch) < COMMIT_EVENTS_MAX and taken < COMMIT_BYTES_MAX:
                pending, size, put = waiting.popleft()
                batch.append(pending)
                taken += size
                # An event that was held back comes behind younger ones.
                since = min(since, put)
            if batch:
                self._taken.append((since, batch))
            self._events_out += len(batch)
            self._bytes_out += taken
        return batch

    def give_up(self, committer: int, error: StoreError) -> None:
        """Fail what waits for a committer with an error; none of it reaches the store.

        On the loop only.
        """
        with self._lock:
            waiting = [*self._waiting[committer]]
            self._waiting[committer].clear()
        self._fail_untaken(waiting, error)

    def _give_up_late(self, put_before: float, error: StoreError) -> None:
        """The same for events of any committer that were added before a time."""
        late: list[Waiting] = [] if self._keys is None else self._keys.take_back(put_before)
        with self._lock:
            for number, waiting in enumerate(self._waiting):
                late += [each for each in waiting if each[2] <= put_before]
                self._waiting[number] = deque(each for each in waiting if each[2] > put_before)
        self._fail_untaken(late, error)

    def _fail_untaken(self, waiting: list[Waiting], error: StoreError) -> None:
        with self._lock:
            self._events_out += len(waiting)
            self._bytes_out += sum(size for _, size, _ in waiting)
        for pending, _, _ in waiting:
            pending.outcome = error
        if waiting:
            self._hand_out([pending for pending, _, _ in waiting])

    def _check_waiting(self) -> None:
        """Fail events that have waited too long; schedule the next check."""
        now = self._loop.time()
        error = StoreBusyError(f"No commit within {WAIT_SECONDS_MAX:g} s.")
        self._give_up_late(now - WAIT_SECONDS_MAX, error)
        with self._lock:
            late = [batch for since, batch in self._taken if since <= now - WAIT_SECONDS_MAX]
        for batch in late:
            for pending in batch:
                # The committer may be about to set its own outcome.
                replacement = Pending(pending.event, pending.settle)
                replacement.outcome = error
                pending.settle = _is_settled
                self._settle_one(replacement)
        since = [put for put in self._since() if put > now - WAIT_SECONDS_MAX]
        due = min(since, default=now) + WAIT_SECONDS_MAX
        self._checking = self._loop.call_at(due, self._check_waiting) if self._since() else None

    def _since(self) -> list[float]:
        """When each event that waits, and the oldest of each batch taken, was put in."""
        with self._lock:
            taken = [since for since, _ in self._taken]
            waiting = [since for waiting in self._waiting for _, _, since in waiting]
        return taken + waiting + ([] if self._keys is None else self._keys.since())

    def problem(self) -> str | None:
        """Why no events should be sent here now; None when commits succeed in time."""
        if self.failure is not None:
            return f"Events cannot be stored: {self.failure}"
        age = self._loop.time() - min(self._since(), default=self._loop.time())
        if age > READY_SECONDS_MAX:
            return f"Events have waited {age:.0f} s to be stored."
        return None

    def settle(self, batch: list[Pending]) -> None:
        """Hand a batch back to the loop, from any thread."""
        self._loop.call_soon_threadsafe(self._hand_out, batch)

    def _hand_out(self, batch: list[Pending]) -> None:
        with self._lock:
            self._taken = [each for each in self._taken if each[1] is not batch]
        self._settled += len(batch)
        if self._keys is not None:
            self._release(*self._keys.settled(batch))
        self._note_failure(batch)
        for pending in batch:
            self._settle_one(pending)
        self.on_settled(batch)

    def _release(self, repeats: list[Waiting], failed: list[Waiting]) -> None:
        """Queue or hand out what `UnsettledKeys` has held."""
        for waiting in repeats:
            self._waiting[waiting[0].event.lane % len(self._waiting)].append(waiting)
        if repeats:
            self._wake()
        if failed:
            with self._lock:
                self._events_out += len(failed)
                self._bytes_out += sum(size for _, size, _ in failed)
            self._loop.call_soon(self._hand_out, [pending for pending, _, _ in failed])

    def _note_failure(self, batch: list[Pending]) -> None:
        for pending in batch:
            outcome = pending.outcome
            if outcome is None or not isinstance(outcome, StoreError):
                self.failure = None
                return
            if not isinstance(outcome, StoreRowError):
                self.failure = outcome

    def _settle_one(self, pending: Pending) -> None:
        try:
            pending.settle(pending)
        except Exception as error:  # noqa: BLE001 - logged; other events must not suffer
            # An error of one connection must not keep responses from the others.
            _log.exception(REQUEST_FAILED, error=type(error).__name__)


def _is_settled(_: Pending) -> None:
    """Replaces `settle` of an event whose sender has its response."""

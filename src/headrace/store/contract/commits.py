"""How accepted events are committed, and counters of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from headrace.domain.events.event import FirstCopy, NewEvent
from headrace.store.contract.errors import StoreError


class Pending:
    """An event to be committed, and the callback of its sender.

    `outcome` is set by the store, then `settle` is called once on the event loop:
    None: stored now, on stable storage. `FirstCopy`: the key exists, and that first event is on
    stable storage. `StoreError`: not stored.
    """

    __slots__ = ("event", "outcome", "settle")

    def __init__(self, event: NewEvent, settle: Callable[[Pending], None]) -> None:
        self.event = event
        self.settle = settle
        self.outcome: FirstCopy | StoreError | None = None


class CommitSource(Protocol):
    """Where a store's committers take accepted events from; implemented by the commit queue.

    No later event of the same identity overtakes an event that is taken, as long as each
    committer has one commit in flight at a time: an identity belongs to one committer.
    """

    def take(self, committer: int = 0) -> list[Pending]:
        """What waits for a committer, in order of receipt, up to the size of one commit.

        Empty when nothing waits.

        Args:
            committer: its number, below `Store.committers`.
        """
        ...

    def settle(self, batch: list[Pending]) -> None:
        """Hand back a batch whose outcomes are set. Safe to call from any thread."""
        ...

    def give_up(self, committer: int, error: StoreError) -> None:
        """Fail what waits for a committer: its commits do not finish.

        On the event loop only.
        """
        ...


class CommitStats(msgspec.Struct):
    """Counters of the committer; written by it alone, read by `/metrics`."""

    commits: int = 0
    events: int = 0
    failed_commits: int = 0
    seconds_sum: float = 0.0
    #: Upper bounds in seconds -> commits that took at most so long.
    seconds_buckets: dict[float, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys((0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5), 0)
    )
    #: Upper bounds in events -> commits of at most so many.
    size_buckets: dict[int, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys((1, 2, 4, 8, 16, 32, 64, 128, 256, 512), 0)
    )

    def observe(self, events: int, seconds: float) -> None:
        """Count one commit."""
        self.commits += 1
        self.events += events
        self.seconds_sum += seconds
        for bound in self.seconds_buckets:
            if seconds <= bound:
                self.seconds_buckets[bound] += 1
        for size in self.size_buckets:
            if events <= size:
                self.size_buckets[size] += 1

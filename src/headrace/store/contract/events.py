"""What the rest of Headrace may ask of a store, in verbs of the domain.

Two stores keep this contract: the embedded one (`headrace.store.sqlite`) and PostgreSQL. Reads are
coroutines and safe to call from the event loop; each answers within `READ_SECONDS_MAX` or raises
`StoreBusyError`. Whatever a method is said to write is on stable storage when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec

from headrace.domain.access.api_keys import ApiKey
from headrace.domain.access.policies import Policies
from headrace.domain.events.event import FirstCopy, NewEvent, StoredEvent

#: Longest a read may hold its snapshot: a longer one would keep the log from being checkpointed.
READ_SECONDS_MAX = 2.0


class StoreError(Exception):
    """The store cannot do it now; the caller may try again."""


class StoreBusyError(StoreError):
    """Too many reads at once, or one that took too long."""


class StoreRowError(StoreError):
    """The store refuses a row for what is in it; trying again will not help."""


class StoreFullError(StoreError):
    """No room on the disk; reads go on, and writes work again once there is room."""


class StoreFailedError(StoreError):
    """The disk lied or died (a failed fsync). Nothing may be written any more: stop and restart."""


class StoreSetupError(StoreError):
    """The store cannot be opened as it is; the message says what to do."""


class LeadershipLostError(StoreError):
    """Another worker processes now; nothing was written."""


class SubscribersChangedError(StoreError):
    """The batch was planned for subscribers as they are no more; nothing was written."""


class StoreConflictError(Exception):
    """Something of that name is there already; `args[0]` is the field."""


class Pending:
    """An event on its way into the store, and how to tell who waits for it.

    `outcome` is set by the store, then `settle` is called once on the event loop:
    None: stored now, on stable storage. `FirstCopy`: the key was there, and that first event is on
    stable storage. `StoreError`: not stored.
    """

    __slots__ = ("event", "outcome", "settle")

    def __init__(self, event: NewEvent, settle: Callable[[Pending], None]) -> None:
        self.event = event
        self.settle = settle
        self.outcome: FirstCopy | StoreError | None = None


class CommitSource(Protocol):
    """Where a store's committers take accepted events from; implemented by the commit queue.

    An event that is taken is never passed by a later one of the same identity, as long as each
    committer has one commit on its way at a time: an identity belongs to one committer.
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
        """Answer what waits for a committer with an error: its commits come to no end.

        On the event loop only.
        """
        ...


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to list; every field that is set must match. Times in microseconds."""

    #: A name, or `order.*` for all names that begin with `order.`.
    event: str | None = None
    contact_id: str | None = None
    external_id: str | None = None
    email: str | None = None
    status: int | None = None
    source: int | None = None
    occurred_after_us: int | None = None
    occurred_before_us: int | None = None
    received_after_us: int | None = None
    received_before_us: int | None = None


class EventPage(msgspec.Struct, frozen=True):
    """Some events, newest first.

    `next_before` is the sequence to go on below, None at the end. A page can hold fewer events
    than asked for and still go on: a rare value is searched in bounded steps.
    """

    events: list[StoredEvent]
    next_before: int | None


class KeyRepeat(msgspec.Struct, frozen=True):
    """One later request with the idempotency key of a stored event."""

    at_us: int
    api_key_id: str | None
    request_id: str | None
    mismatch: bool


class ArrivalStore(Protocol):
    """What other processes accept, for a store that several may accept into."""

    async def arrived(
        self, project_id: int, above: int, known: Collection[int], limit: int
    ) -> Sequence[NewEvent]:
        """The newest events of a project with a sequence above `above` that are not `known`.

        Oldest first; none of the system's own.
        """
        ...


#: Repeats of one key that are remembered for its trace; later ones only count in the metrics.
REPEATS_KEPT = 20


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant."""

    #: Number inside the store.
    id: int
    #: Public id, 16 bytes.
    uuid: bytes
    name: str
    created_us: int


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """All keys and policies, read together; what authentication holds in memory."""

    #: Changes with every change of a key or policy.
    version: int
    keys: dict[str, ApiKey]
    #: By project id; a project is in here even when it changed no default.
    policies: dict[int, Policies]


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A refused request or event, without its values."""

    id: int = 0
    project_id: int
    at_us: int
    status: int
    code: str
    message: str
    #: `(field, message)` of each problem.
    details: list[tuple[str, str]]
    route: str
    api_key_id: str | None
    request_id: str | None
    #: Shape of what was sent: member name -> type and size, never a value.
    body_shape: dict[str, str]
    body_bytes: int


class StoreHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What `doctor`, `/readyz` and `/metrics` tell about a store."""

    kind: str
    location: str
    #: Version of the database library or server.
    version: str
    schema_version: int
    #: Setting -> value, as the database itself reports it.
    durability: dict[str, str]
    size_bytes: int
    #: Log not yet moved into the database (write-ahead log).
    log_bytes: int
    #: None where the store is on another machine.
    free_bytes: int | None
    #: Room inside the files of the store that new rows fill before the files grow.
    reusable_bytes: int = 0
    #: Why nothing can be written now; empty when all is well.
    problem: str = ""
    #: Files of the store that other users of the machine may read or write, with their modes.
    exposed_files: list[str] = []


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

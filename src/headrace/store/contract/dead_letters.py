"""Dead letters and their replays, in verbs of the domain.

A dead letter is open until somebody replays or discards it, once; both are compare-and-set on its
state, so whoever comes second changes nothing. A replay makes no new event and no new delivery: it
puts the one that failed back into line.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

import msgspec

#: Dead letters that one page, or one step of a count, looks at.
EXAMINED_MAX = 20_000
#: The newest dead letters of a project that its groups are made of.
GROUPED_MAX = 1_000_000
#: Different groups that are told apart.
GROUPS_MAX = 10_000
#: Dead letters that a dry run shows.
SAMPLE_MAX = 10
#: Replays of one project that may run at once.
RUNNING_MAX = 10
#: Ended replays of one project that are remembered.
REPLAYS_KEPT = 1000
#: How long they are remembered, those of the newest that are older included.
REPLAYS_KEPT_US = 366 * 24 * 3600 * 1_000_000


class DeadLetterKind(StrEnum):
    """What failed."""

    #: The event itself; nothing was delivered to anybody.
    PROCESSING = "processing"
    #: One delivery; the event is processed, and other deliveries are not affected.
    DELIVERY = "delivery"


class DeadLetterState(IntEnum):
    """Where a dead letter is; stored as its number.

    The worker inserts it open; a replay or a discard closes it for good. What fails again after a
    replay is a new dead letter.
    """

    OPEN = 0
    REPLAYED = 1
    DISCARDED = 2


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter."""

    #: Order of dead-lettering in the store.
    number: int
    #: UUID text.
    id: str
    event_id: bytes
    event: str
    kind: DeadLetterKind
    #: None when processing failed.
    subscriber_id: str | None
    cause: str
    error: str
    #: Attempts of the run that ended with it.
    attempts: int
    first_failed_us: int
    dead_lettered_us: int
    state: DeadLetterState


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which dead letters are meant; every field that is set must match."""

    event: str | None = None
    subscriber_id: str | None = None
    cause: str | None = None
    kind: DeadLetterKind | None = None


class DeadLetterPage(msgspec.Struct, frozen=True):
    """Some open dead letters, newest first.

    `next_before` is the number to go on below, None at the end. A page can hold fewer than asked
    for and still go on: a rare value is searched in bounded steps.
    """

    dead_letters: list[DeadLetter]
    next_before: int | None


class DeadLetterGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Open dead letters that failed alike."""

    kind: DeadLetterKind
    subscriber_id: str | None
    cause: str
    event: str
    count: int
    #: When the first and the last of them was dead-lettered.
    first_us: int
    last_us: int


class Closing(StrEnum):
    """What became of the wish to replay or discard a dead letter; a closed list."""

    DONE = "done"
    NOT_FOUND = "not_found"
    #: It was replayed or discarded before.
    CLOSED_BEFORE = "closed_before"
    #: The event or delivery does not wait for a replay, or is gone.
    NOTHING_TO_REPLAY = "nothing_to_replay"
    #: The subscriber was deleted: nobody would get the delivery.
    SUBSCRIBER_DELETED = "subscriber_deleted"
    #: The subscriber has to be enabled first.
    SUBSCRIBER_DISABLED = "subscriber_disabled"


class Closed(msgspec.Struct, frozen=True):
    """Outcome of one replay or discard."""

    closing: Closing
    #: As it is now; None when there is none.
    dead_letter: DeadLetter | None


class ReplayStatus(StrEnum):
    """Where a replay of many is: `create` sets running, the replayer done, `stop` stopped."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay of many dead letters."""

    number: int
    id: str
    project_id: int
    wanted: DeadLetterFilter
    per_second: int
    #: Dead letters that matched when it was created.
    total: int
    #: Those that it has replayed. Fewer than `total` at the end when some were closed by others
    #: meanwhile, or have no enabled subscriber; the latter stay open.
    done: int
    status: ReplayStatus
    actor: str
    created_us: int
    updated_us: int


class NewReplay(msgspec.Struct, frozen=True, kw_only=True):
    """A replay to be created."""

    id: str
    project_id: int
    wanted: DeadLetterFilter
    per_second: int
    #: The two numbers that `DeadLetters.count` gave. What is dead-lettered later, also by
    #: failing again, is not part of the replay.
    total: int
    last_number: int
    actor: str


class TooManyReplaysError(Exception):
    """`RUNNING_MAX` replays of the project run already."""

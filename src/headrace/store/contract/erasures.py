"""What the API and the worker need of a store to erase a person.

The contact and its memberships are removed at once. The rest is removed in slices: all events
stored by then that name the person by any identifier, with everything that is kept about them. An
event of the person that a worker claims in the meantime is erased instead of processed. Last, all
other events of the project are searched for the person's names. Events that arrive later are about
an unknown person.
"""

from __future__ import annotations

from enum import Enum, StrEnum, auto

import msgspec

#: By then, rejections of earlier requests are in the store.
SETTLE_US = 1_000_000
#: Events with a mention that a receipt lists; all are counted.
MENTIONS_LISTED_MAX = 100
#: Earlier erasures that a receipt lists, the newest ones.
EARLIER_LISTED_MAX = 20
#: How to finish an erasure of which copies may remain.
FINISH_HINT = (
    "The file of the store was too large to be rewritten, so copies of removed values may remain "
    "in unused bytes of it. To remove them, stop the server and run: headrace compact"
)
#: How long the findings of a dry run are kept.
DRY_RUN_KEPT_US = 24 * 3600 * 1_000_000


class ErasureStatus(StrEnum):
    """Its progress. `begin` sets running or looking, `advance` and `wipe` set the others."""

    RUNNING = "running"
    #: A dry run in progress.
    LOOKING = "looking"
    #: No row is left, but traces of rows in the files are.
    WIPING = "wiping"
    DONE = "done"


class Wiped(Enum):
    """What became of the traces of removed rows in files."""

    #: A reader still needs them: retry later.
    NOT_YET = auto()
    DONE = auto()
    #: The file is too large to be rewritten: copies in unused bytes of its pages may be left.
    IN_PLACE = auto()


class Mention(msgspec.Struct, frozen=True):
    """An event of another person that names the person. Contains no name itself."""

    event_id: str
    event: str
    #: Where, such as `payload.friend.email` or `idempotency_key`; the first few.
    places: tuple[str, ...]


class Mentions(msgspec.Struct, frozen=True, kw_only=True):
    """Events of others that name the person."""

    #: Events of the project that were searched so far.
    searched: int = 0
    #: How many were found.
    events: int = 0
    #: In how many of them the names are masked.
    masked: int = 0
    #: The first `MENTIONS_LISTED_MAX` of them, in order of receipt.
    listed: tuple[Mention, ...] = ()


class EarlierErasure(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier erasure of the same person."""

    id: str
    counts: dict[str, int]
    created_us: int
    finished_us: int | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a receipt contains besides counts."""

    #: The contact's id, and those of contacts that had been merged into it.
    contact_ids: tuple[str, ...] = ()
    #: Whether names in events of others are masked; else they are only reported.
    mask_mentions: bool = False
    mentions: Mentions = Mentions()
    #: Newest first.
    earlier: tuple[EarlierErasure, ...] = ()
    #: Whether copies of removed values may be left in unused bytes of a large file. Set when the
    #: erasure is done, taken back by a compaction.
    copies_may_remain: bool = False


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """A job that erases a person, and afterwards the receipt. Contains no name."""

    #: Grows with time.
    number: int
    id: str
    project_id: int
    contact_id: str
    status: ErasureStatus
    #: Whether it only reports what an erasure would remove.
    dry_run: bool = False
    #: Place -> rows that were removed there so far, or would be.
    counts: dict[str, int]
    report: Report = Report()
    actor: str
    created_us: int
    finished_us: int | None

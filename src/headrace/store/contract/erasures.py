"""What the API and the worker ask of a store to forget a person.

The contact and its memberships go at once. The rest goes slice by slice: all events that were
stored by then and name the person by any identifier, with everything that is kept about them. An
event of the person that a worker meets meanwhile is erased instead of processed. Last, all other
events of the project are searched for the person's names. What arrives later is about somebody
nobody knows.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

#: Rejections of requests that came before are in the store by then.
SETTLE_US = 1_000_000
#: Events with a mention that a receipt lists; all are counted.
MENTIONS_LISTED_MAX = 100
#: Earlier erasures that a receipt lists, the newest ones.
EARLIER_LISTED_MAX = 20
#: How long what a dry run has found is kept.
DRY_RUN_KEPT_US = 24 * 3600 * 1_000_000


class ErasureStatus(StrEnum):
    """How far it is. `begin` makes it running or looking, `advance` and `wipe` move it on."""

    RUNNING = "running"
    #: A dry run under way.
    LOOKING = "looking"
    #: No row is left; traces of rows in the files are.
    WIPING = "wiping"
    DONE = "done"


class Mention(msgspec.Struct, frozen=True):
    """An event of somebody else that names the person. Names nobody itself."""

    event_id: str
    event: str
    #: Where, such as `payload.friend.email` or `idempotency_key`; the first few.
    places: tuple[str, ...]


class Mentions(msgspec.Struct, frozen=True, kw_only=True):
    """Events of others that name the person."""

    #: Events of the project that were searched so far.
    searched: int = 0
    #: How many there were.
    events: int = 0
    #: In how many of them the names are masked now.
    masked: int = 0
    #: The first `MENTIONS_LISTED_MAX` of them, in order of receipt.
    listed: tuple[Mention, ...] = ()


class EarlierErasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure of the same person that was asked for before."""

    id: str
    counts: dict[str, int]
    created_us: int
    finished_us: int | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a receipt tells besides counts."""

    #: The contact's id, and those of contacts that had been merged into it.
    contact_ids: tuple[str, ...] = ()
    #: Whether names in events of others are masked; else they are only reported.
    mask_mentions: bool = False
    mentions: Mentions = Mentions()
    #: Newest first.
    earlier: tuple[EarlierErasure, ...] = ()


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """A job that forgets a person, and afterwards the receipt. Names nobody."""

    #: Grows with time.
    number: int
    id: str
    project_id: int
    contact_id: str
    status: ErasureStatus
    #: Whether it only tells what an erasure would remove.
    dry_run: bool = False
    #: Place -> rows that were removed there so far, or would be.
    counts: dict[str, int]
    report: Report = Report()
    actor: str
    created_us: int
    finished_us: int | None

"""Lists and live reads of accepted events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from headrace.domain.events.event import NewEvent, StoredEvent

#: Unprocessed events that a page counts, at most.
UNINDEXED_COUNTED_MAX = 1_000_000
#: Repeats of one key that are remembered for its trace; later ones only count in the metrics.
REPEATS_KEPT = 20


class EventFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to list; every field that is set must match. Times in microseconds."""

    #: A name, or `order.*` for all names that begin with `order.`.
    event: str | None = None
    contact_id: str | None = None
    external_id: str | None = None
    email: str | None = None
    status: int | None = None
    #: A `DeliveryStatus`.
    delivery_status: int | None = None
    source: int | None = None
    occurred_after_us: int | None = None
    occurred_before_us: int | None = None
    received_after_us: int | None = None
    received_before_us: int | None = None


class EventPage(msgspec.Struct, frozen=True):
    """Some events, newest first.

    `next_before` is the sequence to continue below, None at the end. A page can hold fewer events
    than asked for and still have a next one: a rare value is searched in bounded steps.
    `unindexed` is set when such a step ended among events that no worker has processed yet, which
    are in no index: how many there are, counted up to `UNINDEXED_COUNTED_MAX`.
    """

    events: list[StoredEvent]
    next_before: int | None
    unindexed: int | None = None


class KeyRepeat(msgspec.Struct, frozen=True):
    """One later request with the idempotency key of a stored event."""

    at_us: int
    api_key_id: str | None
    request_id: str | None
    mismatch: bool


class ArrivalStore(Protocol):
    """Reads events that other processes accept, for a store with several servers."""

    async def arrived(
        self, project_id: int, above: int, known: Collection[int], limit: int
    ) -> Sequence[NewEvent]:
        """The newest events of a project with a sequence above `above` that are not `known`.

        Oldest first; none of the system's own.
        """
        ...

"""Jobs that send events to a webhook again.

Such a job is kept, run and stopped as a replay is. An event that has a delivery for the webhook
gets no second one: the same delivery goes back into the queue with its attempts reset, so the
receiver sees the same `webhook-id`. An event without one, of a webhook made later for example, gets
its first.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.deliveries.subscriptions import pattern_wants

#: Events that one job, or one count, examines at most.
EXAMINED_MAX = 1_000_000
#: Events that a dry run shows.
SAMPLE_MAX = 10


class ResendFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which events are sent again, and to which webhook: those named, or those of a time range."""

    webhook_id: str
    #: UUID texts in the order of receipt; they are sent whatever the webhook is subscribed to.
    event_ids: tuple[str, ...] = ()
    #: Time of receipt; from the first on, before the second. Set without `event_ids`.
    from_us: int | None = None
    to_us: int | None = None
    #: Only this name or prefix.
    event: str | None = None
    #: What the webhook was subscribed to when the job was created; for a time range.
    patterns: tuple[str, ...] = ()
    #: Only events whose delivery to the webhook is a dead letter.
    only_failed: bool = False

    def wants(self, name: str) -> bool:
        """Whether events of that name are meant."""
        if self.event is not None and not pattern_wants(self.event, name):
            return False
        return bool(self.event_ids) or any(pattern_wants(each, name) for each in self.patterns)


class ResentEvent(msgspec.Struct, frozen=True):
    """An event that a dry run shows."""

    id: bytes
    event: str
    received_us: int


class ResendCount(msgspec.Struct, frozen=True, kw_only=True):
    """What a job would send: in the order of receipt."""

    total: int
    #: The job begins after the first sequence and ends with the second.
    position: int
    last_number: int
    #: At most `SAMPLE_MAX`.
    sample: Sequence[ResentEvent]


class TooManyEventsError(Exception):
    """The time range has more than `EXAMINED_MAX` events."""

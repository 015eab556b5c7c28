"""What the worker asks of a store: claim accepted events, finish them, recover from its crashes.

A claim has a lease and an attempt number. Every later write names both, so a worker that was
paused past its lease changes nothing. Leases use the store's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from headrace.domain.contacts.property_times import Values
from headrace.domain.events.identity import IdentityType
from headrace.store.contract.automations import InboxEvent
from headrace.store.contract.catalog import NameSeen

#: How long a claim holds without renewal.
LEASE_US = 60_000_000
#: A claim ends with the event whose payload brings it to so many characters.
CLAIMED_CHARACTERS_MAX = 4 * 1024 * 1024
#: Crashes of processes of its own after which a delivery is dead-lettered as poison.
CRASHES_MAX = 3
#: Workers that may die over one event or message before it is given up as poison.
DEATHS_MAX = 3
_SECOND_DEATH_WAIT_US = 5_000_000


def wait_after_death_us(deaths: int) -> int:
    """Microseconds until an event is retried whose claim has ended with the death of a worker.

    Nobody sees why a worker dies: it may be killed from outside. The first death mostly hits many
    events, all innocent: they are retried at once, each alone. After the second one the event
    waits, so that workers which are killed one after the other do not hit it a third time.
    """
    return 0 if deaths <= 1 else _SECOND_DEATH_WAIT_US


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """An event that a worker has claimed."""

    sequence: int
    id: bytes
    project_id: int
    lane: int
    event: str
    contact_id: str | None
    external_id: str | None
    email: str | None
    email_original: str | None
    occurred_us: int
    received_us: int
    source: int
    #: From 1.
    attempt: int
    crashes: int
    #: JSON text of an object, as it was sent.
    payload: str


class ContactIds(msgspec.Struct, frozen=True, gc=False):
    """The fields of a contact that resolution needs."""

    id: str
    external_id: str | None
    email: str | None
    #: When the identifier was set or cleared; None: with the contact, or never.
    external_id_us: int | None = None
    email_us: int | None = None
    #: The address as given, where that differs.
    email_original: str | None = None
    #: Given when an event of the batch writes some (`headrace.domain.contacts.event_properties`).
    values: Values | None = None


#: Finds a contact by project, identifier and value, inside the transaction. An
#: identifier of a contact that was merged into another leads to that one.
FindContact = Callable[[int, IdentityType, str], ContactIds | None]


class ContactCreated(msgspec.Struct, frozen=True, gc=False):
    """A contact to insert."""

    id: str
    project_id: int
    external_id: str | None
    email: str | None
    email_original: str | None
    #: When the identifier was set or cleared; None: with the contact, or never.
    external_id_us: int | None = None
    email_us: int | None = None
    values: Values | None = None


class ContactChanged(msgspec.Struct, frozen=True, gc=False):
    """Identifiers that a contact has from now on; not one that the same plan creates."""

    project_id: int
    #: As it was read.
    before: ContactIds
    after: ContactIds
    #: Addresses that it had before or within the batch, and has no longer.
    had: tuple[str, ...]
    #: Whether an identifier has changed, or only the time of one.
    changed: bool


class ContactWritten(msgspec.Struct, frozen=True, gc=False):
    """Properties that a contact has from now on; not one that the same plan creates."""

    id: str
    project_id: int
    values: Values
    #: Whether a property has changed, or only the time of one.
    changed: bool


class ConflictFound(msgspec.Struct, frozen=True, gc=False):
    """An identifier of the event that belongs to another contact."""

    project_id: int
    sequence: int
    contact_id: str
    other_contact_id: str
    field: str
    #: Lane of the event.
    lane: int
    event_id: bytes


class SystemEvent(msgspec.Struct, frozen=True, gc=False):
    """A system event, to be inserted and queued in the same transaction."""

    project_id: int
    event: str
    contact_id: str
    #: JSON text.
    payload: str
    #: Lane of the contact's identity, so that it follows what caused it.
    lane: int


class NewDelivery(msgspec.Struct, frozen=True, gc=False):
    """One event for one subscriber."""

    id: str
    project_id: int
    sequence: int
    subscriber_id: str
    #: Lane of the event.
    lane: int


class Done(msgspec.Struct, frozen=True, gc=False):
    """The state of a processed event."""

    sequence: int
    project_id: int
    attempt: int
    contact_id: str | None
    #: Code of `domain.contacts.resolution.Resolution` and its details, for the trace.
    resolution: str
    #: Of the event.
    lane: int


class BatchPlan(msgspec.Struct):
    """All writes of a batch; they commit together with the states of its events."""

    done: list[Done] = []
    #: By contact id, like the others: the result of the whole batch. An identifier that one contact
    #: releases can belong to another afterwards, so all are released before any is claimed.
    contacts_created: dict[str, ContactCreated] = {}
    contacts_changed: dict[str, ContactChanged] = {}
    contacts_written: dict[str, ContactWritten] = {}
    conflicts: list[ConflictFound] = []
    system_events: list[SystemEvent] = []
    deliveries: list[NewDelivery] = []
    inbox: list[InboxEvent] = []
    catalog: list[NameSeen] = []


#: Decides about a batch; pure except for ids. If it raises, the events are processed one by one.
Planner = Callable[[Sequence[Claimed], FindContact], BatchPlan]


class ProcessingFailure(msgspec.Struct, frozen=True):
    """Why one event could not be processed."""

    cause: str
    error: str
    duration_us: int
    #: When to retry; None: dead-letter it now.
    retry_at_us: int | None


#: Cause and error of the first death over an event.
FIRST_DEATH = "worker_died", "The worker that had the event died."


def after_death(deaths: int, now_us: int) -> ProcessingFailure:
    """What follows the second or a later death of a worker over an event."""
    error = f"The worker died {deaths} times over this event."
    if deaths >= DEATHS_MAX:
        return ProcessingFailure("poison", error, 0, None)
    return ProcessingFailure(FIRST_DEATH[0], error, 0, now_us + wait_after_death_us(deaths))


class WorkStats(msgspec.Struct, frozen=True):
    """The size of the queues."""

    #: Events in the queue, and events that wait for a retry.
    ready: int
    retrying: int
    #: Deliveries that are pending or wait for a retry, and open dead letters.
    deliveries: int
    dead_letters: int
    #: Time of receipt of the oldest waiting event; None when none waits.
    oldest_us: int | None
    #: Of the deliveries: those of paused webhooks.
    paused_deliveries: int = 0


class SubscriberRule(msgspec.Struct, frozen=True):
    """What fan-out needs of a subscriber; `project_id` 0 means every project."""

    id: str
    project_id: int
    events: tuple[str, ...]
    enabled: bool


class QueueTuning(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker should use the queue of a store."""

    #: Events of one transaction.
    batch_max: int
    #: How long an idle worker waits for a notification before it polls; doubles up to the second
    #: while nothing is found.
    poll_seconds: float
    poll_seconds_max: float
    #: Time between renewals of leadership, at which lanes are also reassigned.
    renew_seconds: float


class ProcessingStore(Protocol):
    """The queue of accepted events.

    In the embedded store one worker at a time leads `processing`. Where several share the queue,
    each leads a part of it, its lanes, and all below is about those.
    """

    @property
    def pace(self) -> QueueTuning: ...

    async def acquire_leadership(self, name: str, owner: str, lease_us: int) -> int | None:
        """Take or renew leadership; its epoch, None while another owner's lease runs.

        For `processing`, the epoch also changes when the owner gains lanes.
        """
        ...

    async def claim(self, owner: str, limit: int) -> Sequence[Claimed]:
        """Claim due events in order of receipt, due retries among them, projects taking turns.

        Raises:
            LeadershipLostError: the owner is not the leader of `processing`.
        """
        ...

    async def process(
        self,
        owner: str,
        batch: Sequence[Claimed],
        plan: Planner,
        claim_next: int,
        *,
        subscribers_version: int,
    ) -> tuple[int, Sequence[Claimed]]:
        """Plan and commit a batch in one transaction, and claim the next one in the same.

        Args:
            subscribers_version: version of the subscribers that `plan` knows. An event that was
                accepted after a subscriber was created must not miss it.

        Raises:
            LeadershipLostError: the owner is not the leader of `processing`.
            SubscribersChangedError: read the rules again, then retry.

        Returns:
            How many of the batch were still claimed and are done, and the next batch (at most
            `claim_next`).
        """
        ...

    async def fail(self, owner: str, claimed: Claimed, failure: ProcessingFailure) -> bool:
        """Record a failed attempt; False when the claim or the leadership was lost.

        The event leaves the queue until its retry is due, or becomes a dead letter.
        """
        ...

    async def release(self, owner: str) -> int:
        """Release every claim of `owner` without counting the attempts; returns how many."""
        ...

    async def rescue(self, owner: str, limit: int) -> int:
        """Reclaim up to `limit` claims of any owner; returns how many.

        For a leader that processes nothing: right after it became leader, or lost track of its
        claims by an error. Other owners died with their claims, so a death is counted for each: the
        event is retried after `wait_after_death_us`, and dead-lettered at `DEATHS_MAX`. The owner's
        own are not counted.

        Raises:
            LeadershipLostError: the owner is not the leader of `processing`.
        """
        ...

    async def subscriber_rules(self) -> tuple[int, Sequence[SubscriberRule]]:
        """`(version, rules)` of all projects; the version changes with every subscriber."""
        ...

    def lock_waits(self) -> int:
        """How often this process found the store locked by another one: a sign to slow down."""
        ...

    async def stats(self) -> WorkStats:
        """Current sizes. Counting stops at 100,000."""
        ...

"""Accepts events: every event passes through here, whatever its source."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headrace.domain.access.policies import IdempotencyConflict
from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.events.event import FirstCopy, NewEvent, Source
from headrace.domain.events.event_types import Draft
from headrace.domain.events.identity import idempotency_hash, lane_of
from headrace.domain.ids import EventIdGenerator
from headrace.observability.stats import AcceptStats
from headrace.pipeline.access.keys import ProjectAccess
from headrace.pipeline.intake.commit_queue import CommitQueue
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError, StoreFullError

#: `Retry-After` when the queue is full: it drains within a second, or the disk is in trouble.
OVERLOADED_RETRY_S = 1
STORAGE_RETRY_S = 5


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where an event comes from."""

    project: ProjectAccess
    source: Source
    api_key_id: str | None
    request_id: str | None


class Acceptor:
    """Turns drafts into events and queues them for commit.

    Args:
        ids: the process's only generator of event ids.
    """

    def __init__(self, queue: CommitQueue, ids: EventIdGenerator) -> None:
        self.queue = queue
        self.stats = AcceptStats()
        #: Why events cannot be accepted now, None when they can; set by the disk guard.
        self.blocked: ApiError | None = None
        self._ids = ids

    def check_open(self, events: int = 1) -> None:
        """Reject early: before a body is read or decoded.

        Raises:
            ApiError: 503, always safe to send again.
        """
        if self.blocked is not None:
            raise self.blocked
        if not self.queue.has_room(events):
            raise overloaded()

    def submit(
        self, draft: Draft, origin: Origin, now_us: int, settle: Callable[[Pending], None]
    ) -> None:
        """Queue an event; `settle` is called on the loop once it is decided. Never waits.

        Raises:
            ApiError: 503 when there is no room.
        """
        if not self.queue.has_room():
            raise overloaded()
        project_id = origin.project.id
        lane = lane_of(project_id, draft.identity_type, draft.identity_value)
        sequence, event_id = self._ids.next(lane, now_us)
        key = draft.idempotency_key
        event = NewEvent(
            sequence,
            event_id,
            project_id,
            lane,
            draft.event,
            draft.contact_id,
            draft.external_id,
            draft.email,
            draft.email_original,
            None if key is None else idempotency_hash(project_id, key),
            key,
            draft.occurred_us,
            now_us,
            int(origin.source),
            origin.api_key_id,
            origin.request_id,
            draft.payload,
        )
        self.queue.put(Pending(event, settle))

    def result(self, pending: Pending, project: ProjectAccess) -> FirstCopy | None:
        """Count an outcome: None for a new event, the first copy for a repeat.

        Raises:
            ApiError: it was not stored, or the project rejects repeats with other content.
        """
        outcome = pending.outcome
        if outcome is None:
            self.stats.accepted += 1
            return None
        if isinstance(outcome, FirstCopy):
            self.stats.deduplicated += 1
            if outcome.mismatch:
                self.stats.mismatched += 1
                if project.policies.idempotency_conflict is IdempotencyConflict.REJECT:
                    raise key_reused()
            return outcome
        raise storage_unavailable(outcome)


def overloaded() -> ApiError:
    """503: the queue is full; nothing was accepted."""
    message = "More events arrive than can be stored now. Send it again shortly."
    return ApiError(ErrorCode.OVERLOADED, message, retry_after_s=OVERLOADED_RETRY_S)


def rate_limited(rate: int, wait_s: int) -> ApiError:
    """429 naming the limit."""
    message = f"This project may send {rate} events per second."
    return ApiError(ErrorCode.RATE_LIMITED, message, retry_after_s=wait_s)


def key_reused() -> ApiError:
    """422: this project rejects a key that is reused with other content."""
    message = "This idempotency key was used for an event with other content."
    return ApiError(ErrorCode.IDEMPOTENCY_KEY_REUSED, message)


def storage_unavailable(error: StoreError) -> ApiError:
    """503: the event is not stored, or that is unknown; its key makes a retry safe."""
    message = (
        "The disk is full; events are not accepted until there is room."
        if isinstance(error, StoreFullError)
        else "The event could not be stored. Send it again."
    )
    return ApiError(ErrorCode.STORAGE_UNAVAILABLE, message, retry_after_s=STORAGE_RETRY_S)

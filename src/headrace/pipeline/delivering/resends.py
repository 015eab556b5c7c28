"""Plans and starts jobs that send events to a webhook again."""

from __future__ import annotations

import msgspec

from headrace.domain.deliveries.resends import ResendRequest
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.contract.dead_letters import (
    RUNNING_MAX,
    DeadLetterFilter,
    NewReplay,
    Replay,
    TooManyReplaysError,
)
from headrace.store.contract.deliveries import Subscriber
from headrace.store.contract.resends import (
    EXAMINED_MAX,
    ResendCount,
    ResendFilter,
    TooManyEventsError,
)
from headrace.store.deliveries.replays import Replays

_MISSING_SHOWN_MAX = 10


class ResendPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a job would send, and to which webhook."""

    webhook: Subscriber
    wanted: ResendFilter
    count: ResendCount
    per_second: int


async def plan_resend(
    replays: Replays, webhook: Subscriber, wish: ResendRequest, now_us: int
) -> ResendPlan:
    """Count the events; changes nothing.

    Raises:
        ApiError: 422, an event is unknown or there are too many.
    """
    wanted = ResendFilter(
        webhook_id=webhook.id,
        event_ids=wish.event_ids,
        from_us=wish.from_us,
        to_us=wish.to_us,
        event=wish.event,
        patterns=() if wish.event_ids else webhook.events,
        only_failed=wish.only_failed,
    )
    missing = await replays.missing_events(webhook.project_id, wanted.event_ids)
    if missing:
        shown = ", ".join(sorted(missing)[:_MISSING_SHOWN_MAX])
        raise invalid(FieldProblem("event_ids", f"not found in this project: {shown}"))
    try:
        count = await replays.count_resend(webhook.project_id, wanted, now_us)
    except TooManyEventsError:
        message = f"the range has more than {EXAMINED_MAX} events; choose a shorter one"
        raise invalid(FieldProblem("from", message)) from None
    return ResendPlan(webhook=webhook, wanted=wanted, count=count, per_second=wish.per_second)


async def start_resend(replays: Replays, plan: ResendPlan, now_us: int, *, actor: str) -> Replay:
    """Create the job; the replayer runs it.

    Raises:
        ApiError: 409, the webhook is disabled or too many jobs run.
    """
    if not plan.webhook.enabled:
        raise ApiError(ErrorCode.CONFLICT, "This webhook is disabled; enable it first.")
    job = NewReplay(
        id=uuid_text(new_uuid()),
        project_id=plan.webhook.project_id,
        wanted=DeadLetterFilter(),
        per_second=plan.per_second,
        total=plan.count.total,
        last_number=plan.count.last_number,
        actor=actor,
        resend=plan.wanted,
        position=plan.count.position,
    )
    try:
        return await replays.create(job, now_us)
    except TooManyReplaysError:
        message = f"{RUNNING_MAX} replays of this project are already running; stop one or wait."
        raise ApiError(ErrorCode.CONFLICT, message) from None

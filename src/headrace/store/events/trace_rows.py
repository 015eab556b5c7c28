"""Dead letters and subscribers of a trace, from columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.deliveries.attempt_requests import versions_of
from headrace.domain.deliveries.own_headers import decode
from headrace.store.contract.dead_letters import DeadLetterKind, DeadLetterState
from headrace.store.contract.deliveries import SubscriberKind
from headrace.store.contract.trace import KeyUsed, TracedDeadLetter, TracedSubscriber

DEAD_LETTER_COLUMNS = (
    "id, kind, subscriber_id, cause, error, attempts, dead_lettered_us, state, closed_us, "
    "closed_by, reason, run_id"
)
SUBSCRIBER_COLUMNS = (
    "id, kind, target, events, enabled, disabled_reason, disabled_us, created_us, updated_us, "
    "paused_us, version, header_names, format, earlier"
)


def key_used(row: Sequence[Any]) -> KeyUsed:
    """Columns: at_us, api_key_id, request_id, mismatch."""
    at_us, api_key_id, request_id, mismatch = row
    return KeyUsed(at_us, api_key_id, request_id, bool(mismatch))


def traced_dead_letter(row: Sequence[Any]) -> TracedDeadLetter:
    """A dead letter from `DEAD_LETTER_COLUMNS`."""
    dead_letter_id, kind, subscriber_id, cause, error, attempts, dead_us, state, *closed = row
    closed_us, closed_by, reason, run_id = closed
    return TracedDeadLetter(
        id=dead_letter_id,
        kind=DeadLetterKind(kind),
        subscriber_id=subscriber_id,
        cause=cause,
        error=error,
        attempts=attempts,
        dead_lettered_us=dead_us,
        state=DeadLetterState(state),
        closed_us=closed_us,
        closed_by=closed_by,
        reason=reason,
        run_id=run_id,
    )


def traced_subscriber(row: Sequence[Any]) -> TracedSubscriber:
    """A subscriber from `SUBSCRIBER_COLUMNS`."""
    subscriber_id, kind, target, events, enabled, reason, disabled_us, *rest = row
    created_us, updated_us, paused_us, version, names, body_format, earlier = rest
    return TracedSubscriber(
        id=subscriber_id,
        kind=SubscriberKind(kind),
        target=target,
        events=tuple(msgspec.json.decode(events)),
        enabled=bool(enabled),
        disabled_reason=reason,
        disabled_us=disabled_us,
        created_us=created_us,
        updated_us=updated_us,
        paused_us=paused_us,
        versions=versions_of(version, target, decode(names), body_format, earlier),
    )

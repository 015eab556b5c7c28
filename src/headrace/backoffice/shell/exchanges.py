"""Attempts as pages show them, with their request and response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from headrace.domain.deliveries.attempt_requests import (
    AttemptRequest,
    read_response_headers,
    request_of,
)
from headrace.store.contract.deliveries import Attempt, DeliveryRecord, Subscriber
from headrace.store.contract.trace import TracedSubscriber


class ShownAttempt(msgspec.Struct, frozen=True):
    """One attempt."""

    attempt: Attempt
    #: None: none was made, or nothing is known about it.
    request: AttemptRequest | None
    response_headers: dict[str, str] | None


def attempts_of(
    deliveries: Iterable[DeliveryRecord],
    subscribers: Mapping[str, Subscriber] | Mapping[str, TracedSubscriber],
) -> dict[str, list[ShownAttempt]]:
    """Attempts by the id of their delivery, the oldest first."""
    return {
        delivery.id: _shown(delivery, subscribers.get(delivery.subscriber_id))
        for delivery in deliveries
    }


def _shown(
    delivery: DeliveryRecord, subscriber: Subscriber | TracedSubscriber | None
) -> list[ShownAttempt]:
    versions = () if subscriber is None else subscriber.versions
    return [
        ShownAttempt(
            attempt=attempt,
            request=request_of(versions, attempt.version, delivery.id, attempt.signed_s),
            response_headers=read_response_headers(attempt.response_headers),
        )
        for attempt in delivery.attempts
    ]

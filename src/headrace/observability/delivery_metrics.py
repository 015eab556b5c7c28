"""Metrics of deliveries: counted by workers, kept in the store, shown by any server."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from headrace.store.contract.delivery_counts import SECONDS_BOUNDS, AttemptCounts, DeliveryNumbers


def delivery_families(numbers: DeliveryNumbers, breakers_open: int) -> Iterator[Metric]:
    """Attempts, claimed deliveries, and open breakers."""
    yield from _attempt_families(numbers.attempts)
    claimed = "headrace_deliveries_claimed", "Deliveries in the hands of workers."
    yield GaugeMetricFamily(*claimed, numbers.claimed)
    paused = "headrace_breakers_open", "Subscribers that are paused or being probed."
    yield GaugeMetricFamily(*paused, breakers_open)


def _attempt_families(attempts: AttemptCounts) -> Iterator[Metric]:
    counted = CounterMetricFamily(
        "headrace_delivery_attempts",
        "Attempts to deliver, by outcome: delivered, stale or the cause of the failure.",
        labels=("outcome",),
    )
    for outcome, number in sorted(attempts.outcomes.items()):
        counted.add_metric((outcome,), number)
    yield counted
    took = HistogramMetricFamily("headrace_delivery_attempt_seconds", "Time that attempts took.")
    bounds = [*(f"{bound:g}" for bound in SECONDS_BOUNDS), "+Inf"]
    # Buckets of Prometheus are cumulative.
    sums = [float(number) for number in accumulate(attempts.buckets)]
    took.add_metric((), list(zip(bounds, sums, strict=False)), attempts.seconds_sum)
    yield took

"""Delivery metrics in the Prometheus format."""

from __future__ import annotations

from headrace.observability.delivery_metrics import delivery_families
from headrace.store.contract.delivery_counts import AttemptCounts, DeliveryNumbers


def test_buckets_hold_those_below_them() -> None:
    attempts = AttemptCounts()
    for seconds in (0.001, 0.01, 0.02, 7.0, 100.0):
        attempts.observe("delivered", seconds)
    attempts.observe("gone", 0.3)
    families = delivery_families(DeliveryNumbers(attempts, 7, []), 2)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }
    assert samples["headrace_delivery_attempts_total", "delivered"] == 5
    assert samples["headrace_delivery_attempts_total", "gone"] == 1
    name = "headrace_delivery_attempt_seconds_bucket"
    assert [samples[name, bound] for bound in ("0.01", "0.025", "0.5", "10", "30", "+Inf")] == [
        *(2, 3, 4, 5, 5, 6)
    ]
    assert samples["headrace_deliveries_claimed",] == 7
    assert samples["headrace_breakers_open",] == 2

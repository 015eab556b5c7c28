"""Metrics of retention: read from the store, since the worker is another process."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from headrace.store.contract.retention import RetentionState


def retention_families(state: RetentionState | None) -> Iterator[Metric]:
    """All-time totals; nothing before the first sweep of a store."""
    if state is None:
        return
    removed = CounterMetricFamily(
        "headrace_retention_removed", "Rows removed, by kind.", labels=("kind",)
    )
    others = state.rows - state.events - state.dead_letters
    for kind, number in (
        ("event", state.events),
        ("dead_letter", state.dead_letters),
        ("other", others),
    ):
        removed.add_metric((kind,), number)
    yield removed
    for name, help_text, value in (
        ("headrace_retention_transactions", "Transactions that removed rows.", state.slices),
        ("headrace_retention_seconds", "Time spent in them.", state.seconds),
    ):
        counter = CounterMetricFamily(name, help_text)
        counter.add_metric((), value)
        yield counter
    for name, help_text, value in (
        (
            "headrace_retention_lag_seconds",
            "How long the oldest removable event has been due.",
            state.lag_us / 1_000_000,
        ),
        (
            "headrace_retention_last_sweep_timestamp_seconds",
            "End of the last sweep.",
            state.at_us / 1_000_000,
        ),
    ):
        gauge = GaugeMetricFamily(name, help_text)
        gauge.add_metric((), value)
        yield gauge

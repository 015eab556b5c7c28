"""Metrics in Prometheus format, read from counters that the hot path keeps as plain numbers.

Counting with the client library would cost a lock and a microsecond each on the hot path; here its
types are filled at scrape time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from headrace.observability.delivery_metrics import delivery_families
from headrace.observability.retention_metrics import retention_families
from headrace.observability.stats import AcceptStats
from headrace.store.contract.commits import CommitStats
from headrace.store.contract.delivery_counts import DeliveryNumbers
from headrace.store.contract.health import StoreHealth
from headrace.store.contract.processing import WorkStats
from headrace.store.contract.retention import RetentionState

_STARTED = time.time()


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """What the store reports about itself and about its queues."""

    health: StoreHealth
    retention: RetentionState | None
    work: WorkStats
    deliveries: DeliveryNumbers
    #: Subscribers that are paused or being probed.
    breakers_open: int
    #: Open alerts by kind.
    alerts: Mapping[str, int]


def render_metrics(
    accept: AcceptStats,
    commits: CommitStats,
    *,
    queue_depth: int,
    stats: StoreStats | None,
    now_us: int = 0,
    blocked: bool,
    worker_ready: bool | None = None,
) -> bytes:
    """The text of a scrape; without `stats` the store's own numbers are left out.

    Args:
        worker_ready: None for a server without a worker of its own.
    """
    registry = CollectorRegistry()
    registry.register(
        _Families(
            (
                *_accept_families(accept, queue_depth, blocked=blocked),
                *_commit_families(commits),
                *_store_families(stats),
                *_queue_families(stats, now_us),
                *_worker_families(worker_ready),
                *_process_families(),
            )
        )
    )
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: tuple[Metric, ...]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _counter(name: str, help_text: str, value: float) -> Metric:
    family = CounterMetricFamily(name, help_text)
    family.add_metric((), value)
    return family


def _gauge(name: str, help_text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, help_text)
    family.add_metric((), value)
    return family


def _histogram(
    name: str, help_text: str, buckets: Mapping[float, int], count: int, total: float
) -> Metric:
    family = HistogramMetricFamily(name, help_text)
    bounds = [(f"{bound:g}", float(number)) for bound, number in buckets.items()]
    family.add_metric((), [*bounds, ("+Inf", float(count))], total)
    return family


def _accept_families(stats: AcceptStats, queue_depth: int, *, blocked: bool) -> Iterator[Metric]:
    yield _counter("headrace_events_accepted", "Events stored.", stats.accepted)
    yield _counter(
        "headrace_events_deduplicated", "Repeats of an idempotency key.", stats.deduplicated
    )
    yield _counter(
        "headrace_idempotency_mismatches", "Repeats with other content.", stats.mismatched
    )
    rejected = CounterMetricFamily(
        "headrace_events_rejected", "Requests and events rejected.", labels=("code",)
    )
    for code, number in sorted(stats.rejected.items()):
        rejected.add_metric((code,), number)
    yield rejected
    yield _gauge("headrace_commit_queue_depth", "Events waiting to be committed.", queue_depth)
    yield _gauge("headrace_ingest_blocked", "1 while events cannot be stored.", blocked)


def _commit_families(stats: CommitStats) -> Iterator[Metric]:
    yield _histogram(
        "headrace_commit_seconds",
        "Time from taking a batch to its COMMIT, fsync included.",
        stats.seconds_buckets,
        stats.commits,
        stats.seconds_sum,
    )
    yield _histogram(
        "headrace_commit_events",
        "Events per commit.",
        {float(size): number for size, number in stats.size_buckets.items()},
        stats.commits,
        stats.events,
    )
    yield _counter("headrace_commits_failed", "Commits that failed.", stats.failed_commits)


def _store_families(stats: StoreStats | None) -> Iterator[Metric]:
    health = None if stats is None else stats.health
    yield _gauge(
        "headrace_store_up",
        "1 while the store responds.",
        health is not None and not health.problem,
    )
    if health is None:
        return
    yield _gauge("headrace_store_size_bytes", "Size of the database.", health.size_bytes)
    yield _gauge("headrace_store_log_bytes", "Size of the write-ahead log.", health.log_bytes)
    if health.free_bytes is not None:
        yield _gauge("headrace_disk_free_bytes", "Room left for the store.", health.free_bytes)


def _queue_families(stats: StoreStats | None, now_us: int) -> Iterator[Metric]:
    if stats is None:
        yield from retention_families(None)
        return
    yield from retention_families(stats.retention)
    yield from _event_queue_families(stats.work, now_us)
    yield from delivery_families(stats.deliveries, stats.breakers_open)
    alerts = GaugeMetricFamily("headrace_alerts_open", "Open alerts, by kind.", labels=("kind",))
    for kind, number in sorted(stats.alerts.items()):
        alerts.add_metric((kind,), number)
    yield alerts


def _event_queue_families(work: WorkStats, now_us: int) -> Iterator[Metric]:
    """Sizes of the queues; counts stop at 100,000."""
    yield _gauge(
        "headrace_event_queue_ready", "Accepted events that wait for the worker.", work.ready
    )
    yield _gauge("headrace_event_queue_retrying", "Events that wait for a retry.", work.retrying)
    age_us = 0 if work.oldest_us is None else max(0, now_us - work.oldest_us)
    yield _gauge(
        "headrace_event_queue_oldest_seconds", "Age of the oldest queued event.", age_us / 1_000_000
    )
    yield _gauge("headrace_deliveries_waiting", "Deliveries waiting to be made.", work.deliveries)
    yield _gauge(
        "headrace_deliveries_paused",
        "Of those, deliveries that wait because their webhook is paused.",
        work.paused_deliveries,
    )
    yield _gauge("headrace_dead_letters_open", "Open dead letters.", work.dead_letters)


def _worker_families(ready: bool | None) -> Iterator[Metric]:  # noqa: FBT001 - the reported value
    if ready is not None:
        help_text = "1 while the worker of this server runs and can call all its handlers."
        yield _gauge("headrace_worker_ready", help_text, ready)


def _process_families() -> Iterator[Metric]:
    yield _gauge("process_start_time_seconds", "Start of the process.", _STARTED)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    yield _gauge("process_resident_memory_bytes", "Memory in use.", resident)
    yield _gauge("process_cpu_seconds", "CPU time used.", time.process_time())

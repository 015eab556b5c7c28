"""The overview of a project: accepted, processed and waiting work. Reads only rollups."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from starlette.responses import Response

from headrace.backoffice.messages.notices import mail_notices
from headrace.backoffice.overview.numbers import (
    SPANS,
    Window,
    percentiles,
    slots_of,
    total_of,
    window_of,
)
from headrace.backoffice.shell.charts import Chart, Series, bar_chart, line_chart
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.backoffice.shell.templating import duration, number
from headrace.domain.upkeep.retention import days_to_full
from headrace.domain.upkeep.rollups import MINUTE_S, Outcome, Tally, percentile_us
from headrace.store.contract.deliveries import Subscriber
from headrace.store.contract.rollups import RollupRow

SLOWEST_SHOWN = 8
#: Subscribers whose names are looked up; rows of others belong to deleted ones.
SUBSCRIBERS_MAX = 200

_LINES = (("p99", "bad"), ("p95", "warn"), ("p50", "info"))


class Slow(msgspec.Struct, frozen=True):
    """Latency of one subscriber."""

    id: str
    name: str
    median_us: float
    slow_us: float
    attempts: int
    failed: int


async def overview(visit: PageRequest) -> Response:
    """The page; `?span=` is hour, day or month."""
    store, project_id = visit.store, visit.project.id
    span = SPANS[visit.query.one_of("span", tuple(SPANS)) or "hour"]
    window = window_of(span, visit.now_us)
    bounds = (project_id, span.grain_s, window.first, window.last)
    slots = slots_of(window, await store.rollups.read(*bounds))
    total = total_of(slots)
    health = await store.health()
    growth = await store.retention.growth()
    state = await store.retention.state()
    room = None if health.free_bytes is None else health.free_bytes + health.reusable_bytes
    return visit.page(
        "overview.html",
        **await mail_notices(visit),
        span=span,
        spans=list(SPANS.values()),
        total=total,
        outcome=Outcome,
        charts=_charts(window, slots, total),
        accept=_percentiles(total.accept),
        processing=_percentiles(total.processing),
        work=await store.processing.stats(),
        slowest=await _slowest(
            visit, await store.rollups.subscribers(project_id, *window.of_subscribers)
        ),
        health=health,
        days_left=None if room is None else days_to_full(growth.samples, room),
        retention=state,
        nothing_yet=not any(total.counts) and not await _anything(visit),
    )


async def _anything(visit: PageRequest) -> bool:
    """Whether the project has ever had an event."""
    totals = await visit.store.catalog.totals(visit.project.id)
    return totals.names > 0


def _percentiles(histogram: list[int] | None) -> dict[str, float | None]:
    return {name: values[0] for name, values in percentiles([histogram]).items()}


def _charts(window: Window, slots: Sequence[Tally], total: Tally) -> list[Chart]:
    labels = window.labels
    minutes = window.span.slot_s / MINUTE_S

    def series(words: str, colour: str, *outcomes: Outcome) -> Series:
        return Series(words, colour, [slot.count(*outcomes) / minutes for slot in slots])

    def said(*parts: tuple[str, int]) -> str:
        parts_text = ", ".join(f"{number(count)} {words}" for words, count in parts)
        return f"In the {window.span.words}: {parts_text}."

    arriving = bar_chart(
        "Ingestion, events/min",
        [
            Series("accepted", "info", [slot.accepted / minutes for slot in slots]),
            series("duplicates", "quiet", Outcome.DEDUPLICATED),
            series("rejected", "bad", Outcome.REJECTED),
        ],
        labels,
        said(
            ("accepted", total.accepted),
            ("duplicates", total.count(Outcome.DEDUPLICATED)),
            ("rejected", total.count(Outcome.REJECTED)),
        ),
        _rate,
    )
    processing = bar_chart(
        "Processing, events/min",
        [
            series("processed", "good", Outcome.PROCESSED),
            series("retried", "warn", Outcome.RETRIED),
            series("dead letters", "bad", Outcome.DEAD_LETTERED),
        ],
        labels,
        said(
            ("processed", total.count(Outcome.PROCESSED)),
            ("retried", total.count(Outcome.RETRIED)),
            ("dead letters", total.count(Outcome.DEAD_LETTERED)),
        ),
        _rate,
    )
    delivering = bar_chart(
        "Delivery, attempts/min",
        [
            series("delivered", "good", Outcome.DELIVERED),
            series("failed", "warn", Outcome.ATTEMPT_FAILED),
            series("dead letters", "bad", Outcome.DELIVERY_DEAD_LETTERED),
        ],
        labels,
        said(
            ("delivered", total.count(Outcome.DELIVERED)),
            ("failed attempts", total.count(Outcome.ATTEMPT_FAILED)),
            ("dead letters", total.count(Outcome.DELIVERY_DEAD_LETTERED)),
        ),
        _rate,
    )
    return [
        arriving,
        processing,
        delivering,
        _latency("Accept latency", [slot.accept for slot in slots], total.accept, labels),
        _latency(
            "Processing latency", [slot.processing for slot in slots], total.processing, labels
        ),
    ]


def _latency(
    title: str,
    histograms: Sequence[list[int] | None],
    total: list[int] | None,
    labels: Sequence[str],
) -> Chart:
    values = percentiles(histograms)
    series = [Series(name, colour, values[name]) for name, colour in _LINES]
    whole = {name: duration(value) for name, value in _percentiles(total).items()}
    summary = (
        f"p50 {whole['p50']} · p95 {whole['p95']} · p99 {whole['p99']}" if total else "No data."
    )
    return line_chart(title, series, labels, summary, duration)


def _rate(value: float) -> str:
    return f"{value:.2g}" if 0 < value < 1 else number(round(value, 1))


async def _slowest(visit: PageRequest, rows: Sequence[RollupRow]) -> list[Slow]:
    """Subscribers by 95th percentile of latency, slowest first."""
    found = []
    for row in rows:
        slow_us = percentile_us(row.tally.delivery, 0.95)
        median_us = percentile_us(row.tally.delivery, 0.5)
        if slow_us is not None and median_us is not None:
            found.append((slow_us, median_us, row))
    found.sort(key=lambda entry: entry[0], reverse=True)
    names = await _names(visit) if found else {}
    return [
        Slow(
            id=row.subject,
            name=names.get(row.subject, "a deleted subscriber"),
            median_us=median_us,
            slow_us=slow_us,
            attempts=row.tally.count(Outcome.DELIVERED, Outcome.ATTEMPT_FAILED),
            failed=row.tally.count(Outcome.ATTEMPT_FAILED),
        )
        for slow_us, median_us, row in found[:SLOWEST_SHOWN]
    ]


async def _names(visit: PageRequest) -> dict[str, str]:
    store = visit.store.subscribers
    webhooks = await store.list(visit.project.id, before=None, limit=SUBSCRIBERS_MAX)
    both: list[Subscriber] = [*webhooks, *await store.handlers()]
    return {subscriber.id: subscriber.target for subscriber in both}


SCREENS = (get("/projects/{project}", overview, Access.VIEWER),)

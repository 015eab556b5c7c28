"""The catalog: event names with their counts, and the shape of the events of one name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.shell.charts import Chart, Series, bar_chart
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get
from headrace.backoffice.shell.templating import number
from headrace.domain.catalog.personal_data import KINDS, PERSONAL, kinds_of
from headrace.domain.catalog.value_types import example_of, type_names
from headrace.domain.events.event import Source
from headrace.domain.ids import uuid_text
from headrace.domain.upkeep.retention import HOUR_US
from headrace.store.contract.catalog import (
    GONE_AFTER,
    PATHS_MAX,
    CatalogFilter,
    CatalogName,
    HourCount,
)

ROWS = 50
#: Hours in a sparkline, and in the plot of one name.
SPARK_HOURS = 48
PLOT_HOURS = 7 * 24
NAME_CHARACTERS_MAX = 200

ANY = "any"
_SOURCES = {source.name.lower(): source for source in Source}
_COLOURS = {"api": "info", "batch": "accent", "import": "quiet", "system": "good"}


async def list_names(visit: PageRequest) -> Response:
    """List names in order, with filters by name, source and personal data."""
    prefix = visit.query.text("event").lower().removesuffix("*")[:NAME_CHARACTERS_MAX]
    source = visit.query.one_of("source", tuple(_SOURCES))
    personal = visit.query.one_of("personal_data", (ANY, *KINDS))
    wanted = CatalogFilter(
        prefix=prefix,
        source=_SOURCES[source].value if source else None,
        personal=(KINDS | {ANY: PERSONAL}).get(personal, 0),
    )
    after = visit.query.text("after")[:NAME_CHARACTERS_MAX]
    store, project_id = visit.store.catalog, visit.project.id
    found = await store.names(project_id, wanted, after, ROWS + 1)
    names = found[:ROWS]
    hour = visit.now_us // HOUR_US
    first = hour - SPARK_HOURS + 1
    hours = await store.hours(project_id, [name.event for name in names], first, hour)
    return visit.page(
        "catalog.html",
        rows=_rows(names, hours, first),
        totals=await store.totals(project_id),
        chosen={"event": prefix, "source": source, "personal_data": personal},
        sources=[(name, name) for name in _SOURCES],
        kinds=[(kind, kind.replace("_", " ")) for kind in KINDS],
        after=after,
        next_after=names[-1].event if len(found) > ROWS else None,
    )


def _rows(
    names: Sequence[CatalogName], hours: Sequence[HourCount], first: int
) -> list[tuple[CatalogName, list[int], list[str], list[str]]]:
    """Each name with its hourly counts, its sources and its kinds of personal data."""
    counts = {name.event: [0] * SPARK_HOURS for name in names}
    for count in hours:
        counts[count.event][count.hour - first] += count.events
    return [
        (name, counts[name.event], _sources(name.sources), kinds_of(name.personal))
        for name in names
    ]


def _sources(bits: int) -> list[str]:
    return [name for name, source in _SOURCES.items() if bits >> source & 1]


async def show_name(visit: PageRequest) -> Response:
    """One name: counts, paths, drift, example.

    Raises:
        HTTPException: 404, no event of that name was ever received.
    """
    event = visit.request.path_params["event"]
    store, project_id = visit.store.catalog, visit.project.id
    known = len(event) <= NAME_CHARACTERS_MAX and event.isascii()
    entry = await store.entry(project_id, event) if known else None
    if entry is None:
        raise HTTPException(404)
    hour = visit.now_us // HOUR_US
    first = hour - PLOT_HOURS + 1
    hours = await store.hours(project_id, [event], first, hour)
    return visit.page(
        "catalog_entry.html",
        entry=entry,
        name=entry.name,
        sources=_sources(entry.name.sources),
        personal=kinds_of(entry.name.personal),
        plot=_plot(hours, first),
        paths=[
            (
                path,
                type_names(path.types),
                path.present / max(entry.name.inspected, 1),
                msgspec.json.encode(example_of(path.types, path.looks)).decode(),
                kinds_of(path.looks),
            )
            for path in entry.paths
        ],
        drift=[
            (
                drift,
                next(iter(type_names(drift.type)), ""),
                None if drift.event_id is None else uuid_text(drift.event_id),
            )
            for drift in entry.drift
        ],
        example_id=None if entry.example_id is None else uuid_text(entry.example_id),
        gone_after=GONE_AFTER,
        paths_max=PATHS_MAX,
    )


def _plot(hours: Sequence[HourCount], first: int) -> Chart:
    labels = [
        datetime.fromtimestamp((first + index) * 3600, UTC).strftime("%d %b %H:%M")
        for index in range(PLOT_HOURS)
    ]
    by_source = {name: [0] * PLOT_HOURS for name in _SOURCES}
    for count in hours:
        by_source[Source(count.source).name.lower()][count.hour - first] += count.events
    series = [
        Series(name, _COLOURS[name], values) for name, values in by_source.items() if any(values)
    ]
    total = sum(count.events for count in hours)
    summary = f"{number(total)} events in the last 7 days."
    return bar_chart("Events an hour, last 7 days", series, labels, summary, _count)


def _count(value: float) -> str:
    return number(value) if value == int(value) else f"{value:g}"


SCREENS = (
    get("/projects/{project}/catalog", list_names, Access.VIEWER),
    get("/projects/{project}/catalog/{event}", show_name, Access.VIEWER),
)

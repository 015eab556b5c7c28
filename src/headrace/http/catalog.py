"""`/catalog`: which events there are, what they look like and how that has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain import timestamps
from headrace.domain.catalog_types import example_of, type_names
from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.event_fields import check_event_name
from headrace.domain.events import Source
from headrace.domain.ids import uuid_text
from headrace.domain.personal_data import KINDS, PERSONAL, kinds_of
from headrace.domain.retention import HOUR_US
from headrace.http.context import context_of, json_response
from headrace.http.events import not_found
from headrace.http.head import parse_query
from headrace.http.query import PAGE, SOURCE_NAMES, page_limit
from headrace.store.contract_catalog import (
    CatalogEntry,
    CatalogFilter,
    CatalogName,
    CatalogPath,
    Drift,
    HourCount,
)

FILTERS = ("event", "source", "personal_data")
#: Hours shown of a name, the one that runs included.
HOURS_SHOWN = 7 * 24
ANY = "any"


class CatalogNameShown(msgspec.Struct, kw_only=True):
    """An event name and what is known of it at a glance."""

    event: str
    first_seen_at: str
    last_seen_at: str
    events: int
    #: Of these, whose payload was looked at; shares are of them.
    inspected: int
    sources: list[str]
    personal_data: list[str]
    paths: int
    #: When what its events look like changed last.
    drift_at: str | None


class SchemaPathShown(msgspec.Struct, kw_only=True):
    """A path of the payload."""

    path: str
    types: list[str]
    #: Share of the events that have it.
    share: float
    #: A value of that type with nothing of those seen.
    example: Any
    personal_data: list[str]
    first_seen_at: str
    last_seen_at: str
    #: When its absence was noticed; null while it comes.
    gone_at: str | None


class DriftShown(msgspec.Struct, kw_only=True):
    """A change of what events of a name look like."""

    kind: str
    path: str
    #: The type that is new; null for other kinds.
    type: str | None
    at: str
    #: The event that showed it first; null when that is not known.
    event_id: str | None
    #: Events looked at before that one.
    events_before: int


class CatalogHourShown(msgspec.Struct, kw_only=True):
    """Events of an hour, by source."""

    hour: str
    sources: dict[str, int]


class CatalogEntryShown(CatalogNameShown, kw_only=True):
    """All that is known of an event name."""

    #: Of the last seven days, hours without events left out.
    hours: list[CatalogHourShown]
    schema: list[SchemaPathShown]
    #: Sightings of paths past the 500 that are kept.
    paths_not_kept: int
    #: Newest first.
    drift: list[DriftShown]
    example: dict[str, Any] | None
    example_event_id: str | None


def sources_of(bits: int) -> list[str]:
    """Names of the sources among bits."""
    return [source.name.lower() for source in Source if bits >> source & 1]


def name_shown(name: CatalogName) -> CatalogNameShown:
    """A name as the API shows it."""
    return CatalogNameShown(
        event=name.event,
        first_seen_at=timestamps.to_text(name.first_us),
        last_seen_at=timestamps.to_text(name.last_us),
        events=name.events,
        inspected=name.inspected,
        sources=sources_of(name.sources),
        personal_data=kinds_of(name.personal),
        paths=name.paths,
        drift_at=None if name.drift_us is None else timestamps.to_text(name.drift_us),
    )


def entry_shown(entry: CatalogEntry, hours: Sequence[HourCount]) -> CatalogEntryShown:
    """An entry as the API shows it."""
    name = entry.name
    return CatalogEntryShown(
        **msgspec.structs.asdict(name_shown(name)),
        hours=_hours_shown(hours),
        schema=[_path_shown(path, name.inspected) for path in entry.paths],
        paths_not_kept=name.paths_over,
        drift=[_drift_shown(drift) for drift in entry.drift],
        example=None if entry.example is None else msgspec.json.decode(entry.example),
        example_event_id=None if entry.example_id is None else uuid_text(entry.example_id),
    )


def _hours_shown(hours: Sequence[HourCount]) -> list[CatalogHourShown]:
    by_hour: dict[int, dict[str, int]] = {}
    for count in hours:
        by_hour.setdefault(count.hour, {})[Source(count.source).name.lower()] = count.events
    return [
        CatalogHourShown(hour=timestamps.to_text(hour * HOUR_US), sources=sources)
        for hour, sources in sorted(by_hour.items())
    ]


def _path_shown(path: CatalogPath, inspected: int) -> SchemaPathShown:
    return SchemaPathShown(
        path=path.path,
        types=type_names(path.types),
        share=round(path.present / max(inspected, 1), 4),
        example=example_of(path.types, path.looks),
        personal_data=kinds_of(path.looks),
        first_seen_at=timestamps.to_text(path.first_us),
        last_seen_at=timestamps.to_text(path.last_us),
        gone_at=None if path.gone_us is None else timestamps.to_text(path.gone_us),
    )


def _drift_shown(drift: Drift) -> DriftShown:
    return DriftShown(
        kind=drift.kind.value,
        path=drift.path,
        type=next(iter(type_names(drift.type)), None),
        at=timestamps.to_text(drift.at_us),
        event_id=None if drift.event_id is None else uuid_text(drift.event_id),
        events_before=drift.before,
    )


async def list_catalog(request: Request) -> Response:
    """`GET /catalog`: names in order."""
    context = context_of(request)
    query = parse_query(request.scope["query_string"], (*FILTERS, *PAGE))
    limit = page_limit(query)
    wanted = _filter(query)
    project_id = context.principal.project.id
    scope = f"catalog {project_id} {wanted.prefix} {wanted.source} {wanted.personal}"
    cursors = context.services.cursors
    after = cursors.read_text(query["cursor"], scope) if "cursor" in query else ""
    found = await context.services.store.catalog.names(project_id, wanted, after, limit + 1)
    following = cursors.make_text(found[limit - 1].event, scope) if len(found) > limit else None
    shown = [name_shown(name) for name in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_catalog_entry(request: Request) -> Response:
    """`GET /catalog/{event}`."""
    context = context_of(request)
    parse_query(request.scope["query_string"], ())
    event = request.path_params["event"]
    try:
        check_event_name(event)
    except ValueError:
        raise not_found() from None
    project_id, store = context.principal.project.id, context.services.store.catalog
    entry = await store.entry(project_id, event)
    if entry is None:
        raise not_found()
    hour = context.services.clock_us() // HOUR_US
    hours = await store.hours(project_id, [event], hour - HOURS_SHOWN + 1, hour)
    return json_response({"data": entry_shown(entry, hours)})


def _filter(query: dict[str, str]) -> CatalogFilter:
    problems: list[FieldProblem] = []
    prefix, source, personal = query.get("event", ""), None, 0
    if "event" in query:
        try:
            check_event_name(prefix.removesuffix("*").removesuffix("."))
        except ValueError:
            problems.append(FieldProblem("event", "must be the beginning of an event name"))
        prefix = prefix.removesuffix("*")
    if "source" in query:
        source = SOURCE_NAMES.get(query["source"])
        if source is None:
            names = ", ".join(SOURCE_NAMES)
            problems.append(FieldProblem("source", f"must be one of {names}"))
    if "personal_data" in query:
        personal = (
            PERSONAL if query["personal_data"] == ANY else KINDS.get(query["personal_data"], 0)
        )
        if not personal:
            names = ", ".join((ANY, *KINDS))
            problems.append(FieldProblem("personal_data", f"must be one of {names}"))
    if problems:
        raise invalid(*problems)
    return CatalogFilter(prefix=prefix, source=source, personal=personal)

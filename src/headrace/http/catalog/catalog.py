"""`/catalog`: which events there are, what they look like and how that has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain import timestamps
from headrace.domain.catalog.personal_data import KINDS, PERSONAL, kinds_of
from headrace.domain.catalog.value_types import example_of, type_names
from headrace.domain.events.event import Source
from headrace.domain.events.fields import EVENT_NAME_CHARACTERS_MAX, check_event_name
from headrace.domain.ids import uuid_text
from headrace.domain.upkeep.retention import HOUR_US
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.parameters import PAGE, in_path, one_of, text
from headrace.http.routing.path import not_found
from headrace.http.routing.query import SOURCE_NAMES
from headrace.http.routing.route import get, ok, page
from headrace.http.routing.schema import EVENT_NAME, EventName, Id, Time, about
from headrace.store.contract.catalog import (
    CatalogEntry,
    CatalogFilter,
    CatalogName,
    CatalogPath,
    Drift,
    DriftKind,
    HourCount,
)

#: Hours shown of a name, including the current one.
HOURS_SHOWN = 7 * 24
ANY = "any"


_Kind = Annotated[str, about(enum=list(KINDS))]


class CatalogNameResponse(msgspec.Struct, kw_only=True):
    """Summary of an event name."""

    event: EventName
    first_seen_at: Time
    last_seen_at: Time
    events: int
    inspected: Annotated[int, about("Events whose payload was inspected; shares refer to these.")]
    sources: list[str]
    personal_data: list[_Kind]
    paths: int
    drift_at: Annotated[Time | None, about("When the structure of its events last changed.")]


class CatalogPathResponse(msgspec.Struct, kw_only=True):
    """A path of the payload."""

    path: str
    types: list[str]
    share: Annotated[float, about("Share of the inspected events that have this path.")]
    example: Annotated[Any, about("A placeholder value of that type; never a real value.")]
    personal_data: list[_Kind]
    first_seen_at: Time
    last_seen_at: Time
    gone_at: Annotated[Time | None, about("When the path was found missing; null while it occurs.")]


class CatalogDriftResponse(msgspec.Struct, kw_only=True):
    """A change in the structure of the events of a name."""

    kind: Annotated[str, about(enum=[kind.value for kind in DriftKind])]
    path: str
    type: Annotated[str | None, about("The new type; null for other kinds.")]
    at: Time
    event_id: Annotated[Id | None, about("The first event with the change; null if unknown.")]
    events_before: Annotated[int, about("Events inspected before that one.")]


class CatalogHourResponse(msgspec.Struct, kw_only=True):
    """Events of an hour, by source."""

    hour: Time
    sources: dict[str, int]


class CatalogEntryResponse(CatalogNameResponse, kw_only=True):
    """The catalog entry of an event name."""

    hours: Annotated[
        list[CatalogHourResponse], about("Last seven days; hours without events are omitted.")
    ]
    schema: list[CatalogPathResponse]
    paths_not_kept: Annotated[int, about("Occurrences of paths beyond the 500 that are stored.")]
    drift: Annotated[list[CatalogDriftResponse], about("Newest first.")]
    example: dict[str, Any] | None
    example_event_id: Id | None


def sources_of(bits: int) -> list[str]:
    """Names of the sources among bits."""
    return [source.name.lower() for source in Source if bits >> source & 1]


def name_response(name: CatalogName) -> CatalogNameResponse:
    """A name as the API shows it."""
    return CatalogNameResponse(
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


def entry_response(entry: CatalogEntry, hours: Sequence[HourCount]) -> CatalogEntryResponse:
    """An entry as the API shows it."""
    name = entry.name
    return CatalogEntryResponse(
        **msgspec.structs.asdict(name_response(name)),
        hours=_hour_responses(hours),
        schema=[_path_response(path, name.inspected) for path in entry.paths],
        paths_not_kept=name.paths_over,
        drift=[_drift_response(drift) for drift in entry.drift],
        example=None if entry.example is None else msgspec.json.decode(entry.example),
        example_event_id=None if entry.example_id is None else uuid_text(entry.example_id),
    )


def _hour_responses(hours: Sequence[HourCount]) -> list[CatalogHourResponse]:
    by_hour: dict[int, dict[str, int]] = {}
    for count in hours:
        by_hour.setdefault(count.hour, {})[Source(count.source).name.lower()] = count.events
    return [
        CatalogHourResponse(hour=timestamps.to_text(hour * HOUR_US), sources=sources)
        for hour, sources in sorted(by_hour.items())
    ]


def _path_response(path: CatalogPath, inspected: int) -> CatalogPathResponse:
    return CatalogPathResponse(
        path=path.path,
        types=type_names(path.types),
        share=round(path.present / max(inspected, 1), 4),
        example=example_of(path.types, path.looks),
        personal_data=kinds_of(path.looks),
        first_seen_at=timestamps.to_text(path.first_us),
        last_seen_at=timestamps.to_text(path.last_us),
        gone_at=None if path.gone_us is None else timestamps.to_text(path.gone_us),
    )


def _drift_response(drift: Drift) -> CatalogDriftResponse:
    return CatalogDriftResponse(
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
    query, limit = context.query, context.limit
    wanted = CatalogFilter(
        prefix=query.get("event", ""),
        source=query.get("source"),
        personal=query.get("personal_data", 0),
    )
    project_id = context.project_id
    scope = f"catalog {project_id} {wanted.prefix} {wanted.source} {wanted.personal}"
    cursors = context.services.cursors
    after = cursors.read_text(query["cursor"], scope) if "cursor" in query else ""
    found = await context.services.store.catalog.names(project_id, wanted, after, limit + 1)
    following = cursors.make_text(found[limit - 1].event, scope) if len(found) > limit else None
    shown = [name_response(name) for name in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_catalog_entry(request: Request) -> Response:
    """`GET /catalog/{event}`."""
    context = context_of(request)
    event = request.path_params["event"]
    try:
        check_event_name(event)
    except ValueError:
        raise not_found() from None
    project_id, store = context.project_id, context.services.store.catalog
    entry = await store.entry(project_id, event)
    if entry is None:
        raise not_found()
    hour = context.services.clock_us() // HOUR_US
    hours = await store.hours(project_id, [event], hour - HOURS_SHOWN + 1, hour)
    return json_response({"data": entry_response(entry, hours)})


def _check_prefix(text: str) -> str:
    """The prefix that names must have; `order.*` is the same as `order.`."""
    try:
        check_event_name(text.removesuffix("*").removesuffix("."))
    except ValueError:
        message = "must be a prefix of an event name"
        raise ValueError(message) from None
    return text.removesuffix("*")


ROUTES = (
    get(
        "/catalog",
        list_catalog,
        name="listCatalog",
        summary="List event names",
        parameters=(
            text(
                "event",
                _check_prefix,
                "Prefix of the name; `order.*` is the same as `order.`.",
                pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*(\.?\*?)?$",
                maxLength=EVENT_NAME_CHARACTERS_MAX,
                examples=["order.*"],
            ),
            one_of("source", SOURCE_NAMES, "Names with an event from this source."),
            one_of(
                "personal_data",
                {ANY: PERSONAL, **KINDS},
                "Names with a path that is likely to contain such data.",
            ),
            *PAGE,
        ),
        responses=(page(CatalogNameResponse, "Sorted by name."),),
    ),
    get(
        "/catalog/{event}",
        get_catalog_entry,
        name="getCatalogEntry",
        summary="Get the catalog entry of an event name",
        parameters=(in_path("event", **EVENT_NAME),),
        responses=(ok("The entry.", CatalogEntryResponse),),
    ),
)

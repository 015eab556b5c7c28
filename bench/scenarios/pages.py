"""Is every page of the backoffice quick, however much is stored?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import quote

from bench import contenders
from bench.collector import Collector
from bench.contenders import fresh_folder
from bench.load.backoffice import FAILED, RARE, Visitor, make_things_happen, visiting
from bench.load.contacts import Caller, timed
from bench.load.large import fill_large
from bench.options import Options
from bench.results import Bars, Better, Comparison, Outcome
from bench.scenario import Progress, Scenario
from bench.stores import StoreKind
from bench.webhooks import ENVIRONMENT, receiving

MEDIAN, SLOWEST = "median", "99th percentile"
BAR_MS, GOAL_MS = 200.0, 50.0
#: Of each page in a round, as a share of the seconds of a measurement.
SHARE = 0.2
USUAL = "order.completed"

Pages = dict[str, str]


def run(options: Options, progress: Progress) -> Outcome:
    """Fill one store with every kind of content, then request every page in turns."""
    figures = Collector()
    point = f"{options.large_store_events:,} events stored"
    with fresh_folder(options.stores, "pages") as folder:
        fill_large(folder, options.large_store_events, progress)
        measure(folder, point, figures, options, progress)
    return outcome(figures, point)


def measure(
    folder: Path, point: str, figures: Collector, options: Options, progress: Progress
) -> None:
    """Time every page of the service on a filled store."""
    with receiving(folder) as receiver, contenders.headrace(folder, "serve", ENVIRONMENT) as up:
        make_things_happen(folder, up, receiver)
        with visiting(folder, up) as visitor, Caller(up.port, up.api_key) as caller:
            pages = _pages(visitor, caller)
            for number in range(1, options.rounds + 1):
                for name, path in pages.items():
                    _measure(visitor, name, path, point, figures, options)
                progress(f"round {number}: {_summary(figures, point)}")


def outcome(figures: Collector, point: str) -> Outcome:
    """The figures against the bar."""
    names = tuple(figures.series())
    slowest = {name: figures.row(name, point, SLOWEST) for name in names}
    return Outcome(
        rows=figures.rows(),
        comparisons=tuple(
            Comparison(
                what=f"{name}, 99th percentile with {point}",
                unit="ms",
                rounds=row.rounds,
                bar=BAR_MS,
                goal=GOAL_MS,
                better=Better.LOWER,
            )
            for name, row in slowest.items()
        ),
        charts=(
            Bars(
                title=f"Time of a page, {point}",
                unit="ms",
                groups=names,
                series={
                    metric: tuple(figures.row(name, point, metric).rounds for name in names)
                    for metric in (MEDIAN, SLOWEST)
                },
            ),
        ),
    )


def _pages(visitor: Visitor, caller: Caller) -> Pages:
    """Name -> path of every page, with each of its filters."""
    return {
        name: path if name in _OF_INSTANCE else visitor.project + path
        for name, path in (
            *_OF_INSTANCE.items(),
            *_OF_PROJECT.items(),
            *_events(caller).items(),
            *_people(caller).items(),
            *_failures(caller).items(),
        )
    }


_OF_INSTANCE: Pages = {
    "projects": "/projects",
    "operators": "/operators",
    "audit of the instance": "/audit",
    "account": "/account",
}
_OF_PROJECT: Pages = {
    "overview, hour": "?span=hour",
    "overview, day": "?span=day",
    "overview, month": "?span=month",
    "catalog": "/catalog",
    "catalog, prefix": "/catalog?event=page.",
    "catalog, personal data": "/catalog?personal_data=any",
    "catalog, usual name": f"/catalog/{USUAL}",
    "catalog, rare name": f"/catalog/{RARE}",
    "rejections": "/rejections",
    "live": "/events/live",
    "keys": "/keys",
    "policies": "/policies",
    "members": "/members",
    "audit": "/audit",
    "new webhook": "/subscribers/new",
}


def _events(caller: Caller) -> Pages:
    newest = caller.ask("GET", "/events?limit=1")["data"][0]
    [usual] = caller.ask("GET", f"/events?limit=1&event={USUAL}")["data"]
    now = datetime.now(UTC)
    day_ago = quote((now - timedelta(days=1)).isoformat(timespec="seconds"))
    year_ago = quote((now - timedelta(days=365)).isoformat(timespec="seconds"))
    who = usual["external_id"]
    return {
        "events": "/events",
        "events, usual name": f"/events?event={USUAL}",
        "events, rare name": f"/events?event={RARE}",
        "events, name of none": "/events?event=nothing.such",
        "events, processed": "/events?status=processed",
        "events, dead-lettered": "/events?status=dead_lettered",
        "events, retrying": "/events?status=retrying",
        "events, by system": "/events?source=system",
        "events, of a person": f"/events?who={who}",
        "events, of a person and rare name": f"/events?who={who}&event={RARE}",
        "events, processed of a rare name": f"/events?event={RARE}&status=processed",
        "events, rare name and retrying": f"/events?event={USUAL}&status=retrying",
        "events, since yesterday": f"/events?since={day_ago}",
        "events, before a year": f"/events?until={year_ago}",
        "events, usual name by import": f"/events?event={USUAL}&source=import",
        "events, find key of none": "/events?find=no-such-key",
        "event": f"/events/{usual['id']}",
        "event, newest": f"/events/{newest['id']}",
        "contact": f"/contacts/{usual['contact_id']}",
    }


def _people(caller: Caller) -> Pages:
    [conflict, *_] = caller.ask("GET", "/contacts/conflicts?limit=1")["data"]
    one, other = conflict["contact_id"], conflict["other_contact_id"]
    return {
        "contacts": "/contacts",
        "contacts, search one": "/contacts?search=user_000777",
        "contacts, search all": "/contacts?search=user_",
        "contacts, search none": "/contacts?search=nobody",
        "conflicts": "/contacts/conflicts",
        "merge": f"/contacts/{one}/merge?from={other}",
    }


def _failures(caller: Caller) -> Pages:
    [letter] = caller.ask("GET", "/dead-letters?limit=1")["data"]
    subscriber = letter["subscriber_id"]
    return {
        "dead letters": "/dead-letters",
        "dead letters, one by one": "/dead-letters/list",
        "dead letters, of a name": f"/dead-letters/list?event={FAILED}",
        "dead letters, of a cause": f"/dead-letters/list?cause={letter['cause']}",
        "dead letters, dry run": "/dead-letters/replay",
        "subscribers": "/subscribers",
        "subscriber": f"/subscribers/{subscriber}",
        "event, dead-lettered": f"/events/{letter['event_id']}",
    }


def _measure(
    visitor: Visitor, name: str, path: str, point: str, figures: Collector, options: Options
) -> None:
    visitor.get(path)
    took_ms: list[Any] = sorted(timed(lambda: visitor.get(path), options.seconds * SHARE))
    cuts = quantiles(took_ms, n=100) if len(took_ms) > 1 else took_ms * 99
    figures.add(name, point, MEDIAN, "ms", cuts[49])
    figures.add(name, point, SLOWEST, "ms", cuts[98])


def _summary(figures: Collector, point: str) -> str:
    found = sorted(
        ((figures.row(name, point, SLOWEST).rounds[-1], name) for name in figures.series()),
        reverse=True,
    )
    return ", ".join(f"{name} {took:.0f} ms" for took, name in found[:6])


SCENARIO = Scenario(
    name="pages",
    title="Pages of the backoffice on a large store",
    method=(
        "One store is filled through the batch API and processed; then hundreds of other names, "
        "failed deliveries, refused requests, conflicts and a month of counters are added. With "
        "headrace serve on it, every page is asked for again and again over one connection, one "
        "at a time, as the owner of the instance, with each filter that it has."
    ),
    run=run,
    stores=frozenset(StoreKind),
)

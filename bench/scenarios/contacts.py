"""Do lists, search, upserts and audience pages stay quick with very many contacts?"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

import msgspec

from bench import contenders
from bench.collector import Collector
from bench.contenders import fresh_folder
from bench.load.contacts import CONTACTS_A_REQUEST, Caller, fill, person, timed
from bench.options import Options
from bench.results import Bars, Better, Comparison, Outcome
from bench.scenario import Progress, Scenario
from bench.stores import StoreKind

SMALL_CONTACTS = 1_000
FILL_STEP_CONTACTS = 100_000
#: One contact in so many is in the audience, and has chosen the topic.
MEMBERS_ONE_IN = 10
FILLING = "created by batches"
MEDIAN, SLOWEST = "median", "99th percentile"
BAR_MS, GOAL_MS = 50.0, 10.0

Request = Callable[[], Any]


class Store:
    """A store with this many people, an audience and a topic of some of them."""

    def __init__(self, caller: Caller, people: int, audience_id: str, topic_id: str) -> None:
        self._caller = caller
        self._people = people
        self._audience_id = audience_id
        self._topic_id = topic_id
        self._draw = random.Random(1)

    def _get(self, query: Callable[[], str]) -> Request:
        return lambda: self._caller.ask("GET", f"/contacts?{query()}")

    def _somebody(self) -> int:
        return self._draw.randrange(self._people)

    def requests(self) -> dict[str, Request]:
        """The requests, by name."""
        within = f"/audiences/{self._audience_id}/contacts"
        return {
            "first page": self._get(str),
            "by e-mail": self._get(lambda: f"email={person(self._somebody())['email']}"),
            "search, one": self._get(lambda: f"search=person{self._somebody():08}"),
            "search, hundred": self._get(lambda: f"search=user_{self._somebody():08}"[:-2]),
            "search, all": self._get(lambda: "search=user_"),
            "audience": lambda: self._caller.ask("GET", within),
            "audience and search": self._get(
                lambda: f"audience_id={self._audience_id}&search=user_{self._somebody():08}"[:-2]
            ),
            "topic": self._get(lambda: f"topic_id={self._topic_id}"),
            "rare property": self._get(lambda: "property.plan=gold"),
            "upsert": self._upsert,
        }

    def _upsert(self) -> Any:
        chosen = person(self._somebody())
        chosen["properties"]["seen"] = self._draw.randrange(10**6)
        body = msgspec.json.encode(chosen)
        return self._caller.ask("POST", "/contacts?upsert=true", body)


def run(options: Options, progress: Progress) -> Outcome:
    """Fill a small and a large store, then query both in turns."""
    figures = Collector()
    points = {f"{count:,} contacts": count for count in (SMALL_CONTACTS, options.contacts)}
    with (
        _filled(options.stores, SMALL_CONTACTS, figures, lambda _: None) as small,
        _filled(options.stores, options.contacts, figures, progress) as large,
    ):
        for number in range(1, options.rounds + 1):
            for point, store in zip(points, (small, large), strict=True):
                _measure(store, point, figures, options)
            progress(f"round {number}: {_summary(figures, list(points)[-1])}")
    large_point = list(points)[-1]
    names = tuple(small.requests())
    return Outcome(
        rows=figures.rows(),
        comparisons=tuple(
            Comparison(
                what=f"{name}, 99th percentile with {large_point}",
                unit="ms",
                rounds=figures.row(name, large_point, SLOWEST).rounds,
                bar=BAR_MS,
                goal=GOAL_MS,
                better=Better.LOWER,
            )
            for name in names
        ),
        charts=(
            Bars(
                title="Median of a request, few and many contacts",
                unit="ms",
                groups=names,
                series={
                    point: tuple(figures.row(name, point, MEDIAN).rounds for name in names)
                    for point in points
                },
            ),
        ),
    )


@contextmanager
def _filled(stores: Path, people: int, figures: Collector, progress: Progress) -> Iterator[Store]:
    with (
        fresh_folder(stores, "contacts") as folder,
        contenders.headrace_api(folder) as up,
        Caller(up.port, up.api_key) as caller,
    ):
        ids = _fill(caller, people, figures, progress)
        audience = caller.ask("POST", "/audiences", b'{"name":"some"}')["data"]
        topic = caller.ask("POST", "/topics", b'{"name":"news"}')["data"]
        members = ids[::MEMBERS_ONE_IN]
        for start in range(0, len(members), CONTACTS_A_REQUEST):
            part = members[start : start + CONTACTS_A_REQUEST]
            body = msgspec.json.encode({"contact_ids": part})
            caller.ask("POST", f"/audiences/{audience['id']}/contacts", body)
        for contact_id in members[:CONTACTS_A_REQUEST]:
            path = f"/contacts/{contact_id}/topics/{topic['id']}"
            caller.ask("PUT", path, b'{"is_subscribed":true}')
        # Write back the page cache now, not while the first round is measured.
        os.sync()
        yield Store(caller, people, audience["id"], topic["id"])


def _fill(caller: Caller, people: int, figures: Collector, progress: Progress) -> list[str]:
    ids: list[str] = []
    began = time.perf_counter()
    while len(ids) < people:
        ids += fill(caller, len(ids), min(FILL_STEP_CONTACTS, people - len(ids)))
        progress(f"filling: {len(ids):,} of {people:,} contacts")
    speed = people / (time.perf_counter() - began)
    figures.add(FILLING, f"{people:,} contacts", "speed", "contacts/s", speed)
    return ids


def _measure(store: Store, point: str, figures: Collector, options: Options) -> None:
    requests = store.requests()
    for request in requests.values():
        request()
    for name, request in requests.items():
        took_ms = sorted(timed(request, options.seconds / 2))
        cuts = quantiles(took_ms, n=100) if len(took_ms) > 1 else took_ms * 99
        figures.add(name, point, MEDIAN, "ms", cuts[49])
        figures.add(name, point, SLOWEST, "ms", cuts[98])


def _summary(figures: Collector, point: str) -> str:
    parts = (
        f"{row.series} {row.rounds[-1]:.1f} ms"
        for row in figures.rows()
        if row.point == point and row.metric == MEDIAN
    )
    return ", ".join(parts)


SCENARIO = Scenario(
    name="contacts",
    title="Very many contacts against few",
    method=(
        "Two stores are filled by POST /contacts/batch; every tenth contact enters an audience "
        "and a thousand choose a topic; nothing processes what that causes. Then in turns on both: "
        "each kind of request is repeated over one connection, one at a time, about people drawn "
        "at random. A page has 50 contacts; a rare property is one in a thousand."
    ),
    run=run,
    stores=frozenset(StoreKind),
)

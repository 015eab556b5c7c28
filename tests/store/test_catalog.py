"""Writing the catalog during processing, and reading it."""

from __future__ import annotations

import json

import pytest

from headrace.domain.catalog.personal_data import EMAIL, PHONE
from headrace.domain.catalog.value_types import type_names
from headrace.domain.events.event import Source
from headrace.domain.upkeep.retention import HOUR_US
from headrace.store.contract.catalog import (
    DRIFT_KEPT,
    GONE_AFTER,
    HOURS_KEPT,
    PATHS_MAX,
    CatalogFilter,
    Drift,
    DriftKind,
)
from tests.support.cataloguing import EVENT, Cataloguing
from tests.support.events import START_US
from tests.support.session import StoreSession

HOUR = START_US // HOUR_US


@pytest.fixture
def catalog(session: StoreSession) -> Cataloguing:
    return Cataloguing(session)


def drift(catalog: Cataloguing, event: str = EVENT) -> list[Drift]:
    return list(catalog.entry(event).drift)


# Counts


def test_a_name_is_counted_by_source_and_hour(catalog: Cataloguing) -> None:
    catalog.sent({}, {}, received_us=START_US)
    catalog.sent({}, source=Source.BATCH, received_us=START_US)
    catalog.sent({}, received_us=START_US + HOUR_US)
    name = catalog.entry().name
    assert (name.events, name.inspected) == (4, 4)
    assert (name.first_us, name.last_us) == (START_US, START_US + HOUR_US)
    assert name.sources == 1 << Source.API | 1 << Source.BATCH
    hours = catalog.run(catalog.session.store.catalog.hours(1, [EVENT], HOUR, HOUR + 5))
    assert [(h.hour - HOUR, h.source, h.events) for h in hours] == [
        (0, Source.API, 2),
        (0, Source.BATCH, 1),
        (1, Source.API, 1),
    ]


def test_counts_are_of_all_events_however_large_the_backlog(catalog: Cataloguing) -> None:
    catalog.accept(*({"a": n} for n in range(384)))
    catalog.accept(*({"a": n} for n in range(384)))
    catalog.process()
    assert catalog.entry().name.events == 768


def test_projects_have_catalogs_of_their_own(catalog: Cataloguing) -> None:
    catalog.sent({"mine": 1}, project_id=1)
    catalog.sent({"theirs": 1}, project_id=2)
    assert list(catalog.paths()) == ["mine"]
    assert [path.path for path in catalog.entry(project_id=2).paths] == ["theirs"]
    assert catalog.run(catalog.session.store.catalog.entry(3, EVENT)) is None


def test_an_event_that_fails_is_not_in_the_catalog(catalog: Cataloguing) -> None:
    """Its effects commit with its state, or not at all."""
    catalog.accept({"a": 1})
    assert catalog.run(catalog.session.store.catalog.entry(1, EVENT)) is None
    catalog.process()
    catalog.process()
    assert catalog.entry().name.events == 1


# Paths


def test_paths_have_types_and_shares(catalog: Cataloguing) -> None:
    catalog.sent({"total": 1, "items": [{"sku": "a"}, {"sku": "b"}]}, {"total": None})
    paths = catalog.paths()
    assert list(paths) == ["items", "items[]", "items[].sku", "total"]
    assert type_names(paths["total"].types) == ["number", "null"]
    assert [paths[p].present for p in ("total", "items", "items[].sku")] == [2, 1, 1]


def test_paths_past_the_limit_are_counted(catalog: Cataloguing) -> None:
    catalog.sent({f"a{n:03}": 1 for n in range(PATHS_MAX - 1)})
    catalog.sent({"b": 1, "c": 1, "a000": 1})
    catalog.sent({"c": 1, "d": 1})
    name = catalog.entry().name
    assert (name.paths, name.paths_over) == (PATHS_MAX, 3)
    paths = catalog.paths()
    assert len(paths) == PATHS_MAX
    assert "b" in paths
    assert paths["a000"].present == 2


def test_likely_personal_data_is_reported_by_path(catalog: Cataloguing) -> None:
    catalog.sent(
        {
            "contact": "write to mike@x.example please",
            "card": "4242 4242 4242 4242",
            "from": "192.0.2.7",
            "call": "+49 170 1234567",
            "first_name": "Mike",
            "items": [{"name": "Shoe"}],
        }
    )
    assert catalog.personal() == {
        "contact": ["email"],
        "card": ["card_number"],
        "from": ["ip_address"],
        "call": ["phone"],
        "first_name": ["name"],
    }


# Drift


def test_first_event_is_not_drift(catalog: Cataloguing) -> None:
    catalog.sent({"a": 1})
    assert drift(catalog) == []


def test_a_new_path_names_its_event(catalog: Cataloguing) -> None:
    catalog.sent({"a": 1})
    _, second, _ = catalog.sent({"a": 1}, {"a": 1, "b": 1}, {"a": 1, "b": 1})
    assert drift(catalog) == [Drift(DriftKind.NEW_PATH, "b", 0, START_US, second.id, 2)]
    assert catalog.entry().name.drift_us == START_US


def test_a_new_path_in_the_very_first_batch_is_drift(catalog: Cataloguing) -> None:
    _, second = catalog.sent({"a": 1}, {"a": 1, "b": 1})
    assert drift(catalog) == [Drift(DriftKind.NEW_PATH, "b", 0, START_US, second.id, 1)]


@pytest.mark.parametrize("batches", [1, 2])
def test_a_new_type_names_its_event(catalog: Cataloguing, batches: int) -> None:
    events = (
        catalog.sent({"a": 1}, {"a": "x"}, {"a": "y"})
        if batches == 1
        else [e for p in (1, "x", "y") for e in catalog.sent({"a": p})]
    )
    (found,) = drift(catalog)
    assert (found.kind, found.path, type_names(found.type)) == ("new_type", "a", ["string"])
    assert (found.event_id, found.before) == (events[1].id, 1)


def test_path_that_stays_absent_is_gone_once(catalog: Cataloguing) -> None:
    catalog.sent(*[{"a": 1, "b": 1}] * (GONE_AFTER + 5))
    first, *_ = catalog.sent(*[{"a": 1}] * GONE_AFTER)
    catalog.sent(*[{"a": 1}] * 3 * GONE_AFTER)
    (found,) = drift(catalog)
    assert (found.kind, found.path, found.event_id) == ("path_gone", "b", first.id)
    assert found.before == GONE_AFTER + 5
    assert catalog.paths()["b"].gone_us is not None
    assert catalog.paths()["a"].gone_us is None


def test_path_that_comes_back_is_present(catalog: Cataloguing) -> None:
    catalog.sent(*[{"b": 1}] * GONE_AFTER)
    catalog.sent(*[{}] * 2 * GONE_AFTER)
    catalog.sent({"b": 1})
    assert catalog.paths()["b"].gone_us is None


def test_occasional_path_is_never_gone(catalog: Cataloguing) -> None:
    catalog.sent(*([{"b": 1}, {}] * GONE_AFTER))
    catalog.sent(*[{}] * 3 * GONE_AFTER)
    assert [d for d in drift(catalog) if d.kind is DriftKind.PATH_GONE] == []


def test_kept_drift_is_limited(catalog: Cataloguing) -> None:
    catalog.sent({})
    for part in range(3):
        catalog.sent({f"a{part}_{n:02}": 1 for n in range(60)})
    found = drift(catalog)
    assert len(found) == DRIFT_KEPT
    assert catalog.entry().name.drifts == 180
    assert found[0].before == 3


# Examples


def test_the_example_shows_structure_and_no_value(catalog: Cataloguing) -> None:
    (event,) = catalog.sent(
        {"order": "ord_1", "total": 12.5, "paid": False, "note": None, "to": "mike@x.example"}
    )
    entry = catalog.entry()
    assert entry.example_id == event.id
    assert json.loads(entry.example or "") == {
        "order": "<text>",
        "total": 0.5,
        "paid": True,
        "note": None,
        "to": "<email>",
    }


def test_the_example_follows_drift(catalog: Cataloguing) -> None:
    catalog.sent({"a": 1})
    catalog.sent({"a": 1, "b": 1})
    assert json.loads(catalog.entry().example or "") == {"a": 0, "b": 0}


def test_nothing_of_a_value_is_stored(catalog: Cataloguing) -> None:
    canaries = ("canary.mike@x.example", "4242424242424242", "+49 170 1234567", "CanaryName")
    for canary in canaries:
        catalog.sent(
            {"plain": canary, "deep": [{"x": {"y": [canary]}}], "text": f"say {canary} twice"},
            {"now": {"new": canary}, "plain": 5},
        )
    for key in (
        "canary.mike@x.example",
        "4242424242424242",
        "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10",
    ):
        catalog.sent({"by": {key: {"x": 1}}, key: "x"})
    everything = catalog.everything().lower()
    for canary in ("canary", "424242", "1234567", "c6717a52", "x.example"):
        assert canary not in everything


# Reading


def test_names_are_filtered_and_paged(catalog: Cataloguing) -> None:
    for event in ("order.completed", "order.paid", "user.seen"):
        catalog.sent({"to": "mike@x.example"} if event == "user.seen" else {}, event=event)
    catalog.sent({}, event="order.paid", source=Source.IMPORT)
    store = catalog.session.store.catalog

    def names(after: str = "", limit: int = 10, **wanted: object) -> list[str]:
        found = catalog.run(store.names(1, CatalogFilter(**wanted), after, limit))  # type: ignore[arg-type]
        return [name.event for name in found if not name.event.startswith("sendrealm.")]

    assert names() == ["order.completed", "order.paid", "user.seen"]
    assert names(limit=2) == ["order.completed", "order.paid"]
    assert names(after="order.paid") == ["user.seen"]
    assert names(prefix="order.") == ["order.completed", "order.paid"]
    assert names(source=Source.IMPORT.value) == ["order.paid"]
    assert names(personal=EMAIL | PHONE) == ["user.seen"]
    assert names(personal=PHONE) == []
    assert catalog.run(store.totals(1)).names == 4
    assert catalog.run(store.totals(2)).names == 0


def test_old_hours_are_pruned(catalog: Cataloguing) -> None:
    catalog.sent({}, received_us=START_US)
    catalog.sent({}, received_us=START_US + HOUR_US)
    store = catalog.session.store.catalog
    now_us = START_US + (HOURS_KEPT + 1) * HOUR_US
    assert catalog.run(store.prune(now_us - HOUR_US, 10)) == 0
    assert catalog.run(store.prune(now_us, 10)) == 1
    assert catalog.run(store.prune(now_us, 10)) == 0
    hours = catalog.run(store.hours(1, [EVENT], 0, HOUR + 5))
    assert [h.hour for h in hours] == [HOUR + 1]
    assert catalog.entry().name.events == 2

"""`GET /events`, and finding events by id or key."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Client

CONTACTS = [f"c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a{number:02}" for number in range(3)]
EVENTS = 240


def sent(number: int) -> dict[str, Any]:
    event: dict[str, Any] = {
        "event": f"e{number % 3}",
        "occurred_at": f"2026-01-{number % 28 + 1:02}T00:00:00Z",
        "idempotency_key": f"k{number}",
    }
    match number % 4:
        case 0:
            event["contact_id"] = CONTACTS[number % 3]
        case 1:
            event["external_id"] = f"x{number % 5}"
        case 2:
            event["email"] = f"m{number % 5}@x.org"
        case _:
            event |= {"external_id": f"x{number % 5}", "email": f"M{number % 5}@x.org"}
    return event


@pytest.fixture(scope="module")
def filled(server: HttpServer) -> Iterator[tuple[Project, list[dict[str, Any]]]]:
    """A project with events of all kinds, and those events, newest first."""
    project = server.project()
    client = project.client()
    half = EVENTS // 2
    stored = [
        sent(number) | {"id": client.send(sent(number)).data["id"], "source": "api"}
        for number in range(half)
    ]
    batch = [sent(number) for number in range(half, EVENTS)]
    answer = client.post("/events/batch", json.dumps({"events": batch}))
    for event, item in zip(batch, answer.data, strict=True):
        stored.append(event | {"id": item["data"]["id"], "source": "batch"})
    yield project, stored[::-1]
    project.close()


def walk(client: Client, query: dict[str, Any], limit: int) -> list[list[dict[str, Any]]]:
    """All pages of a list."""
    pages = []
    cursor: str | None = ""
    while cursor is not None:
        full = {**query, "limit": limit} | ({"cursor": cursor} if cursor else {})
        answer = client.get("/events?" + urllib.parse.urlencode(full))
        assert answer.status == 200
        pages.append(answer.data)
        assert len(answer.data) <= limit
        cursor = answer.json()["next_cursor"]
        assert len(pages) <= EVENTS + 2
    return pages


def matches(event: dict[str, Any], query: dict[str, Any]) -> bool:
    for name, value in query.items():
        match name:
            case "email":
                found = event.get("email", "").lower() == value.lower()
            case "occurred_after":
                found = event["occurred_at"] >= value
            case "occurred_before":
                found = event["occurred_at"] < value
            case _:
                found = event.get(name) == value
        if not found:
            return False
    return True


TIMES = st.integers(1, 28).map(lambda day: f"2026-01-{day:02}T00:00:00Z")
QUERIES = st.fixed_dictionaries(
    {"source": st.sampled_from(["api", "batch"])},
    optional={
        "event": st.sampled_from(["e0", "e1", "e2", "none"]),
        "external_id": st.sampled_from(["x0", "x1", "x4", "X1"]),
        "email": st.sampled_from(["m0@x.org", "M1@X.ORG", "nobody@x.org"]),
        "occurred_after": TIMES,
        "occurred_before": TIMES,
    },
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES, limit=st.sampled_from([1, 2, 7, 50, 199, 200]))
def test_all_pages_together_hold_each_matching_event_once_newest_first(
    filled: tuple[Project, list[dict[str, Any]]], query: dict[str, Any], limit: int
) -> None:
    project, stored = filled
    client = project.client()

    pages = walk(client, query, limit)

    expected = [event["id"] for event in stored if matches(event, query)]
    found = [event["id"] for page in pages for event in page]
    # A bound of time may be inclusive or exclusive; this test does not depend on it.
    edge = {query.get("occurred_after"), query.get("occurred_before")}
    on_edge = {event["id"] for event in stored if event["occurred_at"] in edge}
    assert [x for x in found if x not in on_edge] == [x for x in expected if x not in on_edge]
    assert len(found) == len(set(found))
    client.close()


def test_new_events_do_not_disturb_paging(client: Client) -> None:
    for number in range(10):
        client.send({"event": "a", "external_id": f"{number}"})
    seen = []
    target: str | None = "/events?event=a&limit=3"
    while target is not None:
        answer = client.get(target)
        seen += [event["external_id"] for event in answer.data]
        client.send({"event": "a", "external_id": "late"})
        cursor = answer.json()["next_cursor"]
        target = cursor and f"/events?event=a&limit=3&cursor={cursor}"

    assert seen == [str(number) for number in range(9, -1, -1)]


def test_received_times_and_status_filter_as_well(client: Client) -> None:
    client.send({"event": "a", "external_id": "x"})
    received = client.get("/events?event=a").data[0]["received_at"]

    assert len(client.get("/events?event=a&received_after=2026-01-01T00:00:00Z").data) == 1
    assert client.get("/events?event=a&received_before=2020-01-01T00:00:00Z").data == []
    assert client.get("/events?event=a&received_after=2999-01-01T00:00:00Z").data == []
    assert received.endswith("Z")
    assert client.get("/events?event=a&status=dead_lettered").data == []


def test_an_offset_in_a_query_is_encoded(client: Client) -> None:
    assert client.get("/events?occurred_after=2026-01-01T00:00:00%2B02:00").status == 200
    # A literal plus is a space in a query.
    assert client.get("/events?occurred_after=2026-01-01T00:00:00+02:00").status == 422


def test_a_prefix_finds_names_that_begin_with_it(client: Client) -> None:
    for name in ("order.completed", "order.item.added", "order", "orders.closed", "visit"):
        client.send({"event": name, "external_id": "x"})

    def found(pattern: str) -> set[str]:
        answer = client.get(f"/events?event={pattern}&external_id=x")
        return {event["event"] for event in answer.data}

    assert found("order.*") == {"order.completed", "order.item.added"}
    assert found("order.item.*") == {"order.item.added"}
    assert found("order") == {"order"}
    assert found("*") == {"order.completed", "order.item.added", "order", "orders.closed", "visit"}
    system = client.get("/events?event=sendrealm.*")
    assert system.status == 200
    for wrong in ("ord*", "*.completed", "order.**", "order.*.added", "Order.*", ".*"):
        assert client.get(f"/events?event={wrong}").fields == ["event"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=1000000000",
        "limit=0",
        "limit=-1",
        "limit=201",
        "limit=abc",
        "limit=",
        "limit=1.0",
        "limit=+1",
        "limit=%D9%A3",
        "limit=1e2",
        "limit=" + "9" * 5000,
        "limit=1&limit=2",
        "cursor=",
        "cursor=x",
        "cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "cursor=%00",
        "cursor=é",
        "cursor=" + "A" * 7000,
        "event=Bad%20Name",
        "event=%27;%20drop%20table%20events;--",
        "event=a%00",
        "event=%FF",
        "event=a&event=b",
        "event=" + "a" * 7000,
        "contact_id=x",
        "contact_id=1%20OR%201=1",
        "external_id=",
        "external_id=%0A",
        "email=nobody",
        "status=done",
        "status=1",
        "source=API",
        "occurred_after=yesterday",
        "received_before=1780928100",
        "unknown=1",
        "Event=a",
        "event[]=a",
        "%65vents=a",
        "&".join(f"a{number}=1" for number in range(51)),
    ],
    ids=lambda query: query[:40],
)
def test_a_query_outside_the_rules_is_422(shared: Project, query: str) -> None:
    answer = shared.client().request("GET", f"/events?{query}".encode().decode("latin-1"))

    assert answer.status in (422, 400), answer
    assert answer.status == 422 or not query.isascii()


def test_a_query_that_names_a_value_of_sql_finds_nothing_else(client: Client) -> None:
    client.send({"event": "a", "external_id": "x"})
    for value in ("' OR '1'='1", "x' --", "%", "_", "*", "x\\"):
        query = urllib.parse.urlencode({"external_id": value})
        assert client.get(f"/events?{query}").data == []


def cursor_of(client: Client, query: str = "") -> str:
    for number in range(3):
        client.send({"event": "a", "external_id": f"{number}"})
    return str(client.get(f"/events?limit=1{query}").json()["next_cursor"])


def test_a_cursor_is_good_for_its_own_list_only(server: HttpServer, project: Project) -> None:
    client = project.client()
    cursor = cursor_of(client)
    stranger = server.project()

    assert client.get(f"/events?cursor={cursor}").status == 200
    assert client.get(f"/events?limit=7&cursor={cursor}").status == 200
    for target in ("/events?event=a&", "/events?source=api&", "/rejections?"):
        assert client.get(f"{target}cursor={cursor}").fields == ["cursor"]
    assert stranger.client().get(f"/events?cursor={cursor}").status == 422
    stranger.close()


def test_no_changed_cursor_is_taken(client: Client) -> None:
    cursor = cursor_of(client)
    alphabet = "AQgwBCabz019-_"
    changed = {
        cursor[:place] + letter + cursor[place + 1 :]
        for place in range(len(cursor))
        for letter in alphabet
    }
    changed |= {cursor[:-1], cursor + "A", cursor + "=", cursor + "==", cursor[1:], cursor * 2}
    changed |= {cursor.swapcase(), f"%20{cursor}", f"{cursor}%0A"}

    for text in changed - {cursor}:
        assert client.get(f"/events?cursor={text}").status == 422, text


@pytest.mark.parametrize(
    "event_id",
    [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "01977f5e-0000-7000-8000-000000000000",
        "x",
        "1",
        "-1",
        "%00",
        "%FF",
        "..",
        "../events",
        "'; drop table events; --".replace(" ", "%20"),
        "a" * 5000,
        "{}",
        "null",
    ],
)
def test_an_unknown_id_is_404(shared: Project, event_id: str) -> None:
    answer = shared.client().get(f"/events/{event_id}")

    assert (answer.status, answer.code) == (404, "NotFound")


def test_an_event_of_another_project_is_as_absent_as_none(
    server: HttpServer, project: Project
) -> None:
    sent_event = {"event": "a", "external_id": "x", "idempotency_key": "k"}
    event_id = project.client().send(sent_event).data["id"]
    stranger = server.project()
    client = stranger.client()

    absent = client.get("/events/01977f5e-0000-7000-8000-000000000000")
    foreign = client.get(f"/events/{event_id}")
    assert (foreign.status, foreign.body) == (404, absent.body)
    by_key = client.get("/events/by-idempotency-key/k")
    assert (by_key.status, by_key.body) == (404, absent.body)
    assert client.get("/events").data == []
    assert client.get("/events?external_id=x").data == []
    stranger.close()


@pytest.mark.parametrize(
    "key",
    ["a", "a b", "a/b", "/", "//", "a/", "?", "#", "%", "%41", "..", "../x", "stream", "~" * 255],
)
def test_an_event_is_found_by_its_key(client: Client, key: str) -> None:
    event_id = client.send({"event": "a", "external_id": "x", "idempotency_key": key}).data["id"]

    answer = client.get("/events/by-idempotency-key/" + urllib.parse.quote(key, safe=""))

    assert (answer.status, answer.data["id"]) == (200, event_id)


@pytest.mark.parametrize("key", ["absent", "", "%00", "%FF", "é", "a" * 5000])
def test_an_unknown_key_is_404(client: Client, key: str) -> None:
    quoted = key if "%" in key else urllib.parse.quote(key)
    assert client.get(f"/events/by-idempotency-key/{quoted}").status == 404


def test_an_id_may_be_asked_for_in_upper_case(client: Client) -> None:
    event_id = client.send({"event": "a", "external_id": "x"}).data["id"]

    assert client.get(f"/events/{event_id.upper()}").data["id"] == event_id

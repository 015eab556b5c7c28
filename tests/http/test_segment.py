"""The routes of the Segment API: who may, what becomes of a message, and the responses."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.config import SettingError, compat_families
from headrace.domain.access.api_keys import Scope
from headrace.domain.timestamps import now_us, parse, to_text
from headrace.http.routing.route import PUBLIC
from headrace.http.table import served_routes
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client, Response

TRACK = {"type": "track", "event": "Order Completed", "userId": "u1", "messageId": "m1"}
SINGLES = ("track", "identify", "page", "screen", "group", "alias")


def basic(user: str, password: str = "") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def nobody(server: HttpServer) -> Iterator[Client]:
    """A client without a key."""
    client = Client(server.port, None)
    yield client
    client.close()


def batch(*messages: Any, **more: Any) -> str:
    return json.dumps({"batch": messages, **more})


def events(client: Client, **filters: str) -> list[dict[str, Any]]:
    query = "".join(f"&{name}={value}" for name, value in filters.items())
    found: list[dict[str, Any]] = client.get(f"/events?limit=200&source=segment{query}").data
    return found


def event_of(client: Client, message: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The event that a message becomes."""
    answer = client.post("/v1/batch", batch(message, **more))
    assert (answer.status, answer.json()) == (200, {"success": True})
    (event,) = events(client)
    return event


# --- who may ---


def test_a_key_is_found_wherever_clients_put_it(project: Project, nobody: Client) -> None:
    key = project.key
    prefix, public_id, secret = key.split("_")
    ways: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"Authorization": f"Bearer {key}"}, {}),
        (basic(key), {}),
        (basic("site", key), {}),
        ({"X-Write-Key": f"{public_id}:{secret}"}, {"writeKey": f"{public_id}:***"}),
        ({"X-Write-Key": f"{prefix}_{public_id}:{secret}"}, {}),
        ({}, {"writeKey": key}),
    ]
    for number, (headers, members) in enumerate(ways):
        message = {**TRACK, "messageId": f"m{number}"}
        answer = nobody.post("/v1/batch", batch(message, **members), headers=headers)
        assert (answer.status, answer.json()) == (200, {"success": True}), (headers, members)
        single = {**message, "messageId": f"s{number}", **members}
        answer = nobody.post("/v1/track", json.dumps(single), headers=headers)
        assert (answer.status, answer.json()) == (200, {"success": True}), (headers, members)
    found = events(project.client())
    assert len(found) == 2 * len(ways)
    assert key not in json.dumps(found)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("x"),
        basic("hr_" + "0" * 16 + "_" + "0" * 64),
        {"X-Write-Key": "a:b"},
        {"Authorization": "Basic !"},
    ],
)
def test_without_a_known_key_it_is_401_in_the_form_of_the_clients(
    nobody: Client, headers: dict[str, str]
) -> None:
    answer = nobody.post("/v1/batch", batch(TRACK), headers=headers)
    failure = answer.json()
    assert answer.status == failure["status"] == 401
    assert answer.headers["www-authenticate"] == "Bearer, Basic"
    assert (failure["success"], failure["code"]) == (False, "Unauthorized")
    assert failure["message"] == failure["error"]["message"]


def test_a_key_needs_the_scope(server: HttpServer, project: Project) -> None:
    client = project.client(server.issue_key(project, [Scope.READ]))
    wait_until(lambda: client.get("/events").status == 200, 5)
    answer = client.post("/v1/batch", batch(TRACK))
    assert (answer.status, answer.json()["code"]) == (403, "Forbidden")


def test_a_body_of_an_unknown_sender_is_smaller(project: Project, nobody: Client) -> None:
    padded = batch(TRACK, padding="x" * 1024 * 1024)
    assert nobody.post("/v1/batch", padded).status == 413
    assert project.client().post("/v1/batch", padded).status == 200
    packed = gzip.compress(batch(TRACK, padding="x" * 6 * 1024 * 1024).encode())
    for client in (nobody, project.client()):
        answer = client.post("/v1/batch", packed, headers={"Content-Encoding": "gzip"})
        assert (answer.status, answer.json()["code"]) == (413, "RequestTooLarge")


def test_keys_reach_neither_logs_nor_rejections_nor_traces(
    server: HttpServer, project: Project, nobody: Client
) -> None:
    secret = project.key.rpartition("_")[2]
    bad = {"type": "track", "writeKey": project.key, "messageId": "bad"}
    sent = batch(TRACK | {"writeKey": project.key}, bad, writeKey=project.key)
    assert nobody.post("/v1/batch", sent).status == 200
    assert nobody.post("/v1/track", json.dumps(bad)).status == 400
    assert nobody.post("/v1/batch", json.dumps({"writeKey": project.key})).status == 400
    client = project.client()
    wait_until(lambda: len(client.get("/rejections").data) == 3, 5)
    (event,) = events(client)
    paths = (f"/events/{event['id']}", f"/events/{event['id']}/trace", "/rejections")
    shown = [client.get(path).body.decode() for path in paths]
    assert all(secret not in text for text in (*shown, server.log_text()))


# --- what a message becomes ---


def test_a_track_keeps_its_properties_byte_for_byte(client: Client) -> None:
    properties = '{"total": 49.90,"id":12345678901234567890123}'
    message = json.dumps({**TRACK, "context": {"ip": "10.0.0.1"}})
    body = f'{{"batch":[{message[:-1]},"properties":{properties}}}]}}'
    assert client.post("/v1/batch", body).status == 200
    (event,) = events(client)
    text = client.get(f"/events/{event['id']}").body.decode()
    added = ',"$event":"Order Completed","$context":{"ip": "10.0.0.1"}}'
    assert properties[:-1] + added in text
    assert event["event"] == "order_completed"
    assert event["external_id"] == "u1"
    assert event["idempotency_key"] == "segment:m1"
    assert event["source"] == "segment"
    trace = client.get(f"/events/{event['id']}/trace").data
    assert trace["entries"][0]["text"].startswith("Received through the Segment API with key ")


KINDS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "identify": (
        {
            "userId": 42,
            "traits": {
                "email": "A@b.org",
                "plan": "pro",
                "address": {"city": "Wien", "geo": {"lat": 1}},
                "tags": [1, 2],
                "likes": ["tea"],
                "gone": None,
            },
        },
        "user.identified",
        {
            "$set": {
                "email": "A@b.org",
                "plan": "pro",
                "address.city": "Wien",
                "address.geo": '{"lat": 1}',
                "tags": "[1, 2]",
                "likes": ["tea"],
            }
        },
    ),
    "identify of rudder": (
        {"type": "identify", "userId": "42", "context": {"traits": {"email": "a@b.org"}}},
        "user.identified",
        {"$set": {"email": "a@b.org"}, "$context": {"traits": {"email": "a@b.org"}}},
    ),
    "page": (
        {"userId": "42", "name": "Home", "category": "Docs", "properties": {"path": "/"}},
        "page.viewed",
        {"path": "/", "name": "Home", "category": "Docs"},
    ),
    "page with a name in its properties": (
        {"type": "page", "userId": "42", "name": "Home", "properties": {"name": "Start"}},
        "page.viewed",
        {"name": "Start"},
    ),
    "screen": ({"anonymousId": "a", "name": "Home"}, "screen.viewed", {"name": "Home"}),
    "group": (
        {"userId": "42", "groupId": 7, "traits": {"email": "it@acme.org"}},
        "group.joined",
        {"group_id": "7", "traits": {"email": "it@acme.org"}},
    ),
    "alias": ({"userId": "42", "previousId": "a"}, "user.aliased", {"previous_id": "a"}),
    "both ids": (
        {"type": "track", "event": "a", "userId": "42", "anonymousId": "x"},
        "a",
        {"$event": "a", "anonymous_id": "x"},
    ),
    "unknown members": (
        {"type": "track", "event": "a", "userId": "42", "channel": "s", "new": {"a": 1}},
        "a",
        {"$event": "a", "$other": {"channel": "s", "new": {"a": 1}}},
    ),
    "a name of its own": (
        {"type": "track", "event": "a", "userId": "42", "properties": {"$event": "b", "c": 1}},
        "a",
        {"$event": "a", "c": 1},
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_type_has_its_event(client: Client, name: str) -> None:
    sent, expected, payload = KINDS[name]
    event = event_of(client, {"type": name.partition(" ")[0], **sent})
    assert event["event"] == expected
    assert event["payload"] == payload
    assert event["external_id"] == str(sent.get("userId", "anon:a"))


def test_who_a_message_is_about(client: Client) -> None:
    """The address identifies, except of a group; nobody is an anonymous id that many share."""
    messages = [
        {"type": "track", "event": "a", "context": {"traits": {"email": "a@b.org"}}},
        {"type": "track", "event": "b", "userId": "u", "anonymousId": "undefined"},
        {"type": "track", "event": "c", "anonymousId": "null"},
        {"type": "track", "event": "d", "userId": "null", "anonymousId": "x"},
        {"type": "group", "userId": "u", "groupId": "g", "traits": {"email": "it@acme.org"}},
        {"type": "identify", "userId": "u", "traits": {"email": "no address"}},
    ]
    assert client.post("/v1/batch", batch(*messages)).status == 200
    found = {event["event"]: event for event in events(client)}
    who = {name: (event["external_id"], event["email"]) for name, event in found.items()}
    assert who == {
        "a": (None, "a@b.org"),
        "b": ("u", None),
        "c": ("null", None),
        "d": ("anon:x", None),
        "group.joined": ("u", None),
        "user.identified": ("u", None),
    }


def test_identify_changes_an_address(client: Client) -> None:
    for number, address in enumerate(("old@x.org", "new@x.org")):
        message = {"type": "identify", "userId": "chg", "traits": {"email": address}}
        sent = batch({**message, "timestamp": to_text(now_us() - 1_000_000 + number)})
        assert client.post("/v1/batch", sent).status == 200
    wait_until(lambda: all(each["status"] == "processed" for each in events(client)), 20)
    (contact,) = client.get("/contacts?external_id=chg").data
    assert (contact["email"], contact["properties"]) == ("new@x.org", {})


@pytest.mark.parametrize("path", ["/v1/import", "/v1/b"])
def test_batches_have_other_paths(client: Client, path: str) -> None:
    assert client.post(path, batch(TRACK)).status == 200
    assert len(events(client)) == 1


def test_the_path_of_a_single_says_its_type(client: Client) -> None:
    extra = {"event": "a", "groupId": "g", "previousId": "p", "userId": "u", "type": "page"}
    for kind in SINGLES:
        for path in (f"/v1/{kind}", f"/v1/{kind[0]}", f"/api/s/{kind}", f"/api/s/s2s/{kind}"):
            answer = client.post(path, json.dumps(extra))
            assert (answer.status, answer.json()) == (200, {"success": True}), path
    names = [event["event"] for event in events(client)]
    assert sorted(names) == sorted(
        4 * ["a", "user.identified", "page.viewed", "screen.viewed", "group.joined", "user.aliased"]
    )


# --- bodies and responses ---


@pytest.mark.parametrize(
    "body_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""]
)
def test_json_is_read_whatever_the_content_type_says(client: Client, body_type: str) -> None:
    assert client.post("/v1/batch", batch(TRACK), body_type=body_type).status == 200
    assert len(events(client)) == 1


def test_gzip_is_recognised_with_and_without_its_header(
    project: Project, client: Client, nobody: Client
) -> None:
    packed = gzip.compress(batch(TRACK, writeKey=project.key).encode())
    for sender in (client, nobody):
        for headers in ({"Content-Encoding": "gzip"}, {}):
            assert sender.post("/v1/batch", packed, headers=headers).status == 200
    assert len(events(client)) == 1


def test_good_messages_are_kept_whatever_the_others_are(client: Client) -> None:
    bad: list[Any] = [
        {"type": "track", "event": "x", "messageId": "nobody"},
        {"type": "track", "userId": "u", "messageId": "nameless"},
        {"type": "dance", "userId": "u", "messageId": "unknown"},
        {"type": "alias", "userId": "u", "messageId": "aimless"},
        {**TRACK, "userId": ["u"], "messageId": "list"},
        {**TRACK, "userId": "u" * 256, "messageId": "long"},
        {**TRACK, "properties": "text", "messageId": "text"},
        {**TRACK, "properties": {"a": "x" * 70_000}, "messageId": "large"},
        {**TRACK, "messageId": {"a": 1}},
        *(None, 7, "text", []),
    ]
    answer = client.post("/v1/batch", batch(*bad, TRACK))
    assert (answer.status, answer.json()) == (200, {"success": True})
    assert [event["idempotency_key"] for event in events(client)] == ["segment:m1"]
    wait_until(lambda: len(client.get("/rejections?limit=200").data) == len(bad), 5)
    messages = [each["message"] for each in client.get("/rejections?limit=200").data]
    for message_id in ("nobody", "nameless", "unknown", "aimless", "list", "long", "text", "large"):
        assert any(each.startswith(f"messageId {message_id}: ") for each in messages), message_id
    answer = client.post("/v1/batch", batch(*bad))
    assert (answer.status, answer.json()["status"], answer.json()["success"]) == (400, 400, False)


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "null", "7", "{}", '{"batch":{}}', '{"batch":[]}', '{"batch":null}', "\xff"],
)
def test_what_is_no_batch_is_400(client: Client, body: str) -> None:
    answer = client.post("/v1/batch", body.encode("latin-1"))
    assert (answer.status, answer.json()["status"]) == (400, 400)


def test_a_batch_has_at_most_a_thousand_messages(client: Client) -> None:
    message = {"type": "page", "userId": "u"}
    assert client.post("/v1/batch", batch(*[message] * 1001)).status == 400
    assert client.post("/v1/batch", batch(*[message] * 1000)).status == 200


def test_characters_that_cannot_be_stored_are_replaced(client: Client) -> None:
    r"""A client that cuts an emoji in half must not lose the batch."""
    body = batch(TRACK).replace("u1", r"u\u0000\ud83d\ude00").replace("Order", r"\ud83d \\ud83d")
    assert client.post("/v1/batch", body).status == 200
    (event,) = events(client)
    assert event["external_id"] == "u\ufffd\U0001f600"
    assert event["payload"]["$event"] == "\ufffd \\ud83d Completed"


# --- repeats and clocks ---


def test_a_repeat_with_another_time_is_the_same_event(server: HttpServer, project: Project) -> None:
    """Clients write a new `sentAt` at each attempt, so a corrected time differs."""
    client = project.client()
    for policy in ("return_existing", "reject"):
        server.set_policy(project, "idempotency_conflict", policy)
        for minutes in (90, 60):
            sent = to_text(now_us() + minutes * 60_000_000)
            body = batch({**TRACK, "messageId": policy, "timestamp": sent}, sentAt=sent)
            answer: Response = client.post("/v1/batch", body)
            assert answer.status == 200
            assert "idempotency-mismatch" not in answer.headers
    assert len(events(client)) == 2
    assert not client.get("/rejections").data


@pytest.mark.parametrize(
    ("policy", "browser", "skew_s", "corrected"),
    [
        ("browser", False, -3600, False),
        ("browser", False, 3600, True),
        ("browser", True, -3600, True),
        ("browser", True, 3600, True),
        ("always", False, -3600, True),
        ("never", True, -3600, False),
    ],
)
def test_times_are_corrected_as_the_policy_says(
    server: HttpServer, project: Project, policy: str, browser: bool, skew_s: int, corrected: bool
) -> None:
    server.set_policy(project, "clock_correction", policy)
    client = project.client()
    body_type = "text/plain" if browser else "application/json"

    def happened() -> float:
        """Seconds from now to the time of an event that a wrong clock calls ten minutes old."""
        sent_us = now_us() + skew_s * 1_000_000
        message = {**TRACK, "timestamp": to_text(sent_us - 600_000_000)}
        body = json.dumps({**message, "messageId": to_text(sent_us), "sentAt": to_text(sent_us)})
        assert client.post("/v1/t", body, body_type=body_type).status == 200
        return (parse(events(client)[0]["occurred_at"]) - now_us()) / 1_000_000

    expected = -600 if corrected else skew_s - 600
    # The policy takes effect within seconds.
    wait_until(lambda: abs(happened() - expected) < 300, 5)


def test_a_time_that_cannot_be_used_is_kept_beside(client: Client) -> None:
    event = event_of(client, {**TRACK, "timestamp": "the other day"})
    assert event["payload"]["$timestamp"] == "the other day"
    assert event["occurred_at"] == event["received_at"]
    trace = client.get(f"/events/{event['id']}/trace").data["entries"]
    assert "cannot be used" in trace[0]["text"]


# --- anything ---

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=10,
)
_NAMES: tuple[str, ...] = (
    "type",
    "event",
    "userId",
    "anonymousId",
    "previousId",
    "groupId",
    "messageId",
)
_NAMES += ("properties", "traits", "context", "name", "category", "timestamp", "sentAt", "$set")
_TYPES = st.sampled_from(SINGLES)
_MESSAGE = st.fixed_dictionaries(
    {},
    optional={name: _JSON | st.text(max_size=3) for name in _NAMES}
    | {"type": _TYPES | _JSON, "userId": st.text(min_size=1, max_size=4) | _JSON},
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(messages=st.lists(_MESSAGE | _JSON, max_size=4), more=_JSON, single=st.booleans())
def test_any_json_gets_200_or_400(
    shared: Project, messages: list[Any], more: Any, single: bool
) -> None:
    client = shared.clients[0] if shared.clients else shared.client()
    if single and messages:
        answer = client.post("/v1/t", json.dumps(messages[0]))
    else:
        answer = client.post("/v1/batch", batch(*messages, sentAt=more, context=more))
    assert answer.status in (200, 400, 413), answer.body
    assert answer.json()["success"] is (answer.status == 200)


def test_the_routes_can_be_switched_off() -> None:
    assert any(route.path == "/v1/batch" for route in served_routes(compat_families("segment")))
    none = served_routes(compat_families(""))
    assert [route.access for route in none if route.path == "/v1/track"] == [PUBLIC]
    assert not any(route.family for route in none)
    with pytest.raises(SettingError, match=r"HEADRACE_COMPAT.*'segmnt'"):
        compat_families("segment, segmnt")

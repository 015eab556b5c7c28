"""`POST /events/batch`: a result for every event, in the order sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client, Response

MIB = 1024 * 1024
LINES = "application/x-ndjson"


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"event": "a", "external_id": f"{number}", **more}


def send_array(client: Client, events: list[Any]) -> Response:
    return client.post("/events/batch", json.dumps({"events": events}))


def send_lines(client: Client, events: list[Any]) -> Response:
    return client.post("/events/batch", "\n".join(map(json.dumps, events)), body_type=LINES)


@pytest.fixture(params=[send_array, send_lines], ids=["array", "lines"])
def send(request: pytest.FixtureRequest) -> Any:
    return request.param


def counts(answer: Response) -> tuple[int, int, int]:
    body = answer.json()
    assert len(body["data"]) == body["accepted"] + body["deduplicated"] + body["rejected"]
    return body["accepted"], body["deduplicated"], body["rejected"]


def test_each_event_gets_the_result_it_would_get_alone(client: Client, send: Any) -> None:
    answer = send(client, [event(1), event(2, idempotency_key="k"), event(3)])

    assert answer.status == 200
    assert counts(answer) == (3, 0, 0)
    assert [item["data"]["resolved_identity_value"] for item in answer.data] == ["1", "2", "3"]
    for item in answer.data:
        assert set(item) == {"status", "data"}
        assert client.get(f"/events/{item['data']['id']}").data["source"] == "batch"


def test_one_invalid_event_in_a_hundred_is_rejected_alone(client: Client, send: Any) -> None:
    events = [event(number) for number in range(100)]
    events[41] = {"event": "Bad Name", "external_id": "41"}

    answer = send(client, events)

    assert counts(answer) == (99, 0, 1)
    assert [number for number, item in enumerate(answer.data) if item["status"] != 202] == [41]
    assert answer.data[41]["status"] == 422
    assert answer.data[41]["error"]["code"] == "ValidationError"
    assert answer.data[41]["error"]["details"][0]["field"] == "event"
    assert len(client.get("/events?event=a&limit=200").data) == 99


def test_every_kind_of_rejection_keeps_its_own_status(client: Client, send: Any) -> None:
    answer = send(
        client,
        [
            event(1, event="sendrealm.x"),
            event(2, payload={"a": "x" * 70_000}),
            "x",
            None,
            [],
            event(3),
            {"event": "a"},
        ],
    )

    assert [item["status"] for item in answer.data] == [422, 413, 400, 400, 400, 202, 422]
    codes = [item.get("error", {}).get("code") for item in answer.data]
    assert codes[:3] == ["ReservedEventName", "PayloadTooLarge", "MalformedJson"]


def test_the_same_key_twice_resolves_to_the_first(client: Client, send: Any) -> None:
    answer = send(
        client,
        [
            event(1, idempotency_key="k", payload={"a": 1}),
            event(1, idempotency_key="k", payload={"a": 1}),
            event(1, idempotency_key="k", payload={"a": 2}),
            event(2, idempotency_key="other"),
        ],
    )

    assert [item["status"] for item in answer.data] == [202, 200, 200, 202]
    assert len({item["data"]["id"] for item in answer.data[:3]}) == 1
    assert [item.get("idempotency_mismatch", False) for item in answer.data] == [
        False,
        False,
        True,
        False,
    ]
    assert counts(answer) == (2, 2, 0)


def test_a_repeated_batch_is_all_duplicates(client: Client, send: Any) -> None:
    events = [event(number, idempotency_key=f"k{number}") for number in range(50)]
    first = send(client, events)

    again = send(client, events)

    assert counts(again) == (0, 50, 0)
    ids = [[item["data"]["id"] for item in answer.data] for answer in (first, again)]
    assert ids[0] == ids[1]


def test_a_reused_key_is_rejected_by_policy(
    server: HttpServer, project: Project, send: Any
) -> None:
    client = project.client()
    client.send(event(1, idempotency_key="k"))
    server.set_policy(project, "idempotency_conflict", "reject")

    def refused() -> bool:
        answer = send(client, [event(2, idempotency_key="k"), event(3)])
        return [item["status"] for item in answer.data] == [422, 202]

    wait_until(refused, 5)


def test_a_thousand_are_taken_and_one_more_is_not(client: Client, send: Any) -> None:
    events = [event(number) for number in range(1000)]
    assert counts(send(client, events)) == (1000, 0, 0)

    answer = send(client, [*events, event(1000)])

    assert (answer.status, answer.code, answer.fields) == (422, "ValidationError", ["events"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ('{"events":[]}', 422),
        ("{}", 422),
        ('{"events":null}', 422),
        ('{"events":{}}', 422),
        ('{"events":"x"}', 422),
        ('{"events":1}', 422),
        ('{"events":[{}],"more":1}', 422),
        ('{"event":"a","external_id":"x"}', 422),
        ('{"events":[],"events":[{}]}', 400),
        ("[]", 400),
        ('[{"event":"a","external_id":"x"}]', 400),
        ("null", 400),
        ("", 400),
        ('{"events":[', 400),
        ('{"events":[{}', 400),
        ('{"events":[{}}', 400),
        ('{"events":[{},]}', 400),
        ('{"events":[{}]}{"events":[{}]}', 400),
        ("[" * 1_000_000, 400),
        ('{"events":' + "[" * 1_000_000, 400),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_that_is_no_array_of_events_is_rejected(
    client: Client, body: str, status: int
) -> None:
    assert client.post("/events/batch", body).status == status


@pytest.mark.parametrize("body", ["", "\n", "\r\n\r\n", "  \n\t\n"], ids=ascii)
def test_no_lines_are_no_batch(client: Client, body: str) -> None:
    assert client.post("/events/batch", body, body_type=LINES).status == 422


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n\r\n \n"], ids=ascii)
@pytest.mark.parametrize("between", ["\n", "\r\n", "\n\n", "\r\n \t\r\n"], ids=ascii)
def test_lines_may_have_any_ending(client: Client, between: str, end: str) -> None:
    body = between.join(json.dumps(event(number)) for number in range(3)) + end

    answer = client.post("/events/batch", body, body_type=LINES)

    assert [item["status"] for item in answer.data] == [202, 202, 202]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"nothing",
        b'{"event":"a","external_id":"x"',
        b'{"event":"a","external_id":"x"}{"event":"a","external_id":"x"}',
        b'{"event":"a","external_id":"x"},',
        b"\xff\xfe",
        b"\x00",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'"' * 999,
        b"# comment",
    ],
    ids=lambda line: str(line[:40]),
)
def test_a_broken_line_in_the_middle_is_rejected_alone(client: Client, line: bytes) -> None:
    good = json.dumps(event(1)).encode()

    answer = client.post("/events/batch", b"\n".join([good, line, good]), body_type=LINES)

    assert [item["status"] for item in answer.data] == [202, 400, 202]


@pytest.mark.parametrize("body_type", ["application/json", LINES])
def test_five_mebibytes_are_taken_and_one_byte_more_is_not(client: Client, body_type: str) -> None:
    text = json.dumps({"events": [event(1)]} if body_type != LINES else event(1))
    exact = text + " " * (5 * MIB - len(text))

    assert counts(client.post("/events/batch", exact, body_type=body_type)) == (1, 0, 0)
    answer = client.post("/events/batch", exact + " ", body_type=body_type)
    assert (answer.status, answer.code) == (413, "RequestTooLarge")


def test_a_full_batch_of_large_events_is_taken(client: Client) -> None:
    events = [event(number, payload={"text": "x" * 60_000}) for number in range(80)]

    assert counts(send_array(client, events)) == (80, 0, 0)


def test_the_key_header_means_nothing_for_many(client: Client) -> None:
    answer = client.post(
        "/events/batch", json.dumps({"events": [event(1)]}), headers={"Idempotency-Key": "k"}
    )

    assert (answer.status, answer.fields) == (422, ["Idempotency-Key"])


@pytest.mark.parametrize("body_type", ["text/plain", "application/ndjson", "", "text/csv"])
def test_another_media_type_is_415(client: Client, body_type: str) -> None:
    assert client.post("/events/batch", "{}", body_type=body_type).status == 415


def test_members_of_the_envelope_may_be_escaped_and_spaced(client: Client) -> None:
    body = ' { "\\u0065vents" \n:\t[ {"event":"a","external_id":"[,]"} \r\n, {"x":"\\ud800"} ] } '

    answer = client.post("/events/batch", body)

    assert [item["status"] for item in answer.data] == [202, 422]


def test_a_byte_order_mark_before_the_first_line_is_skipped(client: Client) -> None:
    """Some editors and exports write a byte order mark; anywhere else it is invalid JSON."""
    mark, lines = b"\xef\xbb\xbf", [b'{"event":"a","external_id":"x"}'] * 2
    for body, expected in (
        (mark + b"\n".join(lines), [202, 202]),
        ((b"\n" + mark).join(lines), [202, 400]),
    ):
        answer = client.post("/events/batch", body, body_type="application/x-ndjson")
        assert [item["status"] for item in answer.data] == expected

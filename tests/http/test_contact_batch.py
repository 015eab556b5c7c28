"""`POST /contacts/batch`: a result for each line, or a dry run of all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.http.contacts.batch import CONTACTS_MAX
from tests.support.contacts import create, listed, system_events
from tests.support.raw_http import Client, Response


def send(client: Client, *lines: Any, query: str = "", **headers: str) -> Response:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return client.post(
        f"/contacts/batch{query}",
        "\n".join(texts),
        body_type="application/x-ndjson",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def counts(answer: Response) -> dict[str, int]:
    return {name: value for name, value in answer.json().items() if name != "data"}


def test_each_line_gets_its_own_result(client: Client) -> None:
    held = create(client, external_id="held", email="held@x.org", properties={"a": 1}).data["id"]
    other = create(client, external_id="same", properties={"a": 1}).data["id"]

    answer = send(
        client,
        {"external_id": "new", "properties": {"seats": 3}},
        "{no json",
        {"external_id": "held", "properties": {"a": 2}},
        {"email": "HELD@x.org", "external_id": "clash"},
        {"properties": {"a": 1}},
        {"external_id": "same", "properties": {"a": 1}},
        {"external_id": "x", "propertis": {}},
    )

    assert answer.status == 200
    shown = [(item["status"], item["outcome"]) for item in answer.data]
    assert shown == [
        (201, "created"),
        (400, "rejected"),
        (200, "updated"),
        (409, "rejected"),
        (422, "rejected"),
        (200, "unchanged"),
        (422, "rejected"),
    ]
    assert counts(answer) == {"created": 1, "updated": 1, "unchanged": 1, "rejected": 4}
    assert (answer.data[2]["data"]["id"], answer.data[5]["data"]["id"]) == (held, other)
    assert answer.data[3]["error"]["details"][0]["field"] == "email"
    assert listed(client) == [answer.data[0]["data"]["id"], other, held]


def test_a_line_joins_the_contact_of_its_address(client: Client) -> None:
    held = create(client, email="a@b.example").data["id"]
    create(client, email="info@b.example")
    answer = send(
        client,
        {"external_id": "x", "email": "a@b.example"},
        {"external_id": "y", "email": "a@b.example"},
        {"external_id": "z", "email": "info@b.example"},
    )
    assert [item["status"] for item in answer.data] == [200, 409, 409]
    assert answer.data[0]["data"]["id"] == held


def test_later_lines_see_earlier_ones(client: Client) -> None:
    line = {"external_id": "x", "properties": {"a": 1}}
    answer = send(client, line, line, {"external_id": "x", "properties": {"a": None}})
    assert [item["outcome"] for item in answer.data] == ["created", "unchanged", "updated"]


def test_a_dry_run_reports_the_same_and_writes_nothing(client: Client) -> None:
    create(client, external_id="held")
    lines = [
        {"external_id": "held", "email": "a@x.org"},
        {"email": "a@x.org"},
        {"email": "b@x.org"},
    ]

    rehearsed = send(client, *lines, query="?dry_run=true")

    assert len(listed(client)) == 1
    assert len(system_events(client)) == 1
    done = send(client, *lines, query="?dry_run=false")
    assert counts(rehearsed) == counts(done)
    assert counts(done) == {"created": 1, "updated": 1, "unchanged": 1, "rejected": 0}


def test_events_of_an_import_say_so(client: Client) -> None:
    send(client, {"external_id": "x"}, Headrace_Source="import")
    send(client, {"external_id": "y"})
    assert [event["payload"]["source"] for event in system_events(client)] == ["import", "api"]


@pytest.mark.parametrize("lines", [[], [""], ["{}"] * (CONTACTS_MAX + 1)])
def test_there_are_one_to_a_thousand_lines(client: Client, lines: list[str]) -> None:
    answer = send(client, *lines)
    assert (answer.status, answer.fields) == (422, ["contacts"])


def test_json_is_taken_too(client: Client) -> None:
    body = '{"contacts": [{"external_id": "x"}, 3, {"email": "\\ud800"}, {"external_id": "y"}]}'
    answer = client.post("/contacts/batch", body)
    assert [item["status"] for item in answer.data] == [201, 400, 422, 201]
    for wrong, field in (('{"contact": []}', "contact"), ('{"contacts": {}}', "contacts")):
        refused = client.post("/contacts/batch", wrong)
        assert (refused.status, refused.fields[0]) == (422, field)
    assert client.post("/contacts/batch", '{"contacts": []}').fields == ["contacts"]
    assert client.post("/contacts/batch", "[]").status == 400


def test_other_invalid_batches_are_rejected(client: Client) -> None:
    assert client.post("/contacts/batch", "{}", body_type="text/csv").status == 415
    assert send(client, {}, query="?dry_run=1").status == 422
    assert send(client, {}, query="?upsert=true").status == 422
    assert send(client, {"external_id": "x", "properties": {"a": "x" * 1_050_000}}).status == 413
    for method in ("GET", "PATCH", "DELETE", "PUT"):
        refused = client.request(method, "/contacts/batch")
        assert (refused.status, refused.headers["allow"]) == (405, "POST")

"""`delivery_status` of events: whether they reached their subscribers."""

from __future__ import annotations

import json
import uuid

import pytest

from headrace.domain.ids import sequence_of_id
from tests.support.dead_letters import DeadLetterRows, rows_of_server
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client


@pytest.fixture
def rows(server: HttpServer) -> DeadLetterRows:
    return rows_of_server(server.directory)


def status_of(client: Client, event_id: str) -> str:
    return str(client.get(f"/events/{event_id}").data["delivery_status"])


def send(client: Client) -> str:
    """Send an event and wait until it is processed; returns its id."""
    event_id: str = client.send({"event": "order.completed", "external_id": "u1"}).data["id"]
    wait_until(lambda: client.get(f"/events/{event_id}").data["status"] == "processed", 20)
    return event_id


def listed(client: Client, status: str) -> list[str]:
    answer = client.get(f"/events?event=order.*&delivery_status={status}")
    assert answer.status == 200, answer.body
    return [event["id"] for event in answer.data]


def test_events_whose_deliveries_failed_are_found(
    client: Client, project: Project, rows: DeadLetterRows
) -> None:
    subscriber_id = rows.subscriber(
        project.id, target="http://127.0.0.1:9/hook", events=["never.sent"]
    )
    untouched, failed, again = (send(client) for _ in range(3))
    for event_id in (failed, again):
        sequence = sequence_of_id(uuid.UUID(event_id).bytes)
        rows.delivery(sequence, subscriber_id)

    assert listed(client, "failed") == [again, failed]
    assert listed(client, "none") == [untouched]
    assert listed(client, "partly_failed") == listed(client, "delivered") == []
    assert status_of(client, failed) == "failed"
    assert client.get(f"/events/{failed}/trace").data["event"]["delivery_status"] == "failed"


def test_a_part_of_the_deliveries_failed(
    client: Client, project: Project, rows: DeadLetterRows
) -> None:
    ids = [rows.subscriber(project.id, events=["never.sent"]) for _ in range(2)]
    event_id = send(client)
    sequence = sequence_of_id(uuid.UUID(event_id).bytes)
    for subscriber_id in ids:
        rows.delivery(sequence, subscriber_id)
    rows.run_sql("UPDATE deliveries SET state = 3 WHERE subscriber_id = ?", ids[0])

    assert status_of(client, event_id) == "partly_failed"
    assert listed(client, "partly_failed") == [event_id]
    rows.run_sql("UPDATE deliveries SET state = 3 WHERE subscriber_id = ?", ids[1])
    assert status_of(client, event_id) == "delivered"
    assert listed(client, "delivered") == [event_id]


def test_an_unknown_delivery_status_is_rejected_with_those_known(client: Client) -> None:
    answer = client.get("/events?delivery_status=lost")

    assert (answer.status, answer.fields) == (422, ["delivery_status"])
    message = json.dumps(answer.json())
    for name in ("none", "pending", "delivered", "partly_failed", "failed"):
        assert name in message

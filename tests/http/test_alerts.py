"""`GET /alerts`: alerts of the project and the instance, with their start and end."""

from __future__ import annotations

from headrace.domain.timestamps import now_us
from headrace.domain.upkeep.alerts import AlertKind, Edge, Level, Reading
from headrace.store.upkeep.alerts import Alert
from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Client

_HOUR_US = 3_600_000_000


def bad(project_id: int, kind: AlertKind, subject: str = "") -> Reading:
    detail = "11 new dead letters in 15 minutes"
    return Reading(
        project_id=project_id, kind=kind, subject=subject, level=Level.BAD, detail=detail
    )


def test_alerts_are_listed_from_start_to_end(
    server: HttpServer, project: Project, client: Client
) -> None:
    growing = bad(project.id, AlertKind.DEAD_LETTERS_GROWING)
    disabled = bad(project.id, AlertKind.SUBSCRIBER_DISABLED, "s")
    foreign = bad(project.id + 1_000_000, AlertKind.DEAD_LETTERS_GROWING)

    def apply(*readings: Reading, at_us: int) -> list[tuple[Edge, Alert]]:
        return list(server.in_store(lambda store: store.alerts.apply(readings, at_us, ())))

    assert client.get("/alerts").json() == {"data": [], "next_cursor": None}
    at_us = now_us()
    assert len(apply(growing, disabled, foreign, at_us=at_us - _HOUR_US)) == 3
    assert [edge for edge, _ in apply(growing, foreign, at_us=at_us)] == [Edge.ENDED]

    (shown,) = client.get("/alerts?state=open").data
    assert (shown["kind"], shown["state"], shown["scope"]) == (
        "dead_letters_growing",
        "open",
        "project",
    )
    assert shown["detail"] == "11 new dead letters in 15 minutes"
    assert shown["title"]
    assert shown["fix"]
    assert shown["ended_at"] is None
    page = client.get("/alerts?limit=1").json()
    following = client.get(f"/alerts?limit=1&cursor={page['next_cursor']}").json()
    found = [*page["data"], *following["data"]]
    assert {one["kind"]: one["state"] for one in found} == {
        "dead_letters_growing": "open",
        "subscriber_disabled": "ended",
    }
    assert following["next_cursor"] is None
    assert client.get("/alerts?state=closed").status == 422
    metrics = client.get("/metrics").body.decode()
    assert 'headrace_alerts_open{kind="dead_letters_growing"}' in metrics

"""Conflicts, merges and timelines over HTTP."""

from __future__ import annotations

import json

import pytest

from headrace.domain.access.api_keys import Scope
from tests.support.contacts import create, delete, patch, system_events
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.people import merge, processed, undo
from tests.support.raw_http import Client, Response

NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def two(client: Client) -> tuple[str, str]:
    own = create(client, external_id="x", properties={"plan": "free"}).data["id"]
    other = create(client, email="B@b.example", properties={"city": "Rome"}).data["id"]
    return own, other


def conflicts(client: Client, query: str = "") -> list[dict[str, object]]:
    answer = client.get(f"/contacts/conflicts{query}")
    assert answer.status == 200, answer.body
    found: list[dict[str, object]] = answer.data
    return found


def test_a_pair_is_listed_once_with_its_last_event(client: Client) -> None:
    own, other = two(client)
    for _ in range(2):
        processed(client, external_id="x", email="b@b.example")
    last = processed(client, external_id="x", email="b@b.example")

    (shown,) = conflicts(client)

    assert shown | {"id": "", "first_at": "", "last_at": ""} == {
        "id": "",
        "status": "open",
        "contact_id": own,
        "other_contact_id": other,
        "fields": ["email"],
        "events": 3,
        "first_at": "",
        "last_at": "",
        "last_event_id": last["id"],
        "dismissed_by": None,
        "dismissed_at": None,
        "dismissed_reason": None,
    }


def dismiss(client: Client, conflict_id: object, body: str = '{"reason": "a family"}') -> Response:
    return client.post(f"/contacts/conflicts/{conflict_id}/dismiss", body)


def test_a_conflict_is_dismissed_once(project: Project, client: Client) -> None:
    two(client)
    processed(client, external_id="x", email="b@b.example")
    (pair,) = conflicts(client)
    before = dismiss(client, pair["id"])
    again = dismiss(client, pair["id"], '{"reason": "another"}')

    assert (before.status, again.status) == (200, 200)
    assert before.data == again.data
    dismissed = {"status": "dismissed", "dismissed_reason": "a family"}
    assert before.data.items() >= (pair | dismissed | _dismissal(before)).items()
    assert before.data["dismissed_by"] == project.key.split("_")[1]
    assert conflicts(client) == conflicts(client, "?status=open") == []
    assert conflicts(client, "?status=dismissed") == [before.data]


def _dismissal(answer: Response) -> dict[str, object]:
    return {name: answer.data[name] for name in ("dismissed_by", "dismissed_at")}


@pytest.mark.parametrize(
    "body", ["{}", '{"reason": null}', '{"reason": " "}', '{"reason": 1}', '{"why": "x"}', "[]"]
)
def test_a_dismissal_needs_a_reason(client: Client, body: str) -> None:
    two(client)
    processed(client, external_id="x", email="b@b.example")
    (pair,) = conflicts(client)
    assert dismiss(client, pair["id"], body).status in (400, 422)
    assert conflicts(client) == [pair]


def test_what_cannot_be_dismissed(server: HttpServer, client: Client) -> None:
    own, other = two(client)
    processed(client, external_id="x", email="b@b.example")
    (pair,) = conflicts(client)
    stranger = server.project()
    try:
        assert dismiss(stranger.client(), pair["id"]).status == 404
    finally:
        stranger.close()
    assert dismiss(client, NOBODY).status == 404
    assert dismiss(client, "1").status == 404
    merge(client, own, other)
    assert dismiss(client, pair["id"]).status == 409


@pytest.mark.parametrize("status", ["", "closed", "OPEN", "open,dismissed"])
def test_an_unknown_status_of_conflicts_is_rejected_with_the_known_ones(
    client: Client, status: str
) -> None:
    answer = client.get(f"/contacts/conflicts?status={status}")
    assert (answer.status, answer.fields) == (422, ["status"])
    assert "open, dismissed" in answer.body.decode()


def test_conflicts_are_paged(client: Client) -> None:
    for n in range(3):
        create(client, external_id=f"x{n}")
        create(client, email=f"{n}@b.example")
        processed(client, external_id=f"x{n}", email=f"{n}@b.example")
    first = client.get("/contacts/conflicts?limit=2").json()
    second = client.get(f"/contacts/conflicts?limit=2&cursor={first['next_cursor']}").json()
    assert (len(first["data"]), len(second["data"]), second["next_cursor"]) == (2, 1, None)


def test_a_merge_closes_a_conflict_and_its_undo_reopens_it(client: Client) -> None:
    own, other = two(client)
    processed(client, external_id="x", email="b@b.example")
    done = merge(client, own, other).data
    assert conflicts(client) == []
    undo(client, done["id"])
    assert len(conflicts(client)) == 1


def test_a_deleted_contact_is_in_no_conflict(client: Client) -> None:
    own, _ = two(client)
    processed(client, external_id="x", email="b@b.example")
    delete(client, own)
    assert conflicts(client) == []


def test_a_dry_run_shows_what_would_be_and_changes_nothing(client: Client) -> None:
    own, other = two(client)
    processed(client, email="b@b.example")
    before = client.get("/contacts").data

    answer = merge(client, own, other, dry_run=True)

    assert answer.status == 200
    shown = answer.data
    assert shown["contact"]["email"] == "B@b.example"
    assert shown["contact"]["properties"] == {"plan": "free", "city": "Rome"}
    assert shown["from"]["id"] == other
    assert shown["changes"] == {
        "email": {"from": None, "to": "B@b.example"},
        "properties.city": {"from": None, "to": "Rome"},
    }
    assert shown["identifiers"] == [{"type": "contact_id", "value": other}]
    assert shown["events"] >= 1
    assert (shown["topics"], shown["audiences"]) == (0, 0)
    assert client.get("/contacts").data == before


def test_a_merge_moves_everything_to_the_survivor(client: Client) -> None:
    own, other = two(client)
    early = processed(client, email="b@b.example")

    answer = merge(client, own, other)

    assert answer.status == 201
    shown = answer.data
    assert (shown["contact_id"], shown["from"], shown["status"]) == (own, other, "merged")
    assert (shown["undone_at"], shown["undone_by"]) == (None, None)
    assert client.get(f"/contacts/{other}").data == client.get(f"/contacts/{own}").data
    for said in ({"contact_id": other}, {"email": "b@b.example"}, {"external_id": "x"}):
        assert processed(client, **said)["contact_id"] == own
    timeline = client.get(f"/contacts/{own}/events?limit=200").data
    assert early["id"] in [event["id"] for event in timeline]
    assert client.get(f"/contacts/{other}/events?limit=200").data == timeline
    assert patch(client, other, properties={"new": 1}).data["id"] == own


def test_a_merge_emits_an_event(client: Client) -> None:
    own, other = two(client)
    merge(client, own, other)
    told = system_events(client)[2:]
    assert [event["event"] for event in told] == [
        "sendrealm.contact.deleted",
        "sendrealm.contact.updated",
    ]
    assert told[0]["payload"] == {"contact_id": other, "source": "merge", "merged_into": own}
    assert told[1]["payload"]["merged_from"] == other


def test_undo_restores_both_and_only_once(client: Client) -> None:
    own, other = two(client)
    before = [client.get(f"/contacts/{each}").data for each in (own, other)]
    done = merge(client, own, other).data

    answer = undo(client, done["id"])

    assert (answer.status, answer.data["status"]) == (200, "undone")
    assert [client.get(f"/contacts/{each}").data for each in (own, other)] == before
    assert client.get(f"/merges/{done['id']}").data == answer.data
    again = undo(client, done["id"])
    assert (again.status, again.code) == (409, "Conflict")


def test_merges_are_listed(client: Client) -> None:
    made = []
    own = create(client, external_id="x").data["id"]
    for n in range(3):
        other = create(client, external_id=f"y{n}").data["id"]
        made.append(merge(client, own, other).data["id"])
    first = client.get("/merges?limit=2").json()
    second = client.get(f"/merges?limit=2&cursor={first['next_cursor']}").json()
    assert [shown["id"] for shown in first["data"] + second["data"]] == made[::-1]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("{}", ["from"]),
        ('{"from":"x"}', ["from"]),
        ('{"from":null}', ["from"]),
        (f'{{"from":"{NOBODY}","dry_run":"yes"}}', ["dry_run"]),
        (f'{{"from":"{NOBODY}","frm":1}}', ["frm"]),
    ],
)
def test_an_impossible_merge_is_rejected(client: Client, body: str, fields: list[str]) -> None:
    own, _ = two(client)
    answer = client.post(f"/contacts/{own}/merge", body)
    assert (answer.status, answer.code, answer.fields) == (422, "ValidationError", fields)


def test_two_absent_contacts_cannot_be_merged(client: Client) -> None:
    own, other = two(client)
    assert merge(client, own, NOBODY).status == 404
    assert merge(client, NOBODY, own).status == 404
    same = merge(client, own, own)
    assert (same.status, same.code) == (409, "Conflict")
    assert merge(client, own, other).status == 201
    assert merge(client, own, other).status == 409
    assert undo(client, NOBODY).status == 404


def test_properties_over_the_limit_of_one_contact_are_rejected(client: Client) -> None:
    own = create(client, properties={"a": "x" * 9_000}).data["id"]
    other = create(client, properties={"b": "x" * 9_000}).data["id"]
    for dry_run in (True, False):
        answer = merge(client, own, other, dry_run=dry_run)
        assert (answer.status, answer.fields) == (422, ["properties"])


def test_another_projects_merge_is_as_absent(server: HttpServer, client: Client) -> None:
    own, other = two(client)
    done = merge(client, own, other).data
    stranger = server.project()
    try:
        theirs = stranger.client()
        assert theirs.get(f"/merges/{done['id']}").status == 404
        assert undo(theirs, done["id"]).status == 404
        assert theirs.get(f"/contacts/{own}/events").status == 404
        assert theirs.get("/merges").data == []
        assert conflicts(theirs) == []
        mine = create(theirs, external_id="x").data["id"]
        assert merge(theirs, mine, own).status == 404
        assert merge(theirs, own, mine).status == 404
    finally:
        stranger.close()


def test_scopes_decide(server: HttpServer, project: Project, client: Client) -> None:
    own, other = two(client)
    reader = project.client(server.issue_key(project, {Scope.READ}))
    writer = project.client(server.issue_key(project, {Scope.MANAGE}))
    wait_until(lambda: reader.get("/merges").status == 200, 10)
    wait_until(lambda: writer.get("/merges").status == 403, 10)
    assert reader.get("/contacts/conflicts").status == 200
    assert dismiss(reader, NOBODY).status == 403
    assert dismiss(writer, NOBODY).status == 404
    assert reader.get(f"/contacts/{own}/events").status == 200
    assert merge(reader, own, other).status == 403
    assert merge(reader, own, other, dry_run=True).status == 403
    done = merge(writer, own, other)
    assert done.status == 201
    assert undo(reader, done.data["id"]).status == 403


def test_a_timeline_is_newest_first_and_paged(client: Client) -> None:
    contact_id = create(client, external_id="x").data["id"]
    sent = [processed(client, external_id="x")["id"] for _ in range(5)]
    processed(client, external_id="y")

    found: list[str] = []
    cursor = ""
    while True:
        page = client.get(f"/contacts/{contact_id}/events?limit=2{cursor}").json()
        found += [event["id"] for event in page["data"] if event["source"] != "system"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert found == sent[::-1]
    assert client.get(f"/contacts/{NOBODY}/events").status == 404
    assert client.get(f"/contacts/{contact_id}/events?event=a").status == 422


def test_a_timeline_shows_what_the_system_did(client: Client) -> None:
    first = processed(client, external_id="x")
    processed(client, external_id="x", payload={"$set": {"plan": "pro"}})
    contact_id = first["contact_id"] or client.get("/contacts").data[0]["id"]
    names = [e["event"] for e in client.get(f"/contacts/{contact_id}/events").data]
    assert names.count("order.completed") == 2
    assert json.dumps(names).count("sendrealm.contact") >= 1


def test_events_are_found_by_the_contact_they_were_resolved_to(client: Client) -> None:
    own, other = two(client)
    first = processed(client, external_id="x")["id"]
    second = processed(client, email="b@b.example")["id"]

    def found(contact_id: str) -> list[str]:
        answer = client.get(f"/events?contact_id={contact_id}")
        assert answer.status == 200, answer.body
        return [event["id"] for event in answer.data if event["source"] != "system"]

    assert (found(own), found(other), found(NOBODY)) == ([first], [second], [])
    merge(client, own, other)
    assert found(own) == found(other) == [second, first]
    third = processed(client, contact_id=other)["id"]
    assert found(own) == [third, second, first]

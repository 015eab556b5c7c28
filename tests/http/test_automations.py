"""`/automations` and `/automation-runs`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_server import Project
from tests.support.raw_http import Client
from tests.support.waiting import wait_until

ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def definition(event: str = "go", **config: Any) -> dict[str, Any]:
    config = config or {"seconds": 3600}
    return {
        "trigger": {"event_name": event},
        "steps": [{"key": "s", "type": "delay", "config": config}],
        "connections": [{"from": "trigger", "to": "s", "branch": "next"}],
    }


def create(client: Client, name: str = "Auto", of: dict[str, Any] | None = None) -> Any:
    body = {"name": name, "definition": of or definition()}
    return client.post("/automations", json.dumps(body))


def change(event: str) -> bytes:
    """The body of a request that writes another draft."""
    return json.dumps({"definition": definition(event)}).encode()


def publish(client: Client, automation_id: str) -> Any:
    return client.request("POST", f"/automations/{automation_id}/publish")


def test_draft_is_kept_and_aliases_are_replaced(project: Project) -> None:
    client = project.client()
    made = create(client, of=definition(duration_seconds=60))
    assert made.status == 201
    assert made.data["status"] == "draft"
    assert made.data["version_number"] is None
    assert made.data["has_draft_changes"] is True
    assert made.data["definition"]["steps"][0]["config"] == {"seconds": 60}
    assert [each["was"] for each in made.data["rewritten"]] == ["duration_seconds"]
    got = client.get(f"/automations/{made.data['id']}").data
    assert got == {**made.data, "rewritten": []}
    assert create(client).code == "Conflict"
    (listed,) = client.get("/automations?status=draft&search=AUT").data
    assert listed["id"] == made.data["id"]
    assert "definition" not in listed


@pytest.mark.parametrize("body", ["[]", "5", "null", '"x"', "true"])
def test_a_body_that_is_no_object_is_malformed(project: Project, body: str) -> None:
    client = project.client()
    path = f"/automations/{create(client).data['id']}"
    for answer in (
        client.post("/automations", body),
        client.request("PATCH", path, body=body.encode()),
    ):
        assert (answer.status, answer.code) == (400, "MalformedJson")
        assert "must be an object" in answer.json()["error"]["message"]


def test_numbers_of_a_definition_keep_their_digits(project: Project) -> None:
    client = project.client()
    text = json.dumps({"name": "N", "definition": definition()})
    long = "12345678901234567890.10"
    text = text.replace('"event_name": "go"', f'"event_name": "go", "filters": {{"n_gte": {long}}}')
    made = client.post("/automations", text)
    assert made.status == 201
    assert long in client.get(f"/automations/{made.data['id']}").body.decode()


def test_unfinished_draft_is_saved_and_not_published(project: Project) -> None:
    client = project.client()
    of = {**definition(), "connections": []}
    made = create(client, of=of).data
    checked = client.request("POST", f"/automations/{made['id']}/validate").data
    assert checked["ok"] is False
    assert "trigger_not_connected" in [each["code"] for each in checked["problems"]]
    refused = publish(client, made["id"])
    assert (refused.status, refused.code) == (422, "AutomationInvalid")
    assert any(field.startswith("definition") for field in refused.fields)
    assert client.get(f"/automations/{made['id']}").data["status"] == "draft"


def test_unreadable_definition_is_rejected_with_every_problem(project: Project) -> None:
    of = definition(seconds=0)
    of["steps"][0]["extra"] = 1
    refused = create(project.client(), of=of)
    assert (refused.status, refused.code) == (422, "ValidationError")
    assert sorted(refused.fields) == [
        "definition.steps[0].config.seconds",
        "definition.steps[0].extra",
    ]
    assert project.client().post("/automations", "{").code == "MalformedJson"
    nameless = project.client().post("/automations", json.dumps({"definition": definition()}))
    assert nameless.fields == ["name"]


def test_change_of_another_revision_is_refused(project: Project) -> None:
    client = project.client()
    made = create(client).data
    path, body = f"/automations/{made['id']}", change("other")
    headers = {"If-Match": f'"{made["draft_revision"]}"'}
    changed = client.request("PATCH", path, body=body, headers=headers)
    assert (changed.status, changed.data["draft_revision"]) == (200, 2)
    stale = client.request("PATCH", path, body=body, headers=headers)
    assert (stale.status, stale.code) == (409, "VersionConflict")


def test_versions_stay_as_they_were_published(project: Project) -> None:
    client = project.client()
    made = create(client).data
    published = publish(client, made["id"]).data
    version = published["current_published_version"]
    assert (published["status"], version["version_number"]) == ("active", 1)
    assert publish(client, made["id"]).data["current_published_version"] == version
    client.request("PATCH", f"/automations/{made['id']}", body=change("other"))
    assert client.get(f"/automations/{made['id']}").data["has_draft_changes"] is True
    publish(client, made["id"])
    versions = client.get(f"/automations/{made['id']}/versions").data
    assert [(one["version_number"], one["state"]) for one in versions] == [
        (2, "published"),
        (1, "superseded"),
    ]
    first = client.get(f"/automations/{made['id']}/versions/1").data
    assert first["definition"]["trigger"]["event_name"] == "go"
    assert first["id"] == version["id"]
    assert client.get(f"/automations/{made['id']}/versions/3").status == 404


def test_status_changes(project: Project) -> None:
    client = project.client()
    made = create(client).data
    path = f"/automations/{made['id']}"
    assert client.request("POST", f"{path}/pause").code == "Conflict"
    publish(client, made["id"])
    assert client.request("POST", f"{path}/pause").data["status"] == "paused"
    assert client.request("POST", f"{path}/resume").data["status"] == "active"
    assert client.request("DELETE", path).status == 204
    assert client.get(path).data["status"] == "archived"
    assert client.request("POST", f"{path}/resume").code == "Conflict"
    assert publish(client, made["id"]).code == "Conflict"
    assert create(client).status == 201


def test_run_is_shown_with_its_steps_and_cancelled(project: Project) -> None:
    client = project.client()
    made = create(client).data
    publish(client, made["id"])
    sent = client.send({"event": "go", "external_id": "x", "payload": {"n": 1}}).data
    runs = f"/automations/{made['id']}/runs"
    wait_until(lambda: bool(client.get(runs).data), "no run")
    (listed,) = client.get(f"{runs}?status=waiting").data
    run = client.get(f"/automation-runs/{listed['id']}").data
    assert run["trigger_event"]["id"] == sent["id"]
    assert run["trigger_event"]["payload"] == {"n": 1}
    assert (run["resolved_identity_type"], run["resolved_identity_value"]) == ("external_id", "x")
    assert run["last_error"] is None
    (step,) = run["steps"]
    assert (step["step_key"], step["status"], len(step["waits"])) == ("s", "waiting", 1)
    assert client.get(f"{runs}?contact_id={run['contact_id']}").data == [listed]
    assert client.get(f"{runs}?status=completed").data == []
    timeline = client.get(f"/automation-runs/{listed['id']}/timeline").data
    assert [note["reason"] for note in timeline] == ["started", "delay_begun"]

    body = json.dumps({"reason": "by mistake"})
    path = f"/automation-runs/{listed['id']}/cancel"
    cancelled = client.post(path, body).data
    assert (cancelled["status"], cancelled["status_reason"]) == ("cancelled", "cancelled_by")
    again = client.post(path, body)
    assert (again.status, again.code) == (409, "NotEligible")
    assert client.post(f"/automation-runs/{ABSENT}/cancel", body).status == 404


def test_rejected_starts_say_why(project: Project) -> None:
    client = project.client()
    of = definition()
    of["trigger"]["reentry"] = {"mode": "one_active"}
    made = create(client, of=of).data
    publish(client, made["id"])
    for _ in range(2):
        client.send({"event": "go", "external_id": "x"})
    path = f"/automations/{made['id']}/rejected-starts"
    wait_until(lambda: bool(client.get(path).data), "nothing was rejected")
    (one,) = client.get(path).data
    assert (one["reason"], one["sentence"]) == (
        "reentry_active",
        "A run of this contact is still open.",
    )


def fail_a_run(client: Client) -> tuple[str, Any]:
    """The id of an automation, and its only run, for which the contact has no room."""
    value, key = "x" * 9_000, "properties.b"
    of = definition()
    of["steps"][0] |= {
        "type": "contact_update",
        "config": {"set": {key: {"from": "trigger.payload.b"}}},
    }
    made = create(client, of=of).data
    publish(client, made["id"])
    client.send({"event": "go", "external_id": "x", "payload": {"$set": {"a": value}, "b": value}})
    runs = f"/automations/{made['id']}/runs"
    wait_until(lambda: bool(client.get(f"{runs}?status=failed").data), "no failed run")
    return made["id"], client.get(runs).data[0]


def test_failed_run_is_a_dead_letter_and_is_retried(project: Project) -> None:
    client = project.client()
    automation_id, run = fail_a_run(client)
    (letter,) = client.get("/dead-letters?kind=automation").data
    assert (letter["run_id"], letter["cause"]) == (run["id"], "step_failed")
    assert client.get("/dead-letters/groups?kind=automation").data[0]["count"] == 1
    entries = client.get(f"/events/{letter['event_id']}/trace").data["entries"]
    assert "A run of an automation failed after 1 attempt" in entries[-1]["text"]

    many = f"/automations/{automation_id}/runs/retry"
    dry = client.post(many, json.dumps({"filter": {"at_step": "s"}, "dry_run": True})).data
    assert (dry["count"], dry["has_more"], dry["sample"][0]["id"]) == (1, False, run["id"])
    body = json.dumps({"filter": {}, "reason": "again"})
    done = {"dry_run": False, "count": 1, "has_more": False, "sample": []}
    assert client.post(many, body).data == done
    wait_until(
        lambda: [each["attempts"] for each in client.get("/dead-letters").data] == [2], "no retry"
    )

    client.request(
        "PATCH", f"/contacts/{run['contact_id']}", body=b'{"properties": {"a": "small"}}'
    )
    path = f"/automation-runs/{run['id']}/retry"
    wrong = client.post(path, json.dumps({"reason": "x", "from_step": "unknown"}))
    assert (wrong.status, wrong.code) == (409, "NotEligible")
    retried = client.post(path, json.dumps({"reason": "room was made"})).data
    assert (retried["status"], retried["steps"][0]["attempts"]) == ("completed", 3)
    assert client.get("/dead-letters").data == []
    assert client.post(path, json.dumps({"reason": "x"})).code == "NotEligible"


def test_changes_of_many_runs_are_checked(project: Project) -> None:
    client = project.client()
    made = create(client).data
    path = f"/automations/{made['id']}/runs/cancel"
    assert client.post(path, "{}").fields == ["filter", "reason"]
    wrong = {
        "filter": {"version": "1", "at_step": "A", "status": "old", "started_before": "1"},
        "reason": " ",
        "limit": 0,
    }
    assert sorted(client.post(path, json.dumps(wrong)).fields) == [
        *("filter.at_step", "filter.started_before", "filter.status", "filter.version"),
        *("limit", "reason"),
    ]
    ok = json.dumps({"filter": {}, "dry_run": True})
    assert client.post(f"/automations/{ABSENT}/runs/cancel", ok).status == 404
    contact = f"/contacts/{ABSENT}/automations/cancel"
    assert client.post(contact, json.dumps({"reason": "x"})).status == 404


def test_hold_and_resume_with_a_preview(project: Project) -> None:
    client = project.client()
    made = create(client, of=definition(seconds=1)).data
    path = f"/automations/{made['id']}"
    publish(client, made["id"])
    wrong = client.post(f"{path}/pause", '{"mode": "stop"}')
    assert (wrong.status, wrong.fields) == (422, ["mode"])
    client.send({"event": "go", "external_id": "x"})
    runs = f"{path}/runs"
    wait_until(lambda: bool(client.get(runs).data), "no run")
    paused = client.post(f"{path}/pause", '{"mode": "hold"}').data
    assert (paused["status"], paused["pause_mode"]) == ("paused", "hold")
    dry = json.dumps({"dry_run": True})
    wait_until(
        lambda: client.post(f"{path}/resume", dry).data["preview"]["overdue_runs"] == 1,
        "nothing is overdue",
    )
    shown = client.post(f"{path}/resume", dry).data
    assert shown["status"] == "paused"
    assert shown["preview"]["steps"] == [
        {"version_number": 1, "step_key": "s", "runs": 1, "sends": []}
    ]
    assert [each["runs_cancelled"] for each in shown["preview"]["choices"]] == [0, 0, 1]
    wrong = client.post(f"{path}/resume", '{"overdue": "x", "max_late_seconds": -1}')
    assert sorted(wrong.fields) == ["max_late_seconds", "overdue"]
    resumed = client.post(f"{path}/resume", '{"overdue": "cancel"}').data
    assert (resumed["status"], resumed["pause_mode"], resumed["preview"]) == ("active", None, None)
    wait_until(lambda: client.get(runs).data[0]["status"] == "cancelled", "the run goes on")


def test_versions_are_compared_restored_and_copied(project: Project) -> None:
    client = project.client()
    made = create(client, of=definition(seconds=5)).data
    path = f"/automations/{made['id']}"
    publish(client, made["id"])
    of = definition("other", seconds=6)
    of["steps"].append({"key": "t", "type": "delay", "config": {"seconds": 1}})
    of["connections"].append({"from": "s", "to": "t", "branch": "next"})
    client.request("PATCH", path, body=json.dumps({"definition": of}).encode())
    publish(client, made["id"])
    found = client.get(f"{path}/versions/1/diff/2").data
    assert [(each["kind"], each["place"]) for each in found] == [
        ("changed", "trigger.event_name"),
        ("changed", "steps.s.config.seconds"),
        ("added", "steps.t"),
        ("added", "connections.s"),
    ]
    assert (found[1]["before"], found[1]["after"]) == (5, 6)
    assert client.get(f"{path}/versions/1/diff/1").data == []
    assert client.get(f"{path}/versions/1/diff/3").status == 404

    restored = client.request("POST", f"{path}/versions/1/restore").data
    assert restored["definition"]["steps"][0]["config"] == {"seconds": 5}
    assert restored["has_draft_changes"] is True
    assert publish(client, made["id"]).data["current_published_version"]["version_number"] == 3

    copy = client.request("POST", f"{path}/duplicate").data
    assert (copy["name"], copy["status"]) == ("Copy of Auto", "draft")
    assert copy["definition"] == restored["definition"]
    assert client.request("POST", f"{path}/duplicate").code == "Conflict"
    assert client.post(f"{path}/duplicate", '{"name": "Other"}').data["name"] == "Other"


def test_waiting_runs_move_to_another_version(project: Project) -> None:
    client = project.client()
    made = create(client).data
    path = f"/automations/{made['id']}"
    publish(client, made["id"])
    client.send({"event": "go", "external_id": "x"})
    wait_until(lambda: bool(client.get(f"{path}/runs").data), "no run")
    of = json.dumps({"definition": definition(seconds=7200)}).encode()
    client.request("PATCH", path, body=of)
    publish(client, made["id"])
    body = {"from_version": 1, "to_version": 2}
    migrate = f"{path}/runs/migrate"
    dry = client.post(migrate, json.dumps(body | {"dry_run": True})).data
    assert dry["steps"] == [{"step_key": "s", "to": "s", "runs": 1}]
    wrong = client.post(migrate, json.dumps(body | {"steps": {"s": "x"}, "dry_run": True}))
    assert (wrong.status, wrong.fields) == (422, ["steps.s"])
    assert client.post(migrate, json.dumps(body)).fields == ["reason"]
    done = client.post(migrate, json.dumps(body | {"reason": "longer"})).data
    assert (done["moved"], done["stayed"], done["has_more"]) == (1, 0, False)
    (run,) = client.get(f"{path}/runs").data
    assert run["version_number"] == 2


def test_event_and_contact_are_explained(project: Project) -> None:
    client = project.client()
    of = definition()
    of["trigger"]["filters"] = {"n_gte": 10}
    made = create(client, of=of).data
    publish(client, made["id"])
    small = client.send({"event": "go", "external_id": "x", "payload": {"n": 1}}).data
    large = client.send({"event": "go", "external_id": "x", "payload": {"n": 10}}).data
    runs = f"/automations/{made['id']}/runs"
    wait_until(lambda: bool(client.get(runs).data), "no run")
    (run,) = client.get(runs).data
    (started,) = client.get(f"/events/{large['id']}/automations").data
    assert (started["verdict"], started["basis"]) == ("started", "recorded")
    assert (started["run_id"], started["automation_name"]) == (run["id"], "Auto")
    (not_met,) = client.get(f"/events/{small['id']}/automations").data
    assert (not_met["verdict"], not_met["basis"]) == ("filter_not_met", "evaluated_now")
    assert (not_met["found"], not_met["run_id"]) == ("1", None)

    path = f"/automations/{made['id']}/explain"
    found = client.get(f"{path}?external_id=x").data
    assert found["trigger_event_name"] == "go"
    assert [each["verdict"] for each in found["events"]] == ["started", "filter_not_met"]
    assert [each["run_id"] for each in found["runs"]] == [run["id"]]
    assert client.get(f"{path}?contact_id={run['contact_id']}").data == found
    assert client.get(f"{path}?external_id=nobody").status == 404
    assert client.get(f"{path}?email=nobody@example.com").status == 404
    assert client.get(path).status == 422
    assert client.get(f"{path}?external_id=x&email=a@example.com").status == 422
    assert client.get(f"/events/{ABSENT}/automations").status == 404
    assert client.get(f"/automations/{ABSENT}/explain?external_id=x").status == 404


def test_runs_are_counted_and_listed_by_version_and_step(project: Project) -> None:
    client = project.client()
    of = {**definition(), "trigger": {"event_name": "go", "reentry": {"mode": "once"}}}
    path = f"/automations/{create(client, of=of).data['id']}"
    publish(client, path.rpartition("/")[2])
    client.post("/events", json.dumps({"event": "go", "external_id": "a"}))
    wait_until(lambda: bool(client.get(f"{path}/runs").data), "no run")
    (run,) = client.get(f"{path}/runs?version=1&at_step=s").data
    assert client.get(f"{path}/runs?version=2").data == []
    assert client.get(f"{path}/runs?at_step=other").data == []
    assert client.get(f"{path}/runs?at_step=A&version=0").fields == ["at_step", "version"]
    stats = client.get(f"{path}/stats").data
    (version,) = stats.pop("versions")
    assert stats == {"runs_examined": 1, "has_more": False}
    assert (version["version_number"], version["runs"]) == (1, {"waiting": 1})
    (step,) = version["steps"]
    assert (step["step_key"], step["waiting"], step["skipped"]) == ("s", 1, {})
    assert client.get(f"{path}/stats?version=2").data["versions"] == []
    assert client.get(f"/automations/{ABSENT}/stats").status == 404
    entries = f"{path}/entries"
    assert client.request("DELETE", entries).fields == ["contact_id"]
    assert client.request("DELETE", f"{entries}?contact_id={ABSENT}").status == 404
    assert client.request("DELETE", f"{entries}?contact_id={run['contact_id']}").status == 204
    client.post("/events", json.dumps({"event": "go", "external_id": "a"}))
    wait_until(lambda: len(client.get(f"{path}/runs").data) == 2, "no second run")

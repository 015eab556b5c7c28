"""`DELETE` of audiences, topics, domains and push apps that automations use."""

from __future__ import annotations

import json

import pytest

from tests.support.audiences import send
from tests.support.raw_http import Client

MADE = (
    ("/audiences", {"name": "VIP"}),
    ("/topics", {"name": "News"}),
    ("/domains", {"name": "mail.example.org"}),
    ("/push/apps", {"name": "Shop"}),
)


def publish(client: Client, object_id: str) -> str:
    """Publish an automation that refers to an object; returns its id."""
    of = {
        "trigger": {"event_name": "go", "filters": {"ref": object_id}},
        "steps": [{"key": "s", "type": "delay", "config": {"seconds": 3600}}],
        "connections": [{"from": "trigger", "to": "s", "branch": "next"}],
    }
    body = json.dumps({"name": f"Of {object_id}", "definition": of})
    automation_id = str(client.post("/automations", body).data["id"])
    assert client.request("POST", f"/automations/{automation_id}/publish").status == 200
    return automation_id


@pytest.mark.parametrize(("path", "fields"), MADE)
def test_a_used_object_is_deleted_only_by_force(
    client: Client, path: str, fields: dict[str, str]
) -> None:
    target = f"{path}/{send(client, 'POST', path, **fields).data['id']}"
    automation_id = publish(client, target.rpartition("/")[2])
    answer = client.request("DELETE", target)
    assert (answer.status, answer.code) == (409, "Conflict")
    (user,) = answer.json()["error"]["details"]
    assert user["field"] == "automations[0]"
    assert user["message"].startswith(f"{automation_id} uses it: Of ")
    assert client.get(target).status == 200
    assert client.request("DELETE", f"{target}?force=1").status == 422
    assert client.request("DELETE", f"{target}?force=true").status == 204
    assert client.get(target).status == 404

"""API keys: created, shown once, used, revoked."""

from __future__ import annotations

import re

from headrace.store.contract.access import Project
from tests.backoffice.cast import Person, project_path
from tests.support.waiting import wait_until

KEY = re.compile(r"hr_[0-9a-f]{16}_[0-9a-f]{64}")


def create(owner: Person, project: Project, **fields: object) -> str:
    answer = owner.post(f"{project_path(project)}/keys", {"scope": ["ingest", "read"]} | fields)
    found = KEY.search(answer.text)
    assert found is not None, answer.text
    return found[0]


def works(owner: Person, key: str) -> bool:
    headers = {"authorization": f"Bearer {key}"}
    status = owner.client.get("/events", headers=headers).status_code
    assert status in (200, 401)
    return status == 200


def test_a_key_is_shown_once_and_works(owner: Person, project: Project) -> None:
    key = create(owner, project, name="checkout", expires="30")
    page = owner.get(f"{project_path(project)}/keys").text
    assert key not in page
    assert key.split("_")[1] in page
    assert "checkout" in page
    wait_until(lambda: works(owner, key), "the key works")


def test_a_revoked_key_stops_working(owner: Person, project: Project) -> None:
    key = create(owner, project)
    wait_until(lambda: works(owner, key), "the key works")
    path = f"{project_path(project)}/keys/{key.split('_')[1]}/revoke"
    assert owner.post(path).status_code == 303
    wait_until(lambda: not works(owner, key), "the key is refused")
    page = owner.get(f"{project_path(project)}/keys").text
    assert "is revoked" in page
    assert "already revoked" in owner.client.get(owner.post(path).headers["location"]).text


def test_a_key_is_revoked_in_its_own_project_only(
    owner: Person, project: Project, default_project: Project
) -> None:
    key = create(owner, project)
    path = f"{project_path(default_project)}/keys/{key.split('_')[1]}/revoke"
    assert owner.post(path).status_code == 404
    wait_until(lambda: works(owner, key), "the key works still")


def test_wrong_fields_create_no_key(owner: Person, project: Project) -> None:
    path = f"{project_path(project)}/keys"
    for fields, said in (
        ({"name": "x"}, "at least one scope"),
        ({"name": "x" * 101, "scope": "read"}, "1 to 100 characters"),
        ({"name": "a\u202eb", "scope": "read"}, "printable"),
        ({"scope": "everything"}, "at least one scope"),
    ):
        answer = owner.post(path, fields)
        assert answer.status_code == 422
        assert said in answer.text
    assert "No key yet" in owner.get(path).text

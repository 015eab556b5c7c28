"""Members of a project, and operators of the instance."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.domain.access.sign_in import Role
from headrace.store.contract.access import Project
from tests.backoffice.cast import OWNER, Person, person, project_path
from tests.support.server import RunningServer


@pytest.fixture
def email(numbers: Iterator[int]) -> str:
    return f"new{next(numbers)}@example.org"


def shown(owner: Person, path: str, fields: dict[str, str]) -> str:
    """The page after a change."""
    answer = owner.post(path, fields)
    assert answer.status_code == 303, answer.text
    return owner.client.get(answer.headers["location"]).text


def test_a_new_member_gets_an_account_and_a_link(
    owner: Person, project: Project, email: str
) -> None:
    path = f"{project_path(project)}/members"
    answer = owner.post(path, {"email": email.upper(), "role": "viewer"})
    assert f"{owner.server.url}/backoffice/welcome/" in answer.text
    assert email in owner.get(path).text
    assert "/welcome/" not in owner.get(path).text


def test_a_member_who_has_an_account_gets_no_link(
    server: RunningServer, owner: Person, project: Project, email: str
) -> None:
    with person(server, email, is_owner=False) as somebody:
        assert somebody.get(project_path(project)).status_code == 404
        page = shown(owner, f"{project_path(project)}/members", {"email": email, "role": "viewer"})
        assert "/welcome/" not in page
        assert somebody.get(f"{project_path(project)}/keys").status_code == 200


def test_a_role_is_changed_and_ended_at_once(
    server: RunningServer, owner: Person, project: Project, email: str
) -> None:
    path = f"{project_path(project)}/members"
    with person(server, email, is_owner=False, roles={project.id: Role.VIEWER}) as somebody:
        policy = f"{project_path(project)}/policies/create_contacts"
        assert somebody.post(policy, {"value": "false"}).status_code == 403
        shown(owner, f"{path}/role", {"email": email, "role": "operator"})
        assert somebody.post(policy, {"value": "false"}).status_code == 303
        assert "no longer a member" in shown(owner, f"{path}/remove", {"email": email})
        assert somebody.get(path).status_code == 404
    assert "no longer exists" in shown(owner, f"{path}/remove", {"email": email})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"email": "nobody", "role": "viewer"}, "The address"),
        ({"email": "a@example.org", "role": "king"}, "Choose a role"),
        ({"email": "a@example.org"}, "Choose a role"),
    ],
)
def test_wrong_fields_add_no_member(
    owner: Person, project: Project, fields: dict[str, str], said: str
) -> None:
    path = f"{project_path(project)}/members"
    answer = owner.post(path, fields)
    assert answer.status_code == 422
    assert said in answer.text
    assert "No members" in owner.get(path).text


def test_a_member_leaves_by_themselves(
    server: RunningServer, owner: Person, project: Project, email: str
) -> None:
    del owner
    with person(server, email, is_owner=False, roles={project.id: Role.OWNER}) as somebody:
        path = f"{project_path(project)}/members/remove"
        assert "You left the project" in shown(somebody, path, {"email": email})


def test_an_operator_is_added_made_owner_and_removed(
    server: RunningServer, owner: Person, email: str
) -> None:
    answer = owner.post("/operators", {"email": email})
    assert f"{server.url}/backoffice/welcome/" in answer.text
    assert "already" in owner.post("/operators", {"email": email}).text
    link = owner.post("/operators/link", {"email": email}).text
    assert f"{server.url}/backoffice/welcome/" in link
    assert "an owner of" in shown(owner, "/operators/owner", {"email": email, "is_owner": "yes"})
    assert "no longer an owner of" in shown(
        owner, "/operators/owner", {"email": email, "is_owner": "no"}
    )
    assert "can no longer sign in" in shown(owner, "/operators/remove", {"email": email})
    assert "no longer exists" in shown(owner, "/operators/remove", {"email": email})
    assert "no longer exists" in shown(owner, "/operators/link", {"email": email})
    assert owner.post("/operators", {"email": "nobody"}).status_code == 422


def test_the_audit_lists_the_change_and_is_filtered(
    owner: Person, project: Project, email: str
) -> None:
    owner.post(f"{project_path(project)}/members", {"email": email, "role": "viewer"})
    path = f"{project_path(project)}/audit"
    page = owner.get(f"{path}?action=member.&actor={OWNER}").text
    assert "member.set" in page
    assert "project.create" not in page
    assert "project.create" in owner.get(path).text
    assert "No entry matches" in owner.get(f"{path}?actor=somebody+else").text
    assert "No entry matches" in owner.get(f"{path}?until=2001-01-01").text
    assert "member.set" in owner.get(f"{path}?until=9999-12-31").text
    assert "member.set" in owner.get(f"{path}?until=no+day&action=no+action&before=x").text


def test_a_long_audit_has_more_pages(owner: Person, project: Project) -> None:
    path = project_path(project)
    for number in range(55):
        owner.post(f"{path}/policies/event_retention_days", {"value": str(number + 1)})
    first = owner.get(f"{path}/audit").text
    following = first.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    last = owner.client.get(following).text
    assert "project.create" not in first
    assert "project.create" in last
    assert "Newest" in last
    assert 'rel="next"' not in last

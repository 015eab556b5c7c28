"""The list of projects, creating one, and unmasking personal data."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.domain.access.sign_in import Role
from headrace.store.contract.access import Project
from tests.backoffice.cast import Person, person, project_path
from tests.support.server import RunningServer


def test_a_project_is_created_once(owner: Person, numbers: Iterator[int]) -> None:
    name = f"made {next(numbers)}"
    answer = owner.post("/projects", {"name": name})
    assert answer.headers["location"].endswith("/keys")
    assert name in owner.get("/projects").text
    again = owner.post("/projects", {"name": name})
    assert again.status_code == 422
    assert "already" in again.text
    for wrong in ("", "x" * 101, "a\u200bb"):
        assert owner.post("/projects", {"name": wrong}).status_code == 422


def test_hostile_names_are_text(owner: Person, numbers: Iterator[int]) -> None:
    name = f"<script>alert({next(numbers)})</script>\"'&{{{{7*7}}}}"
    owner.post("/projects", {"name": name})
    page = owner.get("/projects").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "{{7*7}}" in page


def test_members_see_their_projects_only(
    server: RunningServer, project: Project, default_project: Project
) -> None:
    roles = {project.id: Role.VIEWER}
    with person(server, "one@example.org", is_owner=False, roles=roles) as somebody:
        page = somebody.get("/projects").text
        assert project.name in page
        assert project_path(default_project) not in page
        assert somebody.get("").headers["location"].endswith(project_path(project))


def test_personal_data_is_shown_for_a_while_and_audited(
    server: RunningServer, project: Project
) -> None:
    path = project_path(project)
    roles = {project.id: Role.OPERATOR}
    with person(server, "reveals@example.org", is_owner=False, roles=roles) as somebody:
        back = f"/backoffice{path}/keys?x=1"
        answer = somebody.post(f"{path}/reveal", {"back": back})
        assert answer.headers["location"] == back
        page = somebody.get(f"{path}/audit?action=personal_data.").text
        assert "personal_data.reveal" in page
        assert f"/backoffice{path}/keys" in page
        assert somebody.post(f"{path}/mask", {"back": back}).headers["location"] == back

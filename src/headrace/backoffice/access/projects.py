"""The projects of the signed-in person, and creating one."""

from __future__ import annotations

from starlette.responses import Response

from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.access.names import name_problem
from headrace.domain.ids import uuid_text
from headrace.store.contract.errors import StoreConflictError


async def list_projects(visit: PageRequest) -> Response:
    """List projects by name, with the role in each."""
    return _list(visit)


async def create_project(visit: PageRequest) -> Response:
    """Create a project and redirect to its keys, without which nothing can be sent."""
    name = visit.form.text("name")
    if problem := name_problem(name):
        return _list(visit, 422, name=name, problem=f"The name {problem}.")
    try:
        project = await visit.store.projects.create(name, visit.now_us, actor=visit.actor)
    except StoreConflictError:
        problem = "A project with that name already exists. Choose another name."
        return _list(visit, 422, name=name, problem=problem)
    address = visit.url(f"/projects/{uuid_text(project.uuid)}/keys")
    return visit.go(address, "Project created. Next, create an API key.")


def _list(visit: PageRequest, status: int = 200, *, name: str = "", problem: str = "") -> Response:
    rows = [(project, visit.who.role_in(project.id)) for project in visit.projects]
    return visit.page("projects.html", status, rows=rows, name=name, problem=problem)


SCREENS = (
    get("/projects", list_projects, Access.SIGNED_IN),
    post("/projects", create_project, Access.INSTANCE),
)

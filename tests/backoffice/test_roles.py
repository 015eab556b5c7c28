"""Access to every screen, for every kind of person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from headrace.backoffice.screens import SCREENS
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, Screen, get, post
from headrace.domain.access.sign_in import Role
from headrace.store.contract.access import Project
from tests.backoffice.cast import Person, make_project, person, project_path, stranger
from tests.support.server import RunningServer

#: What each person may use, from the weakest role.
ALLOWED = {
    "nobody": {Access.NOTHING},
    "outsider": {Access.NOTHING, Access.SIGNED_IN},
    "viewer": {Access.NOTHING, Access.SIGNED_IN, Access.VIEWER},
    "operator": {Access.NOTHING, Access.SIGNED_IN, Access.VIEWER, Access.OPERATOR},
    "owner": {Access.NOTHING, Access.SIGNED_IN, Access.VIEWER, Access.OPERATOR, Access.OWNER},
    "instance": set(Access),
}
#: Works only once; covered by its own test.
SIGN_OUT = "/sign-out"
#: Endless responses.
STREAMS = "/stream"


class Cast:
    """One person of each kind, and the project they belong to."""

    def __init__(self, server: RunningServer, stack: ExitStack) -> None:
        self.project: Project = make_project(server, "roles")
        self.people: dict[str, Person] = {"nobody": stack.enter_context(stranger(server))}
        for name in ("outsider", "viewer", "operator", "owner", "instance"):
            roles = {self.project.id: Role(name)} if name in set(Role) else {}
            email = f"{name}@roles.example.org"
            somebody = person(server, email, is_owner=name == "instance", roles=roles)
            self.people[name] = stack.enter_context(somebody)


@pytest.fixture(scope="module")
def cast(server: RunningServer) -> Iterator[Cast]:
    with ExitStack() as stack:
        yield Cast(server, stack)


def path_of(screen: Screen, cast: Cast) -> str:
    """The path with the real project, and ids that do not exist in the other places."""
    path = screen.path.replace("/projects/{project}", project_path(cast.project))
    parts = ["absent" if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)


def asked(screen: Screen, cast: Cast, who: str) -> httpx.Response:
    somebody = cast.people[who]
    path = path_of(screen, cast)
    return somebody.get(path) if screen.method == "GET" else somebody.post(path)


def turned_away(answer: httpx.Response) -> bool:
    if answer.status_code == 303:
        return answer.headers["location"].startswith("/backoffice/sign-in?next")
    return answer.status_code in (403, 303)


def named(screen: Screen) -> str:
    return f"{screen.method} {screen.path}"


WALKED = [s for s in SCREENS if s.path != SIGN_OUT and not s.path.endswith(STREAMS)]


@pytest.mark.parametrize("screen", WALKED, ids=named)
def test_a_screen_admits_only_declared_roles(screen: Screen, cast: Cast) -> None:
    for who, needs in ALLOWED.items():
        answer = asked(screen, cast, who)
        assert answer.status_code < 500, (who, answer.text)
        if screen.access in needs:
            assert not turned_away(answer), (who, answer.status_code, answer.headers)
        elif who == "nobody":
            assert answer.headers["location"].startswith("/backoffice/sign-in"), who
        elif who == "outsider" and screen.access.role is not None:
            # As if the project did not exist.
            assert answer.status_code == 404
        else:
            assert answer.status_code == 403, who


@pytest.mark.parametrize("screen", [s for s in SCREENS if s.path.endswith(STREAMS)], ids=named)
def test_a_stream_is_for_members(screen: Screen, cast: Cast) -> None:
    assert asked(screen, cast, "nobody").status_code == 303
    assert asked(screen, cast, "outsider").status_code == 404


def test_a_project_of_others_looks_absent(cast: Cast) -> None:
    absent = "/projects/c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10/keys"
    outsider = cast.people["outsider"]
    real = outsider.get(f"{project_path(cast.project)}/keys")
    made_up = outsider.get(absent)
    assert (real.status_code, made_up.status_code) == (404, 404)
    assert real.text.partition("Request <code>")[0].replace(
        project_path(cast.project), ""
    ) == made_up.text.partition("Request <code>")[0].replace(absent.removesuffix("/keys"), "")


def test_a_wrong_method_gets_the_allowed_ones(cast: Cast) -> None:
    owner = cast.people["instance"]
    answer = owner.client.delete("/backoffice/projects")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"


async def view(visit: PageRequest) -> None:
    raise AssertionError(visit)


@pytest.mark.parametrize(
    ("path", "need"),
    [
        ("/projects/{project}/x", Access.SIGNED_IN),
        ("/x", Access.OWNER),
        ("/projects/{project}", Access.NOTHING),
    ],
)
def test_a_project_in_the_path_and_a_role_in_it_go_together(path: str, need: Access) -> None:
    for make in (get, post):
        with pytest.raises(ValueError, match="go together"):
            make(path, view, need)  # type: ignore[arg-type]

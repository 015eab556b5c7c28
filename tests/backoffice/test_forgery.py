"""Changes are accepted only from the backoffice's pages, with the session's token."""

from __future__ import annotations

import pytest

from headrace.backoffice.screens import SCREENS
from headrace.backoffice.shell.origin import csrf_token
from headrace.backoffice.shell.screen import Access, Screen
from tests.backoffice.cast import Person

CHANGES = [screen for screen in SCREENS if screen.method == "POST"]
OURS = {"sec-fetch-site": "same-origin"}


def path_of(screen: Screen) -> str:
    parts = ["absent" if part.startswith("{") else part for part in screen.path.split("/")]
    return "/backoffice" + "/".join(parts)


def named(screen: Screen) -> str:
    return screen.path


@pytest.mark.parametrize("screen", CHANGES, ids=named)
def test_a_change_from_another_site_is_rejected(screen: Screen, owner: Person) -> None:
    form = {"csrf": csrf_token(owner.token)}
    for headers in (
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example", **OURS},
        {"origin": owner.server.url, "sec-fetch-site": "cross-site"},
    ):
        answer = owner.client.post(path_of(screen), data=form, headers=headers)
        assert answer.status_code == 403, headers
        assert "Nothing was changed" in answer.text


@pytest.mark.parametrize(
    "screen", [s for s in CHANGES if s.access is not Access.NOTHING], ids=named
)
def test_a_change_without_the_token_of_the_session_is_rejected(
    screen: Screen, owner: Person
) -> None:
    for token in ("", "é", "0" * 64, csrf_token("x" * 43)):
        answer = owner.client.post(path_of(screen), data={"csrf": token}, headers=OURS)
        assert answer.status_code == 403, token
        assert "out of date" in answer.text


def test_a_get_changes_nothing_and_needs_no_token(owner: Person) -> None:
    assert owner.client.get("/backoffice/sign-out").status_code == 405


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x" * 70_000, "application/x-www-form-urlencoded", 413),
        (b'{"csrf": "x"}', "application/json", 415),
        (b"a=%ff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=1" for _ in range(300)), "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
    ],
)
def test_a_form_that_cannot_be_read_is_rejected(
    owner: Person, body: bytes, kind: str, status: int
) -> None:
    headers = {"content-type": kind, **OURS}
    answer = owner.client.post("/backoffice/projects", content=body, headers=headers)
    assert answer.status_code == status


def test_a_query_that_cannot_be_read_is_rejected(owner: Person) -> None:
    assert owner.get("/projects?a=%ff").status_code == 400

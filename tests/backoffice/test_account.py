"""A person's own password and sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.backoffice.shell.passwords import Passwords
from headrace.domain.timestamps import now_us
from headrace.store.store import Store
from tests.backoffice.cast import Person, in_store, person
from tests.support.server import RunningServer

OLD, NEW = "correct horse battery", "another horse battery"


@pytest.fixture
def ann(server: RunningServer, numbers: Iterator[int]) -> Iterator[Person]:
    """An operator with a password."""
    email = f"ann{next(numbers)}@example.org"
    with person(server, email, is_owner=False) as somebody:

        async def work(store: Store) -> None:
            passwords = Passwords()
            hashed = await passwords.hash(OLD)
            passwords.close()
            found = await store.sign_in.sessions(email, now_us())
            await store.sign_in.set_password(email, hashed, found[0].token_hash, now_us())

        in_store(server, work)
        yield somebody


def change(ann: Person, current: str, password: str = NEW) -> int:
    fields = {"current": current, "password": password, "again": password}
    return ann.post("/account/password", fields).status_code


def test_a_new_password_needs_the_one_before_and_ends_other_sessions(
    server: RunningServer, ann: Person
) -> None:
    with person(server, ann.email, is_owner=False) as elsewhere:
        assert change(ann, "wrong") == 422
        assert elsewhere.get("/account").status_code == 200
        assert change(ann, OLD) == 303
        assert elsewhere.get("/account").status_code == 303
    assert "Password changed" in ann.get("/account").text
    assert change(ann, OLD) == 422


def test_an_open_browser_is_no_place_to_guess(ann: Person) -> None:
    statuses = [change(ann, f"guess {number}") for number in range(12)]
    assert statuses == [422] * 10 + [429] * 2


def test_a_session_is_ended_from_another(server: RunningServer, ann: Person) -> None:
    with person(server, ann.email, is_owner=False) as elsewhere:
        page = ann.get("/account").text
        assert page.count('name="session"') == 1
        session = page.partition('name="session" value="')[2].partition('"')[0]
        assert "Session ended" in follow(ann, {"session": session})
        assert elsewhere.get("/account").status_code == 303
        assert "had already ended" in follow(ann, {"session": session})


def follow(ann: Person, fields: dict[str, str]) -> str:
    answer = ann.post("/account/sessions", fields)
    assert answer.status_code == 303
    return ann.client.get(answer.headers["location"]).text


def test_a_message_is_shown_once(ann: Person) -> None:
    follow(ann, {"session": "absent"})
    assert "had already ended" not in ann.get("/account").text

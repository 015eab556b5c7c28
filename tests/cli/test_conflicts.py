"""`headrace contacts`: conflicts are listed and dismissed."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tests.support.server import RunningServer, headrace
from tests.support.waiting import wait_until

NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
_numbers = itertools.count(1)


def run(server: RunningServer, *arguments: str) -> Any:
    done = headrace("contacts", *arguments, "--store", server.store_url, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def conflict(server: RunningServer) -> dict[str, Any]:
    """Two contacts that an event identifies as one person, as in the API."""
    number = next(_numbers)
    address = f"{number}@b.example"
    for said in (
        {"external_id": f"x{number}"},
        {"external_id": f"y{number}", "email": address},
        {"external_id": f"x{number}", "email": address},
    ):
        server.ask("/events", {"event": "a.b", **said})
    own = f"/contacts?external_id=x{number}"
    wait_until(lambda: bool(server.ask(own)["data"]), "the contact is there")
    contact_id = server.ask(own)["data"][0]["id"]

    def found() -> list[dict[str, Any]]:
        shown = server.ask("/contacts/conflicts")["data"]
        return [each for each in shown if each["contact_id"] == contact_id]

    wait_until(lambda: bool(found()), "the conflict is there")
    return found()[0]


def test_conflicts_are_what_the_api_shows(server: RunningServer) -> None:
    pair = conflict(server)
    assert run(server, "conflicts") == server.ask("/contacts/conflicts")["data"]
    table = headrace("contacts", "conflicts", "--store", server.store_url).stdout
    assert pair["id"] in table


def test_a_conflict_is_dismissed(server: RunningServer) -> None:
    pair = conflict(server)
    shown = run(server, "dismiss", pair["id"].upper(), "--reason", "a family")
    assert (shown["id"], shown["status"], shown["dismissed_by"]) == (
        *(pair["id"], "dismissed"),
        "cli",
    )
    assert shown == run(server, "dismiss", pair["id"], "--reason", "another")
    assert shown in run(server, "conflicts", "--status", "dismissed")
    assert pair["id"] not in [each["id"] for each in run(server, "conflicts")]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("dismiss", NOBODY, "--reason", "r"), 1),
        (("dismiss", "1", "--reason", "r"), 2),
        (("dismiss", NOBODY, "--reason", " "), 2),
        (("dismiss", NOBODY), 2),
        (("conflicts", "--status", "closed"), 2),
        (("conflicts", "--project", "nowhere"), 2),
    ],
)
def test_rejections(server: RunningServer, arguments: tuple[str, ...], code: int) -> None:
    done = headrace("contacts", *arguments, "--store", server.store_url)
    assert done.returncode == code
    assert "Traceback" not in done.stderr

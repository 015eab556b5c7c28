"""`/domains`, `/templates` and `/suppressions`: the answers, and what is refused."""

from __future__ import annotations

import pytest

from tests.support.audiences import NOBODY, ids_of, send
from tests.support.raw_http import Client

EMAIL_TEMPLATE = {
    "name": "Welcome",
    "channel": "email",
    "subject_template": "Welcome, {{ first_name | default: 'friend' }}",
    "rendered_html": "<p>Good to have you.</p>",
}


def test_a_domain_is_created_with_its_records_and_deleted(client: Client) -> None:
    answer = send(client, "POST", "/domains", name="Bücher.Example.", track_opens=False)

    assert answer.status == 201, answer.body
    shown = answer.data
    assert (shown["name"], shown["status"]) == ("xn--bcher-kva.example", "pending")
    assert (shown["track_opens"], shown["track_clicks"]) == (False, True)
    assert {record["purpose"] for record in shown["records"]} == {"dkim", "spf", "dmarc"}
    dkim = next(record for record in shown["records"] if record["purpose"] == "dkim")
    assert dkim["name"] == "headrace._domainkey.xn--bcher-kva.example"
    assert b"PRIVATE" not in answer.body
    assert client.get(f"/domains/{shown['id']}").data == shown
    assert client.get("/domains").data == [shown]
    again = send(client, "POST", "/domains", name="xn--bcher-kva.example")
    assert (again.status, again.code) == (409, "Conflict")
    assert client.request("DELETE", f"/domains/{shown['id']}").status == 204
    assert client.request("DELETE", f"/domains/{shown['id']}").status == 404


def test_a_template_is_drafted_changed_and_published(client: Client) -> None:
    answer = send(client, "POST", "/templates", **EMAIL_TEMPLATE)

    assert answer.status == 201, answer.body
    target = f"/templates/{answer.data['id']}"
    assert (answer.data["status"], answer.data["versions"]) == ("draft", 0)
    changed = send(client, "PATCH", target, preview_text="And what is new.")
    assert (changed.status, changed.data["preview_text"]) == (200, "And what is new.")
    published = client.request("POST", f"{target}/publish")
    assert published.status == 200, published.body
    version = published.data["current_published_version"]
    assert (published.data["status"], version["version_number"]) == ("active", 1)
    assert client.get(target).data["has_changes"] is False
    assert send(client, "POST", "/templates", **EMAIL_TEMPLATE).status == 409


def test_a_template_that_cannot_be_rendered_is_not_published(client: Client) -> None:
    made = send(client, "POST", "/templates", **{**EMAIL_TEMPLATE, "rendered_html": "{% if %}"})
    answer = client.request("POST", f"/templates/{made.data['id']}/publish")
    assert (answer.status, answer.code) == (422, "ValidationError")


def test_a_suppression_is_found_by_its_address_and_removed(client: Client) -> None:
    answer = send(client, "POST", "/suppressions", email="Ann@B.example", reason="asked us")

    assert answer.status == 201, answer.body
    shown = answer.data
    assert (shown["email"], shown["reason"], shown["scope"]) == ("ann@b.example", "manual", "all")
    assert client.get("/suppressions?email=ANN@b.example").data == [shown]
    assert client.get("/suppressions?email=bob@b.example").data == []
    assert client.get("/suppressions?reason=manual").data == [shown]
    assert client.get("/suppressions?reason=complaint").data == []
    assert client.request("DELETE", f"/suppressions/{shown['id']}").status == 204
    assert client.get("/suppressions").data == []


def test_suppressions_are_listed_in_pages(client: Client) -> None:
    made = [
        send(client, "POST", "/suppressions", email=f"p{n}@b.example").data["id"] for n in range(5)
    ]
    found: list[str] = []
    target = "/suppressions?limit=2"
    while target:
        page = client.get(target).json()
        found += [one["id"] for one in page["data"]]
        following = page["next_cursor"]
        target = f"/suppressions?limit=2&cursor={following}" if following else ""
    assert found == made[::-1]
    cursor = client.get("/suppressions?limit=2").json()["next_cursor"]
    assert client.get(f"/suppressions?reason=manual&cursor={cursor}").status == 422


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/domains", {"name": "localhost"}),
        ("/domains", {"name": "example.org", "trackopens": True}),
        ("/templates", {"name": "x", "channel": "fax"}),
        ("/templates", {"name": "x", "channel": "push", "rendered_html": "<p>"}),
        ("/suppressions", {"email": "nobody"}),
        ("/suppressions", {"email": "a@b.example", "scope": "some"}),
    ],
)
def test_wrong_members_are_refused(client: Client, path: str, body: dict[str, object]) -> None:
    answer = send(client, "POST", path, **body)
    assert (answer.status, answer.code) == (422, "ValidationError")
    assert ids_of(client, path) == []


@pytest.mark.parametrize("path", ["/domains", "/templates"])
def test_what_is_not_there_is_404(client: Client, path: str) -> None:
    assert client.get(f"{path}/{NOBODY}").status == 404

"""`/domains`, `/templates` and `/suppressions`: responses and rejections."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.support.audiences import NOBODY, ids_of, new_contact, send
from tests.support.raw_http import Client, Response

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


def test_a_domain_shows_its_deliverability(client: Client) -> None:
    made = send(client, "POST", "/domains", name="figures.example").data
    answer = client.get(f"/domains/{made['id']}/deliverability?days=7")
    assert answer.status == 200, answer.body
    assert (answer.data["domain"], answer.data["days"]) == ("figures.example", 7)
    assert answer.data["total"]["sent"] == 0
    assert answer.data["by_day"] == answer.data["rejecting"] == []
    for days in ("0", "367", "x", "²", "9999999"):
        assert client.get(f"/domains/{made['id']}/deliverability?days={days}").status in {400, 422}
    assert client.get(f"/domains/{NOBODY}/deliverability").status == 404


def bring(client: Client, text: str | bytes, query: str = "") -> Response:
    body = text if isinstance(text, bytes) else text.encode()
    target = f"/suppressions/import{query}"
    return client.request("POST", target, body=body, body_type="text/csv")


def test_a_list_of_another_product_is_imported_and_exported(client: Client) -> None:
    answer = bring(
        client,
        '\ufeffEmailAddress,SuppressionReason,Origin,CreatedAt\r\n"a@b.example",HardBounce,'
        "Recipient,2019-12-10T08:58:33-05:00\r\nnobody,HardBounce,Recipient,\r\n",
    )
    assert answer.status == 200, answer.body
    shown = answer.data
    assert (shown["added"], shown["already_listed"], shown["rejected"]) == (1, 0, 1)
    assert [one["line"] for one in shown["problems"]] == [3]
    (entry,) = client.get("/suppressions").data
    assert (entry["reason"], entry["created_at"]) == ("hard_bounce", "2019-12-10T13:58:33.000Z")
    file = client.get("/suppressions/export")
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.body.decode().splitlines()[1].startswith("a@b.example,hard_bounce,all,")
    assert bring(client, file.body).data["already_listed"] == 1


def test_a_query_decides_what_the_file_does_not_say(client: Client) -> None:
    assert bring(client, "email\na@b.example\n", "?reason=complaint&scope=all").status == 200
    (entry,) = client.get("/suppressions").data
    assert (entry["reason"], entry["scope"]) == ("complaint", "all")


@pytest.mark.parametrize(
    ("body", "query", "status"),
    [
        (b"email\n\xff\n", "", 422),
        (b"email\n", "?reason=because", 422),
        (b"x" * (5 * 1024 * 1024 + 1), "", 413),
    ],
)
def test_a_file_that_cannot_be_read_is_rejected(
    client: Client, body: bytes, query: str, status: int
) -> None:
    assert bring(client, body, query).status == status
    assert client.get("/suppressions").data == []


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
def test_wrong_members_are_rejected(client: Client, path: str, body: dict[str, object]) -> None:
    answer = send(client, "POST", path, **body)
    assert (answer.status, answer.code) == (422, "ValidationError")
    assert ids_of(client, path) == []


@pytest.mark.parametrize("path", ["/domains", "/templates"])
def test_what_is_not_there_is_404(client: Client, path: str) -> None:
    assert client.get(f"{path}/{NOBODY}").status == 404


def test_what_is_tracked_of_a_domain_is_changed(client: Client) -> None:
    made = send(client, "POST", "/domains", name="example.org").data
    target = f"/domains/{made['id']}"
    changed = send(client, "PATCH", target, track_opens=False)
    assert changed.status == 200, changed.body
    assert (changed.data["track_opens"], changed.data["track_clicks"]) == (False, True)
    assert client.get(target).data == changed.data
    refused = send(client, "PATCH", target, name="example.net")
    assert (refused.status, refused.fields) == (422, ["name"])
    assert send(client, "PATCH", f"/domains/{NOBODY}", track_opens=True).status == 404


def new_version(client: Client, target: str, **draft: str) -> str:
    assert send(client, "PATCH", target, **draft).status == 200
    published = client.request("POST", f"{target}/publish")
    assert published.status == 200, published.body
    return str(published.data["current_published_version"]["id"])


def test_a_warm_up_plan_is_set_changed_and_ended(client: Client) -> None:
    made = send(client, "POST", "/domains", name="warm.example").data
    assert made["warm_up"] is None
    path = f"/domains/{made['id']}"
    begun = send(client, "PATCH", path, warm_up={"daily_start": 20}).data["warm_up"]
    assert (begun["daily_start"], begun["days"], begun["day"]) == (20, 14, 1)
    assert (begun["ceiling"], begun["sent_today"]) == (20, 0)
    changed = send(client, "PATCH", path, warm_up={"days": 30}).data["warm_up"]
    assert changed == begun | {"days": 30}
    # Another change leaves the plan as it is.
    assert send(client, "PATCH", path, track_opens=False).data["warm_up"] == changed
    assert client.get(path).data["warm_up"] == changed
    listed = [one for one in client.get("/domains?limit=100").data if one["id"] == made["id"]]
    assert listed[0]["warm_up"] == changed
    ended = send(client, "PATCH", path, warm_up={"enabled": False})
    assert ended.data["warm_up"] is None


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        ({"daily_start": 0}, "warm_up.daily_start"),
        ({"daily_start": -1}, "warm_up.daily_start"),
        ({"daily_start": 1.5}, "warm_up.daily_start"),
        ({"daily_start": "5"}, "warm_up.daily_start"),
        ({"daily_start": 10**40}, "warm_up.daily_start"),
        ({"days": 61}, "warm_up.days"),
        ({"days": True}, "warm_up.days"),
        ({"enabled": 1}, "warm_up.enabled"),
        ({"day": 1}, "warm_up.day"),
        (14, "warm_up"),
        (False, "warm_up"),
    ],
)
def test_a_wrong_warm_up_plan_is_rejected(client: Client, plan: object, field: str) -> None:
    made = send(client, "POST", "/domains", name=f"{uuid4().hex}.example").data
    rejected = send(client, "PATCH", f"/domains/{made['id']}", warm_up=plan)
    assert rejected.status == 422
    assert [one["field"] for one in rejected.json()["error"]["details"]] == [field]
    assert client.get(f"/domains/{made['id']}").data["warm_up"] is None
    client.request("DELETE", f"/domains/{made['id']}")


def test_versions_are_listed_shown_and_restored(client: Client) -> None:
    target = f"/templates/{send(client, 'POST', '/templates', **EMAIL_TEMPLATE).data['id']}"
    ids = [new_version(client, target, rendered_text=f"Hi {{{{ pet{n} }}}}") for n in range(3)]

    page = client.get(f"{target}/versions?limit=2").json()
    assert [one["id"] for one in page["data"]] == [ids[2], ids[1]]
    rest = client.get(f"{target}/versions?limit=2&cursor={page['next_cursor']}").json()
    assert ([one["id"] for one in rest["data"]], rest["next_cursor"]) == ([ids[0]], None)
    first = client.get(f"{target}/versions/1").data
    assert (first["rendered_text"], first["required"]) == ("Hi {{ pet0 }}", ["pet0"])
    restored = send(client, "POST", f"{target}/restore", version_number=1)
    assert restored.status == 200, restored.body
    assert restored.data["rendered_text"] == "Hi {{ pet0 }}"
    assert restored.data["has_changes"] is True
    for number in ("4", "0", "x", "-1", "9" * 30):
        assert client.get(f"{target}/versions/{number}").status == 404
    wrong: tuple[object, ...] = (4, 0, -1, "1", 1.5, True, None, 10**30)
    for given in wrong:
        assert send(client, "POST", f"{target}/restore", version_number=given).status == 422


def test_templates_are_found_by_channel_status_and_name(client: Client) -> None:
    welcome = send(client, "POST", "/templates", **EMAIL_TEMPLATE).data["id"]
    push = send(client, "POST", "/templates", name="Sale now", channel="push").data["id"]
    client.request("POST", f"/templates/{welcome}/publish")

    assert ids_of(client, "/templates?channel=push") == [push]
    assert ids_of(client, "/templates?status=active") == [welcome]
    assert ids_of(client, "/templates?search=SALE") == [push]
    assert ids_of(client, "/templates?search=%25") == []
    assert "rendered_html" not in client.get("/templates").data[0]
    archived = client.request("POST", f"/templates/{welcome}/archive")
    assert (archived.status, archived.data["status"]) == (200, "archived")
    assert send(client, "POST", "/templates", **EMAIL_TEMPLATE).status == 201
    assert client.request("POST", f"/templates/{welcome}/publish").status == 409


PUSH_TEXTS: list[dict[str, Any]] = [
    {"locale": "de", "title": "Hallo {{ name }}", "message": "Da"},
    {
        "locale": "en",
        "title": "Hello {{ name }}",
        "message": "{{ contact.properties.plan | default: 'No plan' }}",
        "launch_url": "https://shop.example/{{ name }}",
    },
]


def test_a_push_template_is_published_and_shown_in_every_language(client: Client) -> None:
    draft = {"channel": "push", "default_locale": "en", "messages": PUSH_TEXTS}
    template_id = send(client, "POST", "/templates", name="Sale", **draft).data["id"]
    target = f"/templates/{template_id}"
    published = client.request("POST", f"{target}/publish")
    assert published.status == 200, published.body
    assert published.data["current_published_version"]["version_number"] == 1
    version = client.get(f"{target}/versions/1").data
    assert [each["locale"] for each in version["messages"]] == ["en", "de"]
    assert (version["variables"], version["required"]) == (
        ["contact.properties.plan", "name"],
        ["name"],
    )
    missing = send(client, "POST", f"{target}/preview")
    assert (missing.status, b"name" in missing.body) == (422, True)
    for more in ({}, {"version_number": 1}):
        shown = send(client, "POST", f"{target}/preview", variables={"name": "Ann"}, **more).data
        assert [each["title"] for each in shown["messages"]] == ["Hello Ann", "Hallo Ann"]
        assert shown["messages"][0]["message"] == "No plan"
        assert shown["messages"][0]["launch_url"] == "https://shop.example/Ann"
    assert send(client, "POST", f"{target}/preview", version_number=2).status == 422
    test = send(
        client, "POST", f"{target}/test-send", **{"from": "a@example.org", "to": ["b@example.org"]}
    )
    assert test.status == 422


BUTTONS = [
    {"id": "track", "text": "Track {{ name }}", "launch_url": "https://x.example/{{ name }}"}
]
PUSH_DATA = {"order": {"ids": ["{{ name }}", 7, True, None]}, "plain": "x"}


def test_buttons_and_data_of_a_push_template_are_kept_published_and_shown(client: Client) -> None:
    german = {**PUSH_TEXTS[0], "buttons": [{"id": "track", "text": "Verfolgen"}]}
    draft = {"channel": "push", "default_locale": "en", "messages": [german, PUSH_TEXTS[1]]}
    more = {"buttons": BUTTONS, "data": PUSH_DATA}
    made = send(client, "POST", "/templates", name="Sale", **draft, **more)
    assert made.status == 201, made.body
    assert (made.data["buttons"], made.data["data"]) == (BUTTONS, PUSH_DATA)
    assert made.data["messages"][0]["buttons"][0]["text"] == "Verfolgen"
    assert made.data["messages"][1]["buttons"] is None
    target = f"/templates/{made.data['id']}"
    assert client.request("POST", f"{target}/publish").status == 200
    version = client.get(f"{target}/versions/1").data
    assert version["data"] == PUSH_DATA
    shown = send(client, "POST", f"{target}/preview", variables={"name": "Ann"}).data
    assert [each["buttons"] for each in shown["messages"]] == [
        [{"id": "track", "text": "Track Ann", "launch_url": "https://x.example/Ann"}],
        [{"id": "track", "text": "Verfolgen", "launch_url": None}],
    ]
    assert shown["data"] == {"order": {"ids": ["Ann", 7, True, None]}, "plain": "x"}
    assert send(client, "PATCH", target, description="d").data["buttons"] == BUTTONS
    cleared = send(client, "PATCH", target, buttons=[], data={})
    assert (cleared.data["buttons"], cleared.data["data"]) == ([], {})
    restored = send(client, "POST", f"{target}/restore", version_number=1)
    assert (restored.data["buttons"], restored.data["data"]) == (BUTTONS, PUSH_DATA)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"buttons": [*BUTTONS, *BUTTONS]}, "buttons[1].id"),
        ({"buttons": [{"id": str(number), "text": "x"} for number in range(4)]}, "buttons"),
        ({"buttons": [{"id": "not an id", "text": "x"}]}, "buttons[0].id"),
        ({"buttons": [{"id": "a"}]}, "buttons[0].text"),
        ({"buttons": [{"id": "a", "text": "x", "launch_url": "a b"}]}, "buttons[0].launch_url"),
        ({"buttons": [{"id": "a", "text": "x", "title": "x"}]}, "buttons[0].title"),
        ({"messages": [{**PUSH_TEXTS[1], "buttons": {}}]}, "messages[0].buttons"),
        ({"data": []}, "data"),
        ({"data": {"a": "x" * 20_000}}, "data"),
        ({"data": {"a": [[[[[[[[[]]]]]]]]]}}, "data"),
    ],
)
def test_buttons_and_data_that_cannot_be_sent_are_rejected(
    client: Client, change: dict[str, Any], field: str
) -> None:
    draft = {"channel": "push", "default_locale": "en", "messages": PUSH_TEXTS} | change
    answer = send(client, "POST", "/templates", name="Sale", **draft)
    assert (answer.status, list(answer.fields)) == (422, [field])
    mail = {key: value for key, value in change.items() if key != "messages"}
    if mail:
        assert send(client, "POST", "/templates", **EMAIL_TEMPLATE, **mail).status == 422


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": []}, "messages"),
        ({"buttons": [{"id": "a", "text": " "}]}, "buttons[0].text"),
        ({"buttons": [{"id": "a", "text": "{{ x"}]}, "buttons[0].text"),
        ({"data": {"text": "", "list": [{"text": "{% if %}"}]}}, "data.list[0].text"),
        ({"data": {"a": "{{ contact.age }}"}}, "data.a"),
        (
            {"messages": [{**PUSH_TEXTS[1], "buttons": [{"id": "a", "text": "{{ x"}]}]},
            "messages[0].buttons[0].text",
        ),
        ({"default_locale": "fr"}, "default_locale"),
        ({"messages": [{**PUSH_TEXTS[1], "title": "{{ x"}]}, "messages[0].title"),
        ({"messages": [{**PUSH_TEXTS[1], "title": " "}]}, "messages[0].title"),
        ({"messages": [{**PUSH_TEXTS[1], "message": "{{ contact.age }}"}]}, "messages[0].message"),
    ],
)
def test_a_push_template_with_mistakes_is_not_published(
    client: Client, change: dict[str, Any], field: str
) -> None:
    draft = {"channel": "push", "default_locale": "en", "messages": PUSH_TEXTS} | change
    template_id = send(client, "POST", "/templates", name="Sale", **draft).data["id"]
    answer = client.request("POST", f"/templates/{template_id}/publish")
    assert answer.status == 422
    assert field in [each["field"] for each in answer.json()["error"]["details"]]
    assert client.get(f"/templates/{template_id}").data["status"] == "draft"


def test_a_template_is_shown_with_the_data_of_a_contact(client: Client) -> None:
    draft = {**EMAIL_TEMPLATE, "rendered_html": "<p>{{ contact.properties.plan }}</p>"}
    target = f"/templates/{send(client, 'POST', '/templates', **draft).data['id']}"
    contact = new_contact(client, properties={"plan": "<pro>"})

    shown = send(client, "POST", f"{target}/preview", contact_id=contact)
    assert shown.status == 200, shown.body
    assert (shown.data["subject"], shown.data["html"]) == ("Welcome, friend", "<p>&lt;pro&gt;</p>")
    named = send(client, "POST", f"{target}/preview", variables={"first_name": "Ann"})
    assert (named.status, named.code) == (422, "ValidationError")
    assert "contact.properties.plan" in named.json()["error"]["message"]
    assert client.request("POST", f"{target}/preview", body=b"{}").status == 422
    wrong: tuple[dict[str, object], ...] = (
        {"contact_id": NOBODY},
        {"variables": []},
        {"version_number": 1},
        {"x": 1},
    )
    for body in wrong:
        assert send(client, "POST", f"{target}/preview", **body).status == 422
    assert send(client, "POST", f"/templates/{NOBODY}/preview").status == 404


def test_a_draft_without_a_subject_is_shown_and_not_sent(client: Client) -> None:
    made = send(client, "POST", "/templates", name="Bare", channel="email", rendered_text="Hi")
    target = f"/templates/{made.data['id']}"
    shown = send(client, "POST", f"{target}/preview")
    assert (shown.status, shown.data["subject"], shown.data["text"]) == (200, "", "Hi")
    members = {"from": "news@example.org", "to": ["me@b.example"]}
    answer = send(client, "POST", f"{target}/test-send", **members)
    assert (answer.status, answer.fields) == (422, ["subject_template"])


def test_a_draft_can_be_sent_as_a_test(client: Client) -> None:
    target = f"/templates/{send(client, 'POST', '/templates', **EMAIL_TEMPLATE).data['id']}"
    members = {"from": "news@example.org", "to": ["me@b.example"], "variables": {"first_name": "A"}}
    answer = send(client, "POST", f"{target}/test-send", **members)
    assert answer.status == 201, answer.body
    assert answer.data["subject"] == "[Test] Welcome, A"
    assert client.get("/contacts?email=me@b.example").data == []
    many = [f"p{n}@b.example" for n in range(11)]
    wrongs: tuple[dict[str, object], ...] = (
        {"to": []},
        {"to": many},
        {"to": ["nobody"]},
        {"from": "x"},
        {"cc": ["a@b.cc"]},
    )
    for wrong in wrongs:
        assert send(client, "POST", f"{target}/test-send", **{**members, **wrong}).status == 422
    # A value cannot start another header.
    line = {"variables": {"first_name": "A\r\nBcc: eve@b.example"}}
    answer = send(client, "POST", f"{target}/test-send", **{**members, **line})
    assert answer.status == 201, answer.body
    assert answer.data["subject"] == "[Test] Welcome, A Bcc: eve@b.example"

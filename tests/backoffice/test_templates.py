"""Templates: previewed with a contact's data, published, and restored."""

from __future__ import annotations

import html
from collections.abc import Iterator

import pytest

from headrace.backoffice.shell import content_policy
from tests.backoffice.cast import Person
from tests.backoffice.mailing import RUDE_HTML, audited, mask, reveal, said
from tests.backoffice.shop import Shop, open_shop, page
from tests.support.server import RunningServer

DRAFT = {
    "name": "Welcome",
    "channel": "email",
    "subject_template": "Welcome, {{ contact.external_id | default: 'friend' }}",
    "rendered_html": f"<p>Order {{{{ order_id | default: 'none' }}}}</p>{RUDE_HTML}",
}


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int], owner: Person) -> Iterator[Shop]:
    """A project of its own, with masked personal data."""
    with open_shop(server, f"templates {next(numbers)}") as shop:
        mask(shop, owner)
        yield shop


@pytest.fixture
def template(shop: Shop) -> str:
    """Path of a template's page."""
    return f"/templates/{new_template(shop)}"


def new_template(shop: Shop, **members: str) -> str:
    answer = shop.client.post("/templates", json=DRAFT | members)
    assert answer.status_code == 201, answer.text
    template_id: str = answer.json()["data"]["id"]
    return template_id


def test_a_draft_is_previewed_without_anybody(owner: Person, shop: Shop, template: str) -> None:
    assert template in page(owner, shop, "/templates")
    text = html.unescape(page(owner, shop, f'{template}?variables={{"order_id": 7}}'))
    assert "Welcome, friend" in text
    frame = owner.get(f'{shop.path}{template}/html?variables={{"order_id": "<7>"}}')
    assert "Order &lt;7&gt;" in frame.text
    assert "<script" not in frame.text
    assert frame.headers["content-security-policy"] == content_policy.MAIL


def test_data_of_a_contact_is_shown_once_it_was_asked_for(
    owner: Person, shop: Shop, template: str
) -> None:
    shop.client.post("/contacts", json={"external_id": "Mike-7", "email": "mike@b.example"})
    for who in ("Mike-7", "mike@b.example"):
        masked = page(owner, shop, f"{template}?contact={who}")
        assert "Welcome, Mike-7" not in masked
        assert "is personal" in masked
        page(owner, shop, f"{template}/html?contact={who}", 404)
    reveal(shop, owner)
    for who in ("Mike-7", "mike@b.example", "MIKE@b.example"):
        assert "Welcome, Mike-7" in page(owner, shop, f"{template}?contact={who}")
    assert "No contact has this" in page(owner, shop, f"{template}?contact=Mike")


@pytest.mark.parametrize("variables", ["[]", "{", "7", "[" * 3000])
def test_variables_are_a_json_object(
    owner: Person, shop: Shop, template: str, variables: str
) -> None:
    assert "must be a JSON object" in page(owner, shop, f"{template}?variables={variables}")


def test_a_template_that_cannot_be_rendered_says_why(owner: Person, shop: Shop) -> None:
    needs = new_template(shop, subject_template="{{ order_id }}")
    text = page(owner, shop, f"/templates/{needs}")
    assert "It cannot be shown so" in text
    assert "order_id" in text.partition("It cannot be shown so")[2][:200]


def test_a_draft_is_published_and_brought_back(owner: Person, shop: Shop, template: str) -> None:
    first = owner.post(f"{shop.path}{template}/publish")
    assert first.status_code == 200
    assert "Version 1 is published" in first.text
    template_id = template.rpartition("/")[2]
    shop.client.patch(f"/templates/{template_id}", json={"subject_template": "Changed"})
    assert "draft changed" in page(owner, shop, "/templates")
    owner.post(f"{shop.path}{template}/publish")
    assert "Version 2" in page(owner, shop, template)
    back = owner.post(f"{shop.path}{template}/restore", {"number": "1"})
    assert "that of version 1" in said(owner, back.headers["location"])
    shown = shop.client.get(f"/templates/{template_id}").json()["data"]
    assert shown["subject_template"] == DRAFT["subject_template"]
    assert owner.post(f"{shop.path}{template}/restore", {"number": "9"}).status_code == 404
    assert "template.publish" in audited(shop, owner, "template.")


def test_every_problem_is_shown_and_nothing_is_published(owner: Person, shop: Shop) -> None:
    broken = new_template(shop, subject_template="", rendered_html="{% if x %}")
    answer = owner.post(f"{shop.path}/templates/{broken}/publish")
    assert answer.status_code == 422
    assert "subject_template is required" in answer.text
    assert "rendered_html" in answer.text
    assert shop.client.get(f"/templates/{broken}").json()["data"]["versions"] == 0


def test_a_push_template_is_shown_and_tried(owner: Person, shop: Shop) -> None:
    push = {"locale": "en", "title": "Order {{ order_id }}", "message": "<There>"}
    body: dict[str, object] = {"name": "Push", "channel": "push", "messages": [push]}
    body |= {"buttons": [{"id": "go", "text": "Go <on>"}], "data": {"id": "{{ order_id }}"}}
    made = shop.client.post("/templates", json=body).json()["data"]["id"]
    assert "It cannot be shown so" in page(owner, shop, f"/templates/{made}")
    text = page(owner, shop, f'/templates/{made}?variables={{"order_id": 7}}')
    for shown in ("Order 7", "&lt;There&gt;", "Go &lt;on&gt;", "Button go"):
        assert shown in text
    assert "Send a test" not in text

    app_id = shop.client.post("/push/apps", json={"name": "Shop"}).json()["data"]["id"]
    phone = {"app_id": app_id, "device_id": "d1", "platform": "ios", "registration_id": "t"}
    shop.client.post("/v1/register", json=phone)
    assert "Send a test" in page(owner, shop, f"/templates/{made}")
    test = f'{shop.path}/templates/{made}/test?variables={{"order_id": 7}}'
    sent = owner.post(test, {"app": app_id, "device": " d1 "})
    assert "is on its way" in said(owner, sent.headers["location"])
    (message,) = shop.client.get("/messages?channel=push").json()["data"]
    assert message["kind"] == "transactional"
    base = f"{shop.path}/templates/{made}/test"
    for path, device in ((test, "d2"), (base, "d1"), (f"{base}?variables=[]", "d1")):
        wrong = owner.post(path, {"app": app_id, "device": device})
        assert (wrong.status_code, "Nothing was sent" in wrong.text) == (422, True)
    page(owner, shop, f"/templates/{made}/html", 404)
    published = owner.post(f"{shop.path}/templates/{made}/publish")
    assert (published.status_code, "Version 1 is published" in published.text) == (200, True)

"""Messages: searched, shown with their history, masked, and stopped."""

from __future__ import annotations

import html
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.backoffice.shell import content_policy
from headrace.domain.access.sign_in import Role
from tests.backoffice.cast import Person, person
from tests.backoffice.mailing import (
    RUDE_HTML,
    audited,
    mask,
    reveal,
    said,
    send_and_wait,
    send_mail,
    wait_for,
)
from tests.backoffice.shop import Shop, open_shop, page
from tests.support.mail_sink import mail_sink
from tests.support.server import RunningServer, running_server


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int], owner: Person) -> Iterator[Shop]:
    """A project of its own, with masked personal data."""
    with open_shop(server, f"mail {next(numbers)}") as shop:
        mask(shop, owner)
        yield shop


def test_the_list_finds_by_status_recipient_domain_and_contact(owner: Person, shop: Shop) -> None:
    ann = send_and_wait(shop, owner)
    other: dict[str, Any] = {"from": "b@other.example", "to": ["bob@b.example"]}
    bob = send_and_wait(shop, owner, **other)
    contact = shop.client.get("/contacts", params={"search": "ann"}).json()["data"][0]["id"]

    for query, found, missing in (
        ("", ann, "nobody"),
        ("recipient=ANN%40b.example", ann, bob),
        ("domain=other.example", bob, ann),
        (f"contact={contact}", ann, bob),
        ("status=sent&recipient=bob%40b.example", bob, ann),
        ("status=nonsense", bob, "nobody"),
    ):
        text = page(owner, shop, f"/messages?{query}")
        assert f"/messages/{found}" in text, query
        assert f"/messages/{missing}" not in text, query
    assert "No message matches" in page(owner, shop, "/messages?status=bounced")
    for wrong in ("recipient=x", "domain=-", "contact=x"):
        assert 'aria-invalid="true"' in page(owner, shop, f"/messages?{wrong}", 422)


def test_a_captured_mail_is_marked_as_not_sent(owner: Person, shop: Shop) -> None:
    assert "No mail leaves this machine" in page(owner, shop, "/messages")
    message_id = send_and_wait(shop, owner)
    text = page(owner, shop, f"/messages/{message_id}")
    assert "No mail leaves this machine" in text
    assert "Attempt 1 through capture: accepted." in text
    assert text.count(">pass</span>") == 10


def test_recipient_subject_and_mail_are_masked_until_asked_for(owner: Person, shop: Shop) -> None:
    message_id = send_and_wait(shop, owner, subject="For Mike", text="Dear Mike", html=RUDE_HTML)
    path = f"/messages/{message_id}"
    for hidden in ("ann@b.example", "For Mike", "Dear Mike", "<iframe"):
        assert hidden not in page(owner, shop, path)
        assert hidden not in page(owner, shop, "/messages")
    for part in ("html", "mail", "files/0"):
        page(owner, shop, f"{path}/{part}", 404)

    reveal(shop, owner)
    shown = page(owner, shop, path)
    for seen in ("ann@b.example", "For Mike", "Dear Mike", "<iframe"):
        assert seen in shown
    assert "personal_data" in audited(shop, owner, "personal_data.")
    mail = owner.get(f"{shop.path}{path}/mail")
    assert mail.headers["content-disposition"].startswith("attachment")
    assert b"Subject: For Mike" in mail.content


def test_a_viewer_sees_what_happened_and_no_mail(server: RunningServer, shop: Shop) -> None:
    roles = {shop.project.id: Role.VIEWER}
    with person(server, "views@mail.example.org", is_owner=False, roles=roles) as viewer:
        message_id = send_and_wait(shop, viewer)
        text = page(viewer, shop, f"/messages/{message_id}")
        assert "Attempt 1" in text
        assert "Show personal data</button>" not in text
        page(viewer, shop, f"/messages/{message_id}/html", 403)
        assert viewer.post(f"{shop.path}/messages/stop", {"what": "all"}).status_code == 403


def test_the_html_of_a_mail_can_do_nothing(owner: Person, shop: Shop) -> None:
    message_id = send_and_wait(shop, owner, html=RUDE_HTML)
    reveal(shop, owner)
    whole = owner.get(f"{shop.path}/messages/{message_id}")
    assert whole.headers["content-security-policy"] == content_policy.PAGE_WITH_MAIL
    assert 'sandbox=""' in whole.text
    frame = owner.get(f"{shop.path}/messages/{message_id}/html")
    assert frame.headers["content-security-policy"] == content_policy.MAIL
    assert "sandbox" in content_policy.MAIL
    assert "default-src 'none'" in content_policy.MAIL
    assert frame.headers["cache-control"] == "no-store"
    assert "<script" not in frame.text
    assert 'src="https' not in frame.text
    assert "http-equiv" not in frame.text
    assert 'title="https://evil.example/go"' in frame.text
    assert "<b>way</b>" in frame.text


def test_attachments_are_downloads_whatever_they_claim_to_be(owner: Person, shop: Shop) -> None:
    name = 'a "b"\u00e4.html'
    file = {"name": name, "type": "text/html", "data": "PHNjcmlwdD4="}
    message_id = send_and_wait(shop, owner, attachments=[file])
    reveal(shop, owner)
    assert html.escape(name, quote=True) in page(owner, shop, f"/messages/{message_id}").replace(
        "&#34;", "&quot;"
    )
    answer = owner.get(f"{shop.path}/messages/{message_id}/files/0")
    assert answer.content == b"<script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''a%20")
    for number in ("1", "x", "9999999999"):
        page(owner, shop, f"/messages/{message_id}/files/{number}", 404)


def test_a_skipped_message_names_the_guardrail(owner: Person, shop: Shop) -> None:
    shop.client.post("/suppressions", json={"email": "ann@b.example"})
    message_id = send_and_wait(shop, owner, "skipped")
    text = html.unescape(page(owner, shop, f"/messages/{message_id}"))
    assert "It was not sent: the address is on the suppression list (scope all)." in text
    assert text.count(">pass</span>") == 3
    assert ">skip</span>" in text
    assert text.count("not reached") == 6


def test_sending_is_stopped_and_resumed(owner: Person, shop: Shop) -> None:
    stopped = owner.post(f"{shop.path}/messages/stop", {"what": "all"})
    assert "Sending is stopped" in said(owner, stopped.headers["location"])
    message_id = send_mail(shop)
    shop.wait(lambda: ">wait</span>" in page(owner, shop, f"/messages/{message_id}"))
    assert "sending is paused" in page(owner, shop, f"/messages/{message_id}")
    for path in ("", "/messages", "/domains", "/templates", "/suppressions", "/send-jobs"):
        assert "all messages of this project" in page(owner, shop, path), path
    owner.post(f"{shop.path}/messages/resume", {"what": "all"})
    assert "stop-banner" not in page(owner, shop, "/messages")
    wait_for(shop, owner, message_id, "sent")
    assert "sending paused" in audited(shop, owner, "policy.").replace("_", " ")


def test_domains_are_stopped_one_by_one(owner: Person, shop: Shop) -> None:
    for name in ("B.example", "a.example"):
        owner.post(f"{shop.path}/messages/stop", {"what": "domain", "domain": name})
    assert "mail from a.example, b.example" in page(owner, shop, "/messages")
    send_and_wait(shop, owner)
    refused = owner.post(f"{shop.path}/messages/stop", {"what": "domain", "domain": "-"})
    assert "Nothing was stopped" in said(owner, refused.headers["location"])
    nothing = owner.post(f"{shop.path}/messages/stop", {"what": "x"})
    assert "choose what" in said(owner, nothing.headers["location"])
    owner.post(f"{shop.path}/messages/stop", {"what": "mail"})
    both = "all mail of this project, and mail from a.example, b.example"
    assert both in page(owner, shop, "/messages")
    owner.post(f"{shop.path}/messages/stop", {"what": "push"})
    owner.post(f"{shop.path}/messages/stop", {"what": "domain", "domain": "c.example"})
    # Each stop is resumed separately.
    owner.post(f"{shop.path}/messages/resume", {"what": "mail"})
    left = "all push of this project, and mail from a.example, b.example, c.example"
    assert left in page(owner, shop, "/messages")
    owner.post(f"{shop.path}/messages/resume", {"what": "domain", "domain": "b.example"})
    owner.post(f"{shop.path}/messages/resume", {"what": "push"})
    text = page(owner, shop, "/messages")
    assert "for mail from a.example, c.example." in text
    assert "<option>a.example</option><option>c.example</option>" in text
    owner.post(f"{shop.path}/messages/resume", {"what": "all"})
    assert "stop-banner" not in page(owner, shop, "/messages")


def test_operators_who_stop_at_the_same_time_lose_no_stop(owner: Person, shop: Shop) -> None:
    names = [f"d{number}.example" for number in range(12)]

    def stop(name: str) -> None:
        owner.post(f"{shop.path}/messages/stop", {"what": "domain", "domain": name})

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(stop, names))
    text = page(owner, shop, "/messages")
    assert [name for name in names if f"<option>{name}</option>" not in text] == []


def test_a_contact_shows_its_messages_and_why_not(owner: Person, shop: Shop) -> None:
    first = send_and_wait(shop, owner)
    shop.client.post("/suppressions", json={"email": "ann@b.example"})
    second = send_and_wait(shop, owner, "skipped")
    contact = shop.client.get("/contacts").json()["data"][0]["id"]
    text = page(owner, shop, f"/contacts/{contact}")
    assert f"/messages/{first}" in text
    assert f"/messages/{second}" in text
    assert "the address is on the suppression list" in text
    assert "Your order" not in text


def test_what_is_absent_is_not_found(owner: Person, shop: Shop) -> None:
    absent = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
    for name in ("x", absent):
        page(owner, shop, f"/messages/{name}", 404)
    answer = owner.post(f"{shop.path}/messages/{absent}/settle", {"outcome": "sent"})
    assert answer.status_code == 404


def test_an_unknown_message_is_settled_by_a_person(tmp_path: Path) -> None:
    """Send through a relay that hangs up after the mail, so that the outcome is unknown."""
    with mail_sink(lambda number: "" if number <= 2 else "250 2.0.0 Ok") as sink:
        env = {"HEADRACE_MAIL_RELAY": f"smtp://127.0.0.1:{sink.port}"}
        with (
            running_server(tmp_path, env=env) as server,
            person(server) as owner,
            open_shop(server, "relay", topicless_marketing=True) as shop,
        ):
            created = owner.post(f"{shop.path}/domains", {"name": "example.org"})
            domain = created.headers["location"].removeprefix("/backoffice")
            owner.post(f"{domain}/verify", {"sure": "yes"})
            first = send_and_wait(shop, owner, "unknown", kind="marketing")
            second = send_mail(shop, kind="marketing", to=["bob@b.example"])
            wait_for(shop, owner, second, "unknown")
            assert "capture:" not in page(owner, shop, "/messages")
            assert "Review and resolve them" in page(owner, shop, "/messages")
            text = page(owner, shop, f"/messages/{first}")
            assert "The mail is not kept" in text

            sent = owner.post(f"{shop.path}/messages/{first}/settle", {"outcome": "sent"})
            assert "The message is now sent" in said(owner, sent.headers["location"])
            again = owner.post(f"{shop.path}/messages/{first}/settle", {"outcome": "not_sent"})
            assert "It is already sent." in said(owner, again.headers["location"])
            nothing = owner.post(f"{shop.path}/messages/{second}/settle", {"outcome": "perhaps"})
            assert "Nothing was changed" in said(owner, nothing.headers["location"])
            owner.post(f"{shop.path}/messages/{second}/settle", {"outcome": "not_sent"})
            assert "It could not be sent: set by a person." in page(
                owner, shop, f"/messages/{second}"
            )
            assert "message.settle" in audited(shop, owner, "message.")
            assert len(sink.mails) == 2

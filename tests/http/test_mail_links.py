"""Links in mails: unsubscribing, clicks, opens; and invalid tokens. No key is needed."""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import policy
from html import escape, unescape
from pathlib import Path

import pytest

from tests.support.audiences import choose, new_contact, new_topic, send
from tests.support.contacts import system_events
from tests.support.dead_letters import sql_on
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client

WAIT_SECONDS_MAX = 20.0
TARGET = "https://shop.example/a?b=c%20d&e=(f)"
ONE_CLICK = b"List-Unsubscribe=One-Click"
FORM = "application/x-www-form-urlencoded"


@dataclass
class Sent:
    """A sent marketing mail and its contents."""

    client: Client
    message_id: str
    contact: str
    topic: str
    #: Paths of a tracked link, of the pixel, and of the unsubscribe header.
    click: str
    open: str
    leave: str

    @property
    def is_subscribed(self) -> bool:
        (topic,) = self.client.get(f"/contacts/{self.contact}/topics").data
        return bool(topic["is_subscribed"])


@pytest.fixture
def sent(server: HttpServer, project: Project) -> Sent:
    return send_news(server, project)


def send_news(server: HttpServer, project: Project) -> Sent:
    """Send marketing mail to a subscribed contact."""
    client = project.client()
    topic, contact = new_topic(client), new_contact(client, email="ann@b.example")
    choose(client, contact, topic, wanted=True)
    body = {"from": "news@example.org", "to": ["ann@b.example"], "subject": "News"}
    html = f'<p><a href="{escape(TARGET)}">Look</a></p>'
    made = send(client, "POST", "/emails", **body, html=html, kind="marketing", topic_id=topic)
    assert made.status == 201, made.body
    target = f"/emails/{made.data['id']}"
    wait_until(lambda: client.get(target).data["status"] == "sent", WAIT_SECONDS_MAX)
    message_id = made.data["messages"][0]["id"]
    captured = server.in_store(
        lambda store: store.messages.captured.of_message(project.id, message_id)
    )
    assert captured is not None
    mail = email.message_from_bytes(captured.content, policy=policy.default)
    part = mail.get_body(("html",))
    assert part is not None
    text = unescape(part.get_content())
    return Sent(
        client=client,
        message_id=message_id,
        contact=contact,
        topic=topic,
        # The first link is a hidden one.
        click=re.findall(r"/c/[\w.-]+", text)[-1],
        open=re.findall(r"/o/[\w.-]+", text)[0],
        leave=re.findall(r"/u/[\w.-]+", str(mail["list-unsubscribe"]))[0],
    )


@pytest.fixture
def anybody(server: HttpServer) -> Iterator[Client]:
    """A client without a key."""
    client = Client(server.port, None)
    yield client
    client.close()


def test_a_click_redirects_to_the_authors_target(sent: Sent, anybody: Client) -> None:
    answer = anybody.get(sent.click)

    assert (answer.status, answer.headers["location"]) == (302, TARGET)
    assert "set-cookie" not in answer.headers


def test_hits_are_noted(server: HttpServer, sent: Sent, anybody: Client) -> None:
    rows = sql_on(server.directory / "headrace.db")
    anybody.get(sent.click)
    anybody.request("HEAD", sent.click)
    anybody.get(sent.open)
    query = "SELECT kind, head FROM message_hits WHERE message_id = ? ORDER BY kind, head"
    expected = [("click", 0), ("click", 1), ("open", 0)]
    wait_until(lambda: rows(query, sent.message_id) == expected, WAIT_SECONDS_MAX)


def test_the_pixel_is_a_picture(sent: Sent, anybody: Client) -> None:
    answer = anybody.get(sent.open)

    assert (answer.status, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.headers["cache-control"] == "no-store"
    assert (len(answer.body), answer.body[:6]) == (43, b"GIF89a")


def test_viewing_the_unsubscribe_link_changes_nothing(sent: Sent, anybody: Client) -> None:
    for method in ("GET", "HEAD"):
        assert anybody.request(method, sent.leave).status == 200
    page = anybody.get(sent.leave)

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert b"News" in page.body
    assert sent.is_subscribed


@pytest.mark.parametrize("media", [FORM, f"{FORM}; charset=iso-8859-1", "text/plain"])
def test_one_click_leaves_the_topic_once(sent: Sent, anybody: Client, media: str) -> None:
    for _ in range(2):
        answer = anybody.request("POST", sent.leave, body=ONE_CLICK, body_type=media)
        assert answer.status == 200, answer.body
        assert "set-cookie" not in answer.headers
    assert not sent.is_subscribed
    told = [each["event"] for each in system_events(sent.client)]
    assert told.count("sendrealm.topic.unsubscribed") == 1
    assert told.count("sendrealm.mail.unsubscribe") == 1


def test_the_page_leaves_everything_where_that_is_wanted(sent: Sent, anybody: Client) -> None:
    assert anybody.request("POST", sent.leave, body=b"all=1", body_type=FORM).status == 200
    new_topic(sent.client, "Later", default_subscribed=True)
    topics = sent.client.get(f"/contacts/{sent.contact}/topics").data
    assert [topic["is_subscribed"] for topic in topics] == [False, False]


@pytest.mark.parametrize("kind", ["c", "u"])
def test_an_invalid_token_is_404(sent: Sent, anybody: Client, kind: str) -> None:
    path = sent.click if kind == "c" else sent.leave
    changed = path[:-1] + ("A" if path[-1] != "A" else "B")
    for target in (changed, f"/{kind}/x", f"/{kind}/{'a' * 500}"):
        answer = anybody.get(target)
        assert answer.status == 404
        assert "location" not in answer.headers
    if kind == "u":
        assert anybody.request("POST", changed, body=ONE_CLICK, body_type=FORM).status == 404
    assert sent.is_subscribed


def choices(page: bytes) -> dict[str, bool]:
    """Ids of the topics on the page, and whether each is switched on."""
    found = re.findall(rb'name="topic" value="([0-9a-f-]+)"( checked)?>', page)
    return {topic.decode(): bool(checked) for topic, checked in found}


def test_the_page_has_a_switch_for_every_topic(sent: Sent, anybody: Client) -> None:
    more = new_topic(sent.client, '<b>More</b> & "more"', default_subscribed=True)
    before = sent.client.get(f"/contacts/{sent.contact}/topics").data
    page = anybody.get(sent.leave)

    assert choices(page.body) == {sent.topic: True, more: True}
    assert b"<b>More" not in page.body
    assert b"&lt;b&gt;More&lt;/b&gt; &amp; &quot;more&quot;" in page.body
    assert anybody.request("HEAD", sent.leave).status == 200
    assert sent.client.get(f"/contacts/{sent.contact}/topics").data == before


def test_choices_are_saved_and_can_be_taken_back(sent: Sent, anybody: Client) -> None:
    more = new_topic(sent.client, "More", default_subscribed=False)
    offered = f"save=1&offered={sent.topic}&offered={more}"
    for wanted, on in (
        (f"&topic={more}", {sent.topic: False, more: True}),
        ("", {sent.topic: False, more: False}),
        (f"&topic={sent.topic}", {sent.topic: True, more: False}),
    ):
        body = (offered + wanted).encode()
        saved = anybody.request("POST", sent.leave, body=body, body_type=FORM)
        assert (saved.status, choices(saved.body)) == (200, on)
        shown = sent.client.get(f"/contacts/{sent.contact}/topics").data
        assert {each["topic_id"]: each["is_subscribed"] for each in shown} == on
    told = [each["event"] for each in system_events(sent.client)]
    assert told.count("sendrealm.mail.unsubscribe") == 1


def test_only_what_was_offered_changes(sent: Sent, anybody: Client, server: HttpServer) -> None:
    stranger = server.project()
    foreign = new_topic(stranger.client(), "Foreign", default_subscribed=True)
    stranger.close()
    later = new_topic(sent.client, "Later", default_subscribed=True)
    body = f"save=1&offered={sent.topic}&offered={foreign}&offered=x&topic={sent.topic}"
    assert anybody.request("POST", sent.leave, body=body.encode(), body_type=FORM).status == 200
    shown = sent.client.get(f"/contacts/{sent.contact}/topics").data
    assert {each["topic_id"]: each["is_subscribed"] for each in shown} == {
        sent.topic: True,
        later: True,
    }
    changed = sent.leave[:-1] + ("A" if sent.leave[-1] != "A" else "B")
    assert anybody.request("POST", changed, body=body.encode(), body_type=FORM).status == 404


def test_one_click_unsubscribes_whatever_else_the_form_contains(
    sent: Sent, anybody: Client
) -> None:
    body = ONE_CLICK + f"&save=1&offered={sent.topic}&topic={sent.topic}".encode()
    assert anybody.request("POST", sent.leave, body=body, body_type=FORM).status == 200
    assert not sent.is_subscribed


def test_the_page_of_a_deleted_contact_offers_no_actions(sent: Sent, anybody: Client) -> None:
    assert sent.client.request("DELETE", f"/contacts/{sent.contact}").status in {200, 202, 204}
    page = anybody.get(sent.leave)
    assert (page.status, choices(page.body)) == (200, {})
    body = f"save=1&offered={sent.topic}".encode()
    assert anybody.request("POST", sent.leave, body=body, body_type=FORM).status == 200


def test_a_trusted_proxy_reports_the_client_address_of_a_click(tmp_path: Path) -> None:
    environment = {"HEADRACE_TRUSTED_PROXIES": "127.0.0.0/8"}
    server = HttpServer(tmp_path, extra_environment=environment)
    server.start(1)
    project = server.project()
    try:
        sent = send_news(server, project)
        anybody = Client(server.port, None)
        rows = sql_on(tmp_path / "headrace.db")
        for forwarded in ("203.0.113.9", "198.51.100.7, 203.0.113.10", "nonsense"):
            anybody.request("GET", sent.open, headers={"X-Forwarded-For": forwarded})
        anybody.close()
        query = "SELECT address FROM message_hits ORDER BY at_us, id"
        wait_until(lambda: len(rows(query)) == 3, WAIT_SECONDS_MAX)
        # Anyone could have written what precedes the nearest address that is no proxy.
        expected = {"203.0.113.9", "203.0.113.10", "127.0.0.1"}
        assert {row[0] for row in rows(query)} == expected
    finally:
        project.close()
        assert server.stop() == 0

"""Mail and webhooks about sent messages: passed on, verified, stored, applied and listed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.access.api_keys import Scope
from headrace.domain.messages.tokens import BounceAddresses
from headrace.store.store import Store
from tests.support.audiences import send
from tests.support.contacts import system_events
from tests.support.http_server import HttpServer, Project
from tests.support.http_server import wait_until as wait_for
from tests.support.raw_http import Client, Response

DOMAIN = "bounces.example.org"
LOGIN = "hook:a long password"
SECRET = b"0123456789abcdef0123456789abcdef"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:mail"
PROVIDERS = ("ses", "postmark", "resend")


WAIT_SECONDS_MAX = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    wait_for(condition, WAIT_SECONDS_MAX)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    environment = {
        "HEADRACE_MAIL_BOUNCE_DOMAIN": DOMAIN,
        "HEADRACE_MAIL_POSTMARK_LOGIN": LOGIN,
        "HEADRACE_MAIL_RESEND_SECRETS": f"whsec_{base64.b64encode(SECRET).decode()}",
        "HEADRACE_MAIL_SES_TOPICS": TOPIC,
    }
    started = HttpServer(Path(tmp_path_factory.mktemp("bounces")), environment)
    started.start(projects=80)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def addresses(server: HttpServer) -> BounceAddresses:
    async def read(store: Store) -> BounceAddresses:
        return BounceAddresses(await store.messages.keys.get(), DOMAIN)

    return server.in_store(read)


def sent(client: Client, to: str = "ann@b.example") -> str:
    """A message that the relay accepted."""
    body = {"from": "news@example.org", "to": [to], "subject": "Hello", "text": "Hi."}
    made = send(client, "POST", "/emails", **body)
    message_id = str(made.data["messages"][0]["id"])
    wait_until(lambda: status(client, message_id) == "sent")
    return message_id


def status(client: Client, message_id: str) -> str:
    return str(client.get(f"/messages/{message_id}").data["status"])


def events(client: Client, name: str) -> list[dict[str, Any]]:
    """Payloads of the system events with a name."""
    return [one["payload"] for one in system_events(client) if one["event"] == name]


def dsn(to: str, action: str = "failed", code: str = "5.1.1", subject: str = "x") -> bytes:
    return (
        f"From: MAILER-DAEMON@relay.example\r\nTo: {to}\r\nSubject: {subject}\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; relay.example\r\n\r\n"
        f"Final-Recipient: rfc822; ann@b.example\r\nAction: {action}\r\nStatus: {code}\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 <ann@b.example> User unknown\r\n\r\n--b--\r\n"
    ).encode()


def pass_on(client: Client, raw: bytes, query: str = "") -> Response:
    return client.post(f"/mail/bounces{query}", raw, body_type="message/rfc822")


def listed(client: Client, query: str = "") -> list[dict[str, Any]]:
    return list(client.get(f"/mail/notifications{query}").data)


def test_a_bounce_that_is_passed_on_suppresses(
    project: Project, addresses: BounceAddresses
) -> None:
    client = project.client()
    message_id = sent(client)
    raw = dsn(addresses.sender(message_id))
    taken = pass_on(client, raw)
    assert taken.status == 200, taken.body
    shown = taken.data["notification"]
    expected = {"kind": "hard", "effect": "suppressed", "intake": "command", "source": "dsn"}
    assert expected.items() <= shown.items()
    assert shown["message_id"] == message_id
    assert status(client, message_id) == "bounced"
    # The same mail again, as after a crash of the mail server.
    assert pass_on(client, raw).data["notification"] == shown
    assert listed(client) == [shown]
    assert client.get(f"/mail/notifications/{shown['id']}").data == shown
    assert "ann@b.example" not in shown["raw"]
    assert "User unknown" in shown["raw"]
    (entry,) = client.get("/suppressions?email=ann@b.example").data
    assert entry["reason"] == "hard_bounce"
    (bounce,) = events(client, "sendrealm.mail.bounce")
    assert bounce["class"] == "address_bad"


def test_the_envelope_recipient_names_the_message(
    project: Project, addresses: BounceAddresses
) -> None:
    client = project.client()
    message_id = sent(client)
    recipient = quote(addresses.sender(message_id).upper(), safe="")
    taken = pass_on(
        client, dsn("list@example.org", "delivered", "2.0.0"), f"?recipient={recipient}"
    )
    assert taken.data["notification"]["effect"] == "delivered"
    assert status(client, message_id) == "delivered"
    assert len(events(client, "sendrealm.mail.delivery")) == 1


def test_a_mail_that_is_about_nothing_is_stored_and_shown(project: Project) -> None:
    client = project.client()
    for raw in (b"", b"\xff\x00\r\n\r\n", b"Subject: lunch?\r\n\r\nHi"):
        assert pass_on(client, raw + b" %d" % project.id).status == 200
    found = listed(client)
    assert [(one["kind"], one["effect"]) for one in found] == [("unknown", "no_message")] * 3
    assert {one["address"] for one in found} == {None}


def test_filters_and_pages(project: Project, addresses: BounceAddresses) -> None:
    client = project.client()
    message_id = sent(client)
    sender = addresses.sender(message_id)
    pass_on(client, dsn(sender, "delayed", "4.4.1"))
    pass_on(client, dsn(sender))
    pass_on(client, dsn("x@example.org"))
    assert [one["kind"] for one in listed(client)] == ["hard", "hard", "delayed"]
    assert len(listed(client, "?kind=delayed")) == 1
    assert len(listed(client, "?effect=no_message&source=dsn")) == 1
    assert len(listed(client, f"?message_id={message_id}")) == 2
    first = client.get("/mail/notifications?limit=2")
    rest = client.get(f"/mail/notifications?limit=2&cursor={first.json()['next_cursor']}")
    assert [len(page.data) for page in (first, rest)] == [2, 1]
    assert client.get("/mail/notifications?kind=bounced").status == 422


def test_other_projects_see_nothing(
    server: HttpServer, project: Project, addresses: BounceAddresses
) -> None:
    stranger = server.project()
    client, other = project.client(), stranger.client()
    message_id = sent(client)
    # One mailbox takes the bounces of all projects, so a signed address counts for any key.
    assert pass_on(other, dsn(addresses.sender(message_id))).data == {"notification": None}
    (shown,) = listed(client)
    assert listed(other) == []
    assert other.get(f"/mail/notifications/{shown['id']}").status == 404
    assert status(client, message_id) == "bounced"
    stranger.close()


def test_a_key_needs_the_scope_to_send(server: HttpServer, project: Project) -> None:
    reads = project.client(server.issue_key(project, [Scope.READ]))
    wait_until(lambda: reads.get("/mail/notifications").status == 200)
    assert pass_on(reads, b"x").status == 403
    sends = project.client(server.issue_key(project, [Scope.SEND]))
    wait_until(lambda: pass_on(sends, b"x").status == 200)


def test_a_mail_carries_its_token_for_reports_and_providers(
    server: HttpServer, project: Project, addresses: BounceAddresses
) -> None:
    message_id = sent(project.client())

    async def read(store: Store) -> bytes:
        kept = await store.messages.captured.of_message(project.id, message_id)
        assert kept is not None
        return kept.content

    content = server.in_store(read).decode()
    value = addresses.keys.verp(message_id)
    for line in (
        f"X-Headrace-Message: {value}",
        f"X-PM-Metadata-headrace: {value}",
        f"X-SES-MESSAGE-TAGS: headrace={value}",
    ):
        assert f"\r\n{line}\r\n" in content


# --- webhooks ---


def webhook(server: HttpServer, provider: str, body: bytes, **headers: str) -> Response:
    client = Client(server.port, None)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post(f"/mail/webhooks/{provider}", body, headers=named)
    finally:
        client.close()


def basic(login: str = LOGIN) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def signed(body: bytes, *, at: int | None = None, secret: bytes = SECRET) -> dict[str, str]:
    when = str(int(time.time()) if at is None else at)
    mac = hmac.digest(secret, f"msg_1.{when}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"svix_id": "msg_1", "svix_timestamp": when, "svix_signature": signature}


def token(addresses: BounceAddresses, message_id: str) -> str:
    return addresses.keys.verp(message_id)


def test_postmark_needs_its_password_and_names_the_message_by_its_metadata(
    server: HttpServer, project: Project, addresses: BounceAddresses
) -> None:
    client = project.client()
    message_id = sent(client)
    record = {
        "RecordType": "SpamComplaint",
        "Email": "ann@b.example",
        "MessageID": f"pm-{project.id}",
        "Subject": "Hello",
        "Metadata": {"headrace": token(addresses, message_id)},
    }
    body = json.dumps(record).encode()
    for wrong in ("", "Basic !", basic("hook:x"), "Bearer x"):
        assert webhook(server, "postmark", body, Authorization=wrong).status == 403
    assert listed(client) == []
    for _ in range(2):
        assert webhook(server, "postmark", body, Authorization=basic()).status == 200
    (shown,) = listed(client)
    assert (shown["kind"], shown["effect"]) == ("complaint", "complained")
    assert (shown["intake"], shown["provider_id"]) == ("webhook", f"pm-{project.id}")
    assert token(addresses, message_id) not in shown["raw"]
    assert status(client, message_id) == "complained"
    assert len(events(client, "sendrealm.mail.complaint")) == 1


def test_resend_needs_its_signature_and_names_the_message_by_a_header(
    server: HttpServer, project: Project, addresses: BounceAddresses
) -> None:
    client = project.client()
    message_id = sent(client)
    header = {"name": "X-Headrace-Message", "value": token(addresses, message_id)}
    data = {"email_id": "re-1", "to": ["ann@b.example"], "headers": [header]}
    body = json.dumps({"type": "email.delivered", "data": data}).encode()
    for wrong in ({}, signed(body, secret=SECRET[::-1]), signed(body, at=1), signed(b"{}")):
        assert webhook(server, "resend", body, **wrong).status == 403
    assert webhook(server, "resend", body, **signed(body)).status == 200
    (shown,) = listed(client)
    assert (shown["source"], shown["effect"]) == ("resend", "delivered")
    # A type that nobody knows yet is stored and shown, and no error.
    future = json.dumps({"type": "email.teleported", "data": data}).encode()
    assert webhook(server, "resend", future, **signed(future)).status == 200
    assert listed(client)[0]["event"] == "email.teleported"
    assert (listed(client)[0]["kind"], listed(client)[0]["effect"]) == ("unknown", "nothing")


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"TopicArn": TOPIC},
        {"TopicArn": TOPIC.replace("mail", "other")},
        {"TopicArn": TOPIC, "SigningCertURL": "https://sns.evil.example/x.pem"},
        {"TopicArn": TOPIC, "SigningCertURL": "http://127.0.0.1/SimpleNotificationService-a.pem"},
        {
            "TopicArn": TOPIC,
            "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem",
        },
    ],
)
def test_ses_is_verified_before_anything_is_fetched(
    server: HttpServer, members: dict[str, str]
) -> None:
    body = json.dumps({"Type": "Notification"} | members).encode()
    assert webhook(server, "ses", body).status == 403


def test_a_provider_without_settings_is_not_found(tmp_path: Path) -> None:
    started = HttpServer(tmp_path)
    started.start(projects=1)
    try:
        assert [webhook(started, name, b"{}").status for name in PROVIDERS] == [404] * 3
    finally:
        started.stop()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
KNOWN = st.sampled_from(
    [
        *("RecordType", "Bounce", "Email", "Metadata", "headrace", "Type", "type", "data", "tags"),
        *("email.bounced", "bounce", "to", "headers", "TopicArn", "Message", "SigningCertURL"),
        *(
            "Details",
            "BouncedAt",
            "created_at",
            "\x00",
            "\ud800".encode("utf-8", "replace").decode(),
        ),
    ]
)
BODIES = st.binary(max_size=200) | (
    st.dictionaries(KNOWN | st.text(max_size=6), KNOWN | JSON, max_size=6).map(
        lambda value: json.dumps(value).encode()
    )
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=BODIES, provider=st.sampled_from(PROVIDERS))
def test_no_body_is_an_error_of_the_server(
    server: HttpServer, project: Project, body: bytes, provider: str
) -> None:
    headers = signed(body) if provider == "resend" else {"Authorization": basic()}
    expected = 403 if provider == "ses" else 200
    assert webhook(server, provider, body, **headers).status == expected
    client = project.clients[0] if project.clients else project.client()
    assert pass_on(client, body).status == 200

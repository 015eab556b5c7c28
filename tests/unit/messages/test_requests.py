"""Request bodies: what is accepted, and every problem reported at once."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.errors import ApiError
from headrace.domain.messages import email_request, requests
from headrace.domain.messages.addresses import Mailbox, parse_mailbox
from headrace.domain.messages.email_request import EmailRequest, decode_email
from headrace.domain.messages.header_rules import check_header
from headrace.domain.messages.kinds import MessageKind, SuppressionScope
from headrace.domain.messages.requests import (
    check_domain,
    decode_domain,
    decode_suppression,
    decode_template,
)

NOW_US = 1_800_000_000_000_000
UUID = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
EMAIL: dict[str, Any] = {
    "from": "Shop <news@example.org>",
    "to": ["a@example.net"],
    "subject": "Hello",
    "text": "Hello",
}


def read(changes: dict[str, Any], **options: Any) -> EmailRequest:
    body = json.dumps({**EMAIL, **changes}).encode()
    return decode_email(body, NOW_US, **options)


def problems(changes: dict[str, Any], **options: Any) -> dict[str, str]:
    with pytest.raises(ApiError) as caught:
        read(changes, **options)
    assert caught.value.status == 422
    return {one.field: one.message for one in caught.value.details}


def test_full_request_is_taken() -> None:
    request = read(
        {
            "cc": ["B <B@Example.net>", "a@example.net"],
            "bcc": ["c@example.net"],
            "reply_to": ["help@example.org"],
            "html": "<p>Hello</p>",
            "headers": {"X-Order": "12"},
            "tags": [{"name": "campaign", "value": "spring sale"}],
            "attachments": [
                {
                    "name": "a.pdf",
                    "type": "Application/PDF",
                    "data": base64.b64encode(b"%PDF").decode(),
                }
            ],
            "variables": {"total": 12.5, "items": [1, {"a": None}], "vip": True},
            "topic_id": UUID,
            "kind": "marketing",
            "scheduled_at": "2027-06-08T14:15:00Z",
            "idempotency_key": "order-1",
            "track_opens": False,
        }
    )
    assert request.sender == Mailbox("news@example.org", "Shop")
    # A repeated address is dropped: one mail for each.
    assert [one.address for one in request.recipients] == [
        "a@example.net",
        "b@example.net",
        "c@example.net",
    ]
    assert request.cc[0].wire_address == "B@example.net"
    assert request.attachments[0].data == b"%PDF"
    assert request.attachments[0].type == "application/pdf"
    assert request.variables == {"total": 12.5, "items": [1, {"a": None}], "vip": True}
    assert request.kind is MessageKind.MARKETING
    assert request.track_opens is False
    assert request.track_clicks is None


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"idempotencyKey": "x"}, "idempotencyKey", "did you mean idempotency_key?"),
        ({"replyTo": []}, "replyTo", "did you mean reply_to?"),
        ({"from": None}, "from", "is required"),
        ({"from": "a@b@c"}, "from", "is not a valid"),
        ({"to": []}, "to", "at least one"),
        ({"to": None}, "", "exactly one of to and audiences"),
        ({"to": "a@example.net"}, "to", "must be an array"),
        ({"to": ["a@example.net"] * 51}, "to", "at most 50"),
        ({"to": ["a@example.net", "x"]}, "to[1]", "is not a valid"),
        ({"to": ["a@example.net\r\nBcc: x@example.org"]}, "to[0]", "control characters"),
        ({"subject": "a\r\nBcc: x@example.org"}, "subject", "line breaks"),
        ({"subject": "a\u2028b"}, "subject", "line breaks"),
        ({"subject": None}, "subject", "is required"),
        ({"text": None}, "", "one of text, html"),
        ({"text": 5}, "text", "must be a string"),
        ({"text": "x", "template_version_id": UUID}, "text", "must be absent"),
        ({"html": "x" * (email_request.BODY_BYTES_MAX + 1)}, "html", "at most"),
        ({"headers": {"Bcc": "x"}}, "headers.Bcc", "writes itself"),
        ({"headers": {"content-TYPE": "x"}}, "headers.content-TYPE", "writes itself"),
        ({"headers": {"X-A": "a\nb"}}, "headers.X-A", "line breaks"),
        ({"headers": {"X-A:": "a"}}, "headers.X-A:", "has a name"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "headers.x-a", "twice"),
        ({"headers": ["X"]}, "headers", "must be an object"),
        ({"tags": [{"name": "a b", "value": "x"}]}, "tags[0].name", "letters"),
        ({"tags": [{"nam": "a", "value": "x"}]}, "tags[0].nam", "did you mean name?"),
        ({"attachments": [{}]}, "attachments[0].data", "is required"),
        ({"attachments": ["x"]}, "attachments[0]", "must be an object"),
        (
            {"attachments": [{"name": "a/b", "type": "text/plain", "data": ""}]},
            "attachments[0].name",
            "without folders",
        ),
        (
            {"attachments": [{"name": "a", "type": "message/rfc822", "data": ""}]},
            "attachments[0].type",
            "must not be multipart",
        ),
        (
            {"attachments": [{"name": "a", "type": "text/plain; x=y", "data": "?"}]},
            "attachments[0].data",
            "base64",
        ),
        ({"template_version_id": "x", "text": None}, "template_version_id", "UUID"),
        ({"variables": {"a": [[[[[[[[[1]]]]]]]]]}}, "variables", "nest deeper"),
        ({"variables": {"a": "x" * 70_000}}, "variables", "at most"),
        ({"kind": "bulk"}, "kind", "must be one of marketing, transactional"),
        ({"kind": "marketing"}, "topic_id", "is required for marketing"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at", "RFC 3339"),
        ({"scheduled_at": "2040-01-01T00:00:00Z"}, "scheduled_at", "a year ahead"),
        ({"idempotency_key": "\u00e9"}, "idempotency_key", "ASCII"),
        ({"contact_id": UUID, "cc": ["b@example.net"]}, "contact_id", "exactly one recipient"),
        ({"dry_run": True}, "dry_run", "needs audiences"),
        ({"to": None, "audiences": [UUID]}, "kind", "must be marketing"),
        ({"audiences": [UUID]}, "", "exactly one of to and audiences"),
        (
            {"to": None, "audiences": [UUID], "per_second": 1.5, "kind": "marketing"},
            "per_second",
            "a whole number",
        ),
    ],
)
def test_problem_is_named(changes: dict[str, Any], field: str, message: str) -> None:
    found = problems(changes)
    assert message in found[field]


def test_all_problems_are_listed_at_once() -> None:
    found = problems({"from": "x", "to": ["y"], "headers": {"To": "z"}, "kind": 1})
    assert set(found) == {"from", "to[0]", "headers.To", "kind"}


def test_key_of_the_header_is_taken_and_must_not_differ() -> None:
    assert read({}, header_key="a").idempotency_key == "a"
    found = problems({"idempotency_key": "b"}, header_key="a")
    assert "differs" in found["idempotency_key"]


def test_audience_send() -> None:
    request = read(
        {
            "to": None,
            "audiences": [UUID],
            "kind": "marketing",
            "per_second": 50,
            "dry_run": True,
        },
        topicless_marketing=True,
    )
    assert request.audiences == (UUID,)
    assert request.per_second == 50
    assert request.dry_run


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@example.org", Mailbox("a@example.org")),
        ("  Jo <A.b@EXAMPLE.org> ", Mailbox("a.b@example.org", "Jo", "A.b")),
        ('"Doe, \\"Jo\\"" <a@example.org>', Mailbox("a@example.org", 'Doe, "Jo"')),
        ("Ü <a@bücher.example>", Mailbox("a@xn--bcher-kva.example", "Ü")),
        ("<a@example.org>", Mailbox("a@example.org")),
    ],
)
def test_mailbox(text: str, expected: Mailbox) -> None:
    assert parse_mailbox(text) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "a@b@c", "x <a@example.org", "a@example.org, b@example.org", "J\nX <a@b.org>"]
)
def test_wrong_mailboxes(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|valid"):
        parse_mailbox(text)


@given(name=st.text(max_size=80), value=st.text(max_size=80))
def test_accepted_headers_have_no_line_ends(name: str, value: str) -> None:
    try:
        check_header(name, value)
    except ValueError:
        return
    assert name.isascii()
    assert value.splitlines() == [value]


@given(text=st.text(max_size=60) | st.emails().map(lambda one: f"x <{one}>"))
def test_mailboxes_are_read_or_rejected(text: str) -> None:
    try:
        mailbox = parse_mailbox(text)
    except ValueError:
        return
    assert mailbox.address.count("@") >= 1
    assert mailbox.wire_address.splitlines() == [mailbox.wire_address]
    assert mailbox.domain.isascii()


def test_template_of_each_channel() -> None:
    mail = decode_template(
        b'{"name":"Welcome","channel":"email","subject_template":"Hi {{first_name}}",'
        b'"editor_json":{"type":"doc","content":[]},"rendered_text":"Hi"}'
    )
    assert mail.editor_json == '{"type":"doc","content":[]}'
    push = decode_template(
        b'{"name":"P","channel":"push","default_locale":"en",'
        b'"messages":[{"locale":"en","title":"T","message":"M","launch_url":"https://a.example"}]}'
    )
    assert push.messages is not None
    assert push.messages[0].title == "T"


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        ("https://a.example/{{ payload.order_id }}?x={{n}}", True),
        ("https://a.example/{% if x %}a{% endif %}", True),
        ("https://a.example/a b", False),
        ("https://a.example/{{ payload.order_id }} ", False),
        ("https://a.example/{{ a\n}}", False),
    ],
)
def test_url_of_a_push_template_may_have_liquid_with_spaces(url: str, is_good: bool) -> None:
    message = {"locale": "en", "title": "T", "message": "M", "launch_url": url}
    body = json.dumps({"name": "P", "channel": "push", "messages": [message]}).encode()
    if is_good:
        assert decode_template(body).messages is not None
        return
    with pytest.raises(ApiError):
        decode_template(body)


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"name": "x"}, "channel", "is required"),
        ({"name": "x", "channel": "sms"}, "channel", "email or push"),
        (
            {"name": "x", "channel": "email", "renderedHtml": ""},
            "renderedHtml",
            "did you mean rendered_html?",
        ),
        ({"name": "x", "channel": "email", "messages": []}, "messages", "no template of channel"),
        ({"name": "x", "channel": "push", "rendered_html": ""}, "rendered_html", "belongs"),
        ({"name": "x", "channel": "email", "subject_template": "a\nb"}, "subject_template", "line"),
        (
            {"name": "x", "channel": "push", "messages": [{"locale": "en"}]},
            "messages[0].title",
            "is required",
        ),
    ],
)
def test_template_problems(body: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_template(json.dumps(body).encode())
    assert message in {one.field: one.message for one in caught.value.details}[field]


def test_channel_of_a_template_stays() -> None:
    assert decode_template(b'{"name":"y"}', channel="email").name == "y"
    with pytest.raises(ApiError, match="cannot be changed"):
        decode_template(b'{"channel":"push"}', channel="email")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Example.ORG", "example.org"),
        ("bücher.example.", "xn--bcher-kva.example"),
        (" mail.example.org ", "mail.example.org"),
    ],
)
def test_domain_is_normalized(text: str, expected: str) -> None:
    assert check_domain(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "127.0.0.1", "a..b", "-a.org", "a b.org", "a.org/x", "x" * 254, "@a.b"],
)
def test_invalid_domains(text: str) -> None:
    with pytest.raises(ValueError, match="must be a domain"):
        check_domain(text)


def test_domain_and_suppression() -> None:
    assert decode_domain(b'{"name":"Example.org","track_opens":false}', required=True) == (
        requests.DomainFields(name="example.org", track_opens=False)
    )
    with pytest.raises(ApiError, match="is an unknown field"):
        decode_domain(b'{"name":"example.org"}', required=False)
    found = decode_suppression(b'{"email":"A@Example.org","scope":"marketing","reason":"asked"}')
    assert found.email == "a@example.org"
    assert found.scope is SuppressionScope.MARKETING
    with pytest.raises(ApiError, match="must be one of"):
        decode_suppression(b'{"email":"a@example.org","scope":"x"}')

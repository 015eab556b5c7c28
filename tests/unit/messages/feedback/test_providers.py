"""Webhooks of providers, written after their public documentation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.domain.messages.feedback.form import RECIPIENTS_MAX, Feedback, FeedbackKind, Source
from headrace.domain.messages.feedback.providers.payloads import BODY_BYTES_MAX
from headrace.domain.messages.feedback.providers.postmark import read_postmark
from headrace.domain.messages.feedback.providers.resend import read_resend
from headrace.domain.messages.feedback.providers.ses import read_ses
from headrace.domain.messages.smtp_replies import ReplyClass

from .mails import ADDRESSES, MESSAGE, SENDER

TOKEN = SENDER.partition("@")[0].removeprefix("b+")
HARD, SOFT, BLOCKED = FeedbackKind.HARD, FeedbackKind.SOFT, FeedbackKind.BLOCKED
DELIVERED, DELAYED, UNKNOWN = FeedbackKind.DELIVERED, FeedbackKind.DELAYED, FeedbackKind.UNKNOWN
COMPLAINT, UNSUBSCRIBE = FeedbackKind.COMPLAINT, FeedbackKind.UNSUBSCRIBE
AUTO_REPLY = FeedbackKind.AUTO_REPLY
READERS = [read_ses, read_postmark, read_resend]


def ses(event: str, *, name: str = "eventType", **about: Any) -> bytes:
    mail = {
        "timestamp": "2026-06-01T10:00:00.000Z",
        "source": SENDER,
        "messageId": "0100018-id",
        "destination": ["ann@example.net"],
        "headers": [
            {"name": "From", "value": "news@example.org"},
            {"name": "Message-ID", "value": "<key@example.org>"},
        ],
    }
    return json.dumps({name: event, "mail": mail, **about}).encode()


def bounce(kind: str, subtype: str, **recipient: str) -> bytes:
    about = {
        "bounceType": kind,
        "bounceSubType": subtype,
        "bouncedRecipients": [{"emailAddress": "ann@example.net", **recipient}],
        "timestamp": "2026-06-01T10:00:01.000Z",
        "reportingMTA": "dsn; a8-50.smtp-out.amazonses.com",
    }
    return ses("Bounce", bounce=about)


def one(reports: tuple[Feedback, ...]) -> Feedback:
    (found,) = reports
    return found


def test_ses_bounce_is_read_completely() -> None:
    recipient = {"status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 <ann@example.net> unknown"}
    assert one(read_ses(bounce("Permanent", "General", **recipient), ADDRESSES)) == Feedback(
        kind=HARD,
        source=Source.SES,
        event="Bounce/Permanent/General",
        message_id=MESSAGE,
        original_message_id="key@example.org",
        provider_id="0100018-id",
        address="ann@example.net",
        reason=ReplyClass.ADDRESS_BAD,
        status="5.1.1",
        diagnostic="<***@example.net> unknown",
        reporter="a8-50.smtp-out.amazonses.com",
        at_us=1_780_308_001_000_000,
    )


@pytest.mark.parametrize(
    ("kind", "subtype", "recipient", "expected"),
    [
        ("Permanent", "General", {}, HARD),
        ("Permanent", "NoEmail", {}, HARD),
        ("Permanent", "Suppressed", {}, HARD),
        ("Permanent", "OnAccountSuppressionList", {}, HARD),
        # The response outranks the type: our reputation is no fault of the address.
        ("Permanent", "General", {"diagnosticCode": "smtp; 550 5.7.26 unauthenticated"}, BLOCKED),
        ("Permanent", "General", {"status": "5.7.1"}, BLOCKED),
        ("Permanent", "General", {"diagnosticCode": "smtp; 550 not taken"}, HARD),
        ("Transient", "General", {"diagnosticCode": "smtp; 450 4.2.0 try later"}, SOFT),
        ("Transient", "General", {"diagnosticCode": "smtp; 550 later"}, SOFT),
        # Possibly an out-of-office reply.
        ("Transient", "General", {}, UNKNOWN),
        ("Transient", "MailboxFull", {}, SOFT),
        ("Transient", "MessageTooLarge", {}, BLOCKED),
        ("Transient", "ContentRejected", {}, BLOCKED),
        ("Transient", "AttachmentRejected", {}, BLOCKED),
        ("Undetermined", "Undetermined", {}, UNKNOWN),
        ("Undetermined", "Undetermined", {"status": "5.1.1"}, HARD),
        ("Later", "Invented", {}, UNKNOWN),
    ],
)
def test_ses_bounce_is_judged(
    kind: str, subtype: str, recipient: dict[str, str], expected: FeedbackKind
) -> None:
    assert one(read_ses(bounce(kind, subtype, **recipient))).kind is expected


@pytest.mark.parametrize(
    ("body", "kind", "event"),
    [
        (ses("Delivery", delivery={"recipients": ["ann@example.net"]}), DELIVERED, "Delivery"),
        (
            ses("Delivery", name="notificationType", delivery={"recipients": ["ann@example.net"]}),
            DELIVERED,
            "Delivery",
        ),
        (
            ses(
                "DeliveryDelay",
                deliveryDelay={
                    "delayType": "MailboxFull",
                    "delayedRecipients": [{"emailAddress": "ann@example.net"}],
                },
            ),
            DELAYED,
            "DeliveryDelay/MailboxFull",
        ),
        (
            ses(
                "Complaint",
                complaint={
                    "complainedRecipients": [{"emailAddress": "ann@example.net"}],
                    "complaintFeedbackType": "abuse",
                },
            ),
            COMPLAINT,
            "Complaint/abuse",
        ),
        (
            ses(
                "Complaint",
                complaint={
                    "complainedRecipients": [{"emailAddress": "ann@example.net"}],
                    "complaintFeedbackType": "not-spam",
                },
            ),
            UNKNOWN,
            "Complaint/not-spam",
        ),
        (ses("Reject", reject={"reason": "Bad content"}), BLOCKED, "Reject"),
    ],
)
def test_other_events_of_ses_name_the_recipient(
    body: bytes, kind: FeedbackKind, event: str
) -> None:
    found = one(read_ses(body, ADDRESSES))
    assert (found.kind, found.event, found.address) == (kind, event, "ann@example.net")
    assert found.message_id == MESSAGE


@pytest.mark.parametrize("left", [True, False])
def test_ses_subscription_is_an_opt_out_only_if_all_are_left(left: bool) -> None:
    about = {"contactList": "list", "newTopicPreferences": {"unsubscribeAll": left}}
    assert one(read_ses(ses("Subscription", subscription=about))).kind is (
        UNSUBSCRIBE if left else UNKNOWN
    )


def test_envelope_of_sns_is_opened() -> None:
    inner = bounce("Permanent", "General").decode()
    envelope = {"Type": "Notification", "TopicArn": "arn:aws:sns:x", "Message": inner}
    assert one(read_ses(json.dumps(envelope).encode(), ADDRESSES)).kind is HARD
    envelope["Type"] = "SubscriptionConfirmation"
    found = one(read_ses(json.dumps(envelope).encode(), ADDRESSES))
    assert (found.kind, found.event) == (UNKNOWN, "SubscriptionConfirmation")


def test_recipients_of_one_webhook_are_limited() -> None:
    addresses = [f"a{number}@example.net" for number in range(RECIPIENTS_MAX * 2)]
    body = ses("Delivery", delivery={"recipients": addresses})
    assert [found.address for found in read_ses(body)] == addresses[:RECIPIENTS_MAX]


def postmark(record: str, **more: Any) -> bytes:
    members = {
        "RecordType": record,
        "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
        "Metadata": {"headrace": TOKEN},
        "MessageStream": "outbound",
    }
    return json.dumps({**members, **more}).encode()


@pytest.mark.parametrize(
    ("kind", "details", "expected"),
    [
        ("HardBounce", "", HARD),
        ("HardBounce", "smtp;550 5.1.1 The account does not exist", HARD),
        ("HardBounce", "smtp;550 5.7.1 rejected by reputation", BLOCKED),
        ("BadEmailAddress", "", HARD),
        ("SoftBounce", "", SOFT),
        ("SoftBounce", "smtp;552 5.2.2 mailbox full", SOFT),
        ("SoftBounce", "smtp;550 blocked by spamhaus", BLOCKED),
        ("DnsError", "", SOFT),
        ("Transient", "", DELAYED),
        ("AutoResponder", "smtp;550 5.1.1 unknown", AUTO_REPLY),
        ("AddressChange", "", AUTO_REPLY),
        ("ChallengeVerification", "", AUTO_REPLY),
        ("Unsubscribe", "", UNSUBSCRIBE),
        ("SpamComplaint", "", COMPLAINT),
        ("SpamNotification", "", BLOCKED),
        ("Blocked", "", BLOCKED),
        ("DMARCPolicy", "", BLOCKED),
        ("VirusNotification", "", BLOCKED),
        ("Unknown", "", UNKNOWN),
        ("Invented", "smtp;550 5.1.1 unknown", UNKNOWN),
    ],
)
def test_postmark_bounce_is_judged(kind: str, details: str, expected: FeedbackKind) -> None:
    body = postmark(
        "Bounce",
        Type=kind,
        Details=details,
        Email="ann@example.net",
        BouncedAt="2026-06-01T10:00:01.9070259Z",
    )
    found = one(read_postmark(body, ADDRESSES))
    assert (found.kind, found.event) == (expected, f"Bounce/{kind}")
    assert (found.message_id, found.address) == (MESSAGE, "ann@example.net")
    assert found.at_us == 1_780_308_001_907_025
    assert found.provider_id == "883953f4-6105-42a2-a16a-77a8eac79483"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (postmark("Delivery", Recipient="ann@example.net", Details="Test"), DELIVERED),
        (postmark("SpamComplaint", Email="ann@example.net", Type="SpamComplaint"), COMPLAINT),
        (
            postmark(
                "SubscriptionChange",
                Recipient="ann@example.net",
                Origin="Recipient",
                SuppressSending=True,
                SuppressionReason="ManualSuppression",
            ),
            UNSUBSCRIBE,
        ),
        (
            postmark(
                "SubscriptionChange",
                Recipient="ann@example.net",
                Origin="Recipient",
                SuppressSending=True,
                SuppressionReason="HardBounce",
            ),
            UNKNOWN,
        ),
        (postmark("SubscriptionChange", Recipient="ann@example.net"), UNKNOWN),
        (postmark("Open", Recipient="ann@example.net"), UNKNOWN),
        (postmark("Invented", Recipient="ann@example.net"), UNKNOWN),
    ],
)
def test_other_records_of_postmark_are_read(body: bytes, kind: FeedbackKind) -> None:
    found = one(read_postmark(body, ADDRESSES))
    assert (found.kind, found.address) == (kind, "ann@example.net")


def resend(event: str, *, tags: Any = None, **data: Any) -> bytes:
    members = {
        "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
        "from": "Shop <news@example.org>",
        "to": ["Ann <ann@example.net>"],
        "tags": {"headrace": TOKEN} if tags is None else tags,
    }
    at = "2026-06-01T10:00:01.126Z"
    return json.dumps({"type": event, "created_at": at, "data": {**members, **data}}).encode()


def resend_bounce(kind: str, subtype: str, message: str = "") -> bytes:
    return resend("email.bounced", bounce={"type": kind, "subType": subtype, "message": message})


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (resend("email.delivered"), DELIVERED),
        (resend("email.delivery_delayed"), DELAYED),
        (resend("email.complained"), COMPLAINT),
        (resend_bounce("Permanent", "General", "The recipient's server bounced it."), HARD),
        (resend_bounce("Permanent", "Suppressed", "It has a history of hard bounces."), HARD),
        (resend_bounce("Permanent", "General", "smtp; 550 5.7.1 spam"), BLOCKED),
        (resend_bounce("Transient", "General"), SOFT),
        (resend_bounce("Transient", "MailboxFull"), SOFT),
        (resend_bounce("Transient", "MessageTooLarge"), BLOCKED),
        (resend_bounce("Transient", "ContentRejected"), BLOCKED),
        (resend_bounce("Undetermined", "Undetermined"), UNKNOWN),
        (resend("email.bounced"), UNKNOWN),
        (resend("email.suppressed", suppressed={"type": "OnAccountSuppressionList"}), HARD),
        (resend("email.failed", failed={"reason": "reached_daily_quota"}), UNKNOWN),
        (resend("email.sent"), UNKNOWN),
        (resend("email.opened"), UNKNOWN),
        (resend("email.invented"), UNKNOWN),
        (resend("email.delivered", tags=[{"name": "headrace", "value": TOKEN}]), DELIVERED),
    ],
)
def test_resend_event_is_read(body: bytes, kind: FeedbackKind) -> None:
    found = one(read_resend(body, ADDRESSES))
    assert (found.kind, found.source, found.address) == (kind, Source.RESEND, "ann@example.net")
    assert (found.message_id, found.at_us) == (MESSAGE, 1_780_308_001_126_000)


def test_forged_sender_and_token_are_not_believed() -> None:
    forged = "a" * len(TOKEN)
    assert one(read_ses(ses("Reject").replace(TOKEN.encode(), forged.encode()), ADDRESSES)) != (
        one(read_ses(ses("Reject"), ADDRESSES))
    )
    for reader, body in (
        (read_ses, ses("Reject")),
        (read_postmark, postmark("Delivery")),
        (read_resend, resend("email.delivered")),
    ):
        assert one(reader(body, ADDRESSES)).message_id == MESSAGE
        assert (
            one(reader(body.replace(TOKEN.encode(), forged.encode()), ADDRESSES)).message_id is None
        )
        assert one(reader(body)).message_id is None


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"eventType": "Bounce", "bounce": [], "mail": 5}',
        b'{"eventType": "Bounce", "bounce": {"bouncedRecipients": [1, {"emailAddress": 2}]}}',
        b'{"eventType": ["Bounce"]}',
        b'{"TopicArn": "x", "Type": "Notification", "Message": 5}',
        b'{"TopicArn": "x", "Type": "Notification", "Message": "{\\"TopicArn\\": 1}"}',
        b'{"RecordType": "Bounce", "Type": {}, "Metadata": "x", "BouncedAt": "yesterday"}',
        b'{"type": "email.bounced", "data": {"bounce": "x", "to": [[]], "tags": [[]]}}',
        b'{"type": "email.bounced\\u0000\\ud83d", "data": null}',
        ses("Delivery", more="x" * BODY_BYTES_MAX),
        postmark("Delivery", more="x" * BODY_BYTES_MAX),
        resend("email.delivered", more="x" * BODY_BYTES_MAX),
    ],
)
def test_wrong_payload_is_unknown_and_no_error(reader: Any, body: bytes) -> None:
    assert [found.kind for found in reader(body, ADDRESSES)] == [UNKNOWN]

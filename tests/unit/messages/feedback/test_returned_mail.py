"""What is read from reports as servers send them, and from mails that are no reports."""

from __future__ import annotations

import base64

import pytest

from headrace.domain.messages.feedback.form import Feedback, FeedbackKind, Source
from headrace.domain.messages.feedback.returned_mail import read_returned_mail, report_for
from headrace.domain.messages.smtp_replies import ReplyClass

from .mails import (
    ADDRESSES,
    MESSAGE,
    RETURNED,
    SENDER,
    acted,
    complaint,
    failed,
    plain,
    report,
)

HARD, SOFT, BLOCKED = FeedbackKind.HARD, FeedbackKind.SOFT, FeedbackKind.BLOCKED
DELAYED, DELIVERED = FeedbackKind.DELAYED, FeedbackKind.DELIVERED
UNKNOWN, AUTO_REPLY = FeedbackKind.UNKNOWN, FeedbackKind.AUTO_REPLY

FAILURES = [
    # Postfix repeats the response of the receiving server.
    ("5.1.1", "smtp; 550 5.1.1 <ann@example.net>: Recipient address rejected: User unknown", HARD),
    ("5.0.0", "smtp; 550 No such user here", HARD),
    ("5.4.4", "X-Postfix; Host or domain name not found. Name service error for name=x", SOFT),
    ("4.4.1", "X-Postfix; connect to mx.example.net[192.0.2.1]:25: Connection timed out", SOFT),
    ("5.4.6", "X-Postfix; mail forwarding loop for ann@example.net", SOFT),
    ("5.2.2", "smtp; 552 5.2.2 Mailbox full", SOFT),
    ("4.2.2", "smtp; 452 4.2.2 The email account is over quota", SOFT),
    ("5.3.4", "smtp; 552 5.3.4 Message size exceeds fixed limit", BLOCKED),
    ("5.6.1", "smtp; 554 5.6.1 Body type not supported", BLOCKED),
    # Gmail.
    (
        "5.1.1",
        (
            "smtp; 550-5.1.1 The email account that you tried to reach does not exist.\n 550-5.1.1 "
            "Please try double-checking the address.\n 550 5.1.1  a1 - gsmtp"
        ),
        HARD,
    ),
    ("5.2.1", "smtp; 550 5.2.1 The email account that you tried to reach is disabled.", HARD),
    ("5.7.26", "smtp; 550-5.7.26 This mail is unauthenticated, which poses a risk", BLOCKED),
    ("4.7.28", "smtp; 421-4.7.28 unusual rate of unsolicited mail from your IP", BLOCKED),
    # Exchange and Outlook.com.
    (
        "5.1.10",
        "smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient ann@example.net not found",
        HARD,
    ),
    ("5.7.515", "smtp;550 5.7.515 Access denied, sending domain does not meet the level", BLOCKED),
    ("5.5.0", "smtp; 550 5.5.0 Requested action not taken: mailbox unavailable", SOFT),
    ("5.7.1", "smtp;550 5.7.1 Unfortunately, messages from [192.0.2.9] weren't sent.", BLOCKED),
    # Yahoo, GMX, T-Online, Domino.
    ("5.0.0", "smtp; 554 delivery error: dd This user doesn't have a yahoo.com account", HARD),
    ("5.7.9", "smtp; 554 5.7.9 Message not accepted for policy reasons", BLOCKED),
    ("5.0.0", "smtp; 550 Postfach des Empfängers ist voll", SOFT),
    ("5.0.0", "smtp; 550 Empfänger unbekannt", HARD),
    ("5.0.0", "smtp; 550 Utilisateur inconnu", HARD),
    ("5.1.1", "smtp; 550 5.1.1 user ann not listed in Domino Directory", HARD),
    # A rejection of the sender with a code that speaks of the address.
    ("5.1.1", "smtp; 550 5.1.1 blocked using zen.spamhaus.org", BLOCKED),
    ("5.2.1", "smtp; 550 5.2.1 Mail rejected, IP listed on the XYZ DNSBL", BLOCKED),
    ("5.7.1", "smtp; 550 5.1.1 rejected", BLOCKED),
    ("5.0.0", "smtp; 554 rejected", BLOCKED),
    # A report's own unspecific code gives way to the server's, and the reverse.
    ("5.0.0", "smtp; 550 5.1.1 no", HARD),
    ("5.1.1", "smtp; 550 5.0.0 no", HARD),
    ("5.1.1", "", HARD),
    # Nothing is known of the address.
    ("5.0.0", "", UNKNOWN),
    ("5.5.4", "smtp; 501 5.5.4 Invalid argument", UNKNOWN),
    ("", "", UNKNOWN),
]


def read(raw: bytes) -> Feedback:
    (found,) = read_returned_mail(raw, addresses=ADDRESSES).reports
    return found


@pytest.mark.parametrize(("status", "diagnostic", "kind"), FAILURES)
def test_failed_recipient_is_judged(status: str, diagnostic: str, kind: FeedbackKind) -> None:
    found = read(report(failed(status, diagnostic)))
    assert (found.kind, found.source, found.event) == (kind, Source.DSN, "failed")
    assert (found.message_id, found.address) == (MESSAGE, "ann@example.net")


def test_report_is_read_completely() -> None:
    more = "Remote-MTA: dns; mx.example.net\nLast-Attempt-Date: Mon, 1 Jun 2026 12:00:03 +0200"
    block = failed("5.1.1", "smtp; 550 5.1.1 <ann@example.net> User unknown") + "\n" + more
    message = f"Reporting-MTA: dns; mx.relay.example\nOriginal-Envelope-Id: {MESSAGE}"
    assert read(report(block, message=message)) == Feedback(
        kind=HARD,
        source=Source.DSN,
        event="failed",
        message_id=MESSAGE,
        envelope_id=MESSAGE,
        original_message_id="k3y5k3y5k3y5k3y5k3y5k3y5k3@example.org",
        address="ann@example.net",
        reason=ReplyClass.ADDRESS_BAD,
        status="5.1.1",
        diagnostic="<***@example.net> User unknown",
        reporter="mx.relay.example",
        at_us=1_780_308_003_000_000,
    )


@pytest.mark.parametrize(
    ("action", "status", "kind"),
    [
        ("delayed", "4.4.1", DELAYED),
        ("Delayed", "4.2.2", DELAYED),
        ("delivered", "2.1.5", DELIVERED),
        # The receiving server accepted the mail, and sends no reports.
        ("relayed", "2.6.0", DELIVERED),
        ("expanded", "2.1.5", DELIVERED),
        ("delivered (to mailbox)", "2.0.0", DELIVERED),
        ("something", "5.1.1", UNKNOWN),
    ],
)
def test_other_actions_are_no_bounces(action: str, status: str, kind: FeedbackKind) -> None:
    found = read(report(acted(action, status)))
    assert (found.kind, found.reason, found.status) == (kind, None, status)


@pytest.mark.parametrize(
    ("status", "kind"), [("2.0.0", DELIVERED), ("4.2.2", DELAYED), ("5.1.1", HARD)]
)
def test_missing_action_follows_from_the_status(status: str, kind: FeedbackKind) -> None:
    assert read(report(f"Final-Recipient: rfc822; a@example.net\nStatus: {status}")).kind is kind


def test_each_recipient_has_its_report() -> None:
    blocks = "\n\n".join(
        [
            failed("5.1.1", "smtp; 550 5.1.1 User unknown", recipient="b@example.net"),
            acted("delivered", "2.1.5"),
        ]
    )
    reports = read_returned_mail(report(blocks)).reports
    assert [(one.kind, one.address) for one in reports] == [
        (HARD, "b@example.net"),
        (DELIVERED, "ann@example.net"),
    ]


def test_failed_member_of_a_list_does_not_make_the_list_bad() -> None:
    def kind_for(address: str, *blocks: str) -> FeedbackKind:
        found = read_returned_mail(report("\n\n".join(blocks)))
        return report_for(found.reports, address).kind

    dead = failed("5.1.1", "smtp; 550 5.1.1 User unknown", recipient="Member@Example.net")
    delivered = acted("delivered", "2.1.5")
    assert kind_for("list@example.net", dead, delivered) is DELIVERED
    assert kind_for("member@example.net", dead, delivered) is HARD
    assert kind_for("ann@example.net", dead, delivered) is DELIVERED
    # A forward to a single address that does not exist.
    assert kind_for("ann@example.net", dead) is HARD


def test_forwarded_address_is_reported_as_the_original_one() -> None:
    block = "Original-Recipient: rfc822;ann@example.net\n" + failed(
        "5.1.1", "smtp; 550 5.1.1 unknown", recipient="other@forward.example"
    )
    assert read(report(block)).address == "ann@example.net"


def test_report_in_base64_and_with_international_addresses_is_read() -> None:
    block = "Reporting-MTA: dns; mx.example\n\nFinal-Recipient: utf-8; ann@example.net\n"
    body = base64.b64encode((block + "Action: failed\nStatus: 5.1.1").encode()).decode()
    kind = "message/global-delivery-status\nContent-Transfer-Encoding: base64"
    raw = report("", message=body, kind=kind)
    assert (read(raw).kind, read(raw).address) == (HARD, "ann@example.net")


def test_report_outside_of_multipart_report_is_read() -> None:
    raw = report(failed("5.1.1", "")).replace(b"multipart/report", b"multipart/mixed")
    assert read(raw).kind is HARD


def test_empty_report_is_read_by_its_text() -> None:
    text = "The following address(es) failed:\n\n ann@example.net: 550 5.1.1 User unknown"
    found = read(report("", message="", text=text))
    assert (found.kind, found.source) == (HARD, Source.MAIL)


DAEMON = "From: Mail Delivery System <Mailer-Daemon@mx.example>\nSubject: {}"
QMAIL = (
    "Hi. This is the qmail-send program at mx.example.\n"
    "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
    "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
    "<ann@example.net>:\n{}\n\n--- Below this line is a copy of the message.\n\n"
    "Return-Path: <x@example.org>\nSubject: 550 5.7.1 spam\n"
)
EXIM = (
    "This message was created automatically by mail delivery software.\n\n"
    "A message that you sent could not be delivered to one or more of its\n"
    "recipients. This is a permanent error. The following address(es) failed:\n\n"
    "  ann@example.net\n    {}\n\n------ This is a copy of the message ------\n\nspam\n"
)
GMAIL = "** Address not found **\n\nYour message wasn't delivered to ann@example.net because {}\n"
EXCHANGE = (
    "Your message did not reach some or all of the intended recipients.\n"
    "The following recipient(s) could not be reached:\n ann@example.net on 1/6/2026\n"
    "  The e-mail account does not exist at the organization.\n  <mail.example.net #5.1.1>\n"
)
WITHOUT_REPORT = [
    ("failure notice", QMAIL.format("Sorry, no mailbox here by that name. (#5.1.1)"), HARD),
    (
        "failure notice",
        QMAIL.format(
            "192.0.2.1 does not like recipient.\nRemote host said: 550 5.1.1 User unknown\n"
            "Giving up on 192.0.2.1."
        ),
        HARD,
    ),
    (
        "failure notice",
        QMAIL.format("Connected to 192.0.2.1.\nRemote host said: 554 5.7.1 Spam detected"),
        BLOCKED,
    ),
    (
        "failure notice",
        QMAIL.format("I'm not going to try again; this message has been in the queue too long."),
        SOFT,
    ),
    (
        "Mail delivery failed: returning message to sender",
        EXIM.format("host mx.example.net [192.0.2.1]\n    SMTP error: 550 5.1.1 no such user"),
        HARD,
    ),
    ("Mail delivery failed", EXIM.format("Unrouteable address"), HARD),
    ("Mail delivery failed", EXIM.format("retry timeout exceeded"), SOFT),
    ("Mail delivery failed", EXIM.format("mailbox is full (quota exceeded)"), SOFT),
    (
        "Mail delivery failed",
        EXIM.format("550 rejected because 192.0.2.9 is in a black list at zen.spamhaus.org"),
        BLOCKED,
    ),
    (
        "Warning: message 1a2B-00 delayed 24 hours",
        "A message that you sent has not yet been delivered to one or more recipients.",
        DELAYED,
    ),
    (
        "Delivery Status Notification (Failure)",
        GMAIL.format("the address couldn't be found, or is unable to receive mail."),
        HARD,
    ),
    (
        "Delivery Status Notification (Failure)",
        GMAIL.format("the domain example.net couldn't be found."),
        SOFT,
    ),
    ("Delivery Status Notification (Delay)", "There was a problem; Gmail will retry.", DELAYED),
    (
        "Undeliverable: Your order",
        EXCHANGE,
        HARD,
    ),
    ("Unzustellbar: Bestellung", "Das Postfach ist voll. ann@example.net", SOFT),
    ("Nicht zustellbar", "Der Empfänger ann@example.net ist unbekannt", HARD),
    ("Échec de remise", "La boîte aux lettres est pleine", SOFT),
    ("Returned mail: see transcript for details", "550 5.1.1 <ann@example.net>... unknown", HARD),
    ("Undelivered mail", "Something went wrong.", UNKNOWN),
]


@pytest.mark.parametrize(("subject", "text", "kind"), WITHOUT_REPORT)
def test_bounce_without_a_report_is_read_by_its_text(
    subject: str, text: str, kind: FeedbackKind
) -> None:
    found = read(plain(DAEMON.format(subject), text))
    assert (found.kind, found.source, found.message_id) == (kind, Source.MAIL, MESSAGE)


def test_exim_names_the_failed_recipient_in_a_header() -> None:
    headers = "From: x@mx.example\nX-Failed-Recipients: bob@example.net\nSubject: failed"
    found = read(plain(headers, EXIM.format("550 5.1.1 unknown")))
    assert (found.kind, found.address) == (HARD, "bob@example.net")


def test_bounce_in_html_is_read() -> None:
    text = "<p>Fehler: <b>550 5.1.1</b> <i>User unknown</i></p>"
    assert read(plain(DAEMON.format("failure notice"), text, kind="text/html")).kind is HARD


@pytest.mark.parametrize(
    "headers",
    [
        "Auto-Submitted: auto-replied",
        "Auto-Submitted: auto-generated; owner=x",
        "X-Autoreply: yes",
        "X-Autorespond: yes",
        "Precedence: auto_reply",
        "Precedence: bulk",
        "Subject: Out of Office: Your order",
        "Subject: Automatic reply: Your order",
        "Subject: Automatische Antwort: Bestellung",
        "Subject: Abwesenheitsnotiz",
        "Subject: =?utf-8?q?Ich_bin_nicht_im_B=C3=BCro?=",
        "Subject: =?iso-8859-1?q?R=E9ponse_automatique_:_commande?=",
    ],
)
def test_automatic_reply_is_no_bounce(headers: str) -> None:
    text = "I am away; my mailbox is full and the user unknown. 550 5.1.1"
    found = read(plain(f"From: Ann <ann@example.net>\n{headers}", text))
    assert (found.kind, found.reason, found.message_id) == (AUTO_REPLY, None, MESSAGE)


def test_read_receipt_is_an_automatic_reply() -> None:
    raw = report(
        "Disposition: automatic-action; displayed", kind="message/disposition-notification"
    )
    assert read(raw).kind is AUTO_REPLY


def test_letter_of_a_person_is_unknown() -> None:
    assert (
        read(plain("From: Ann <ann@example.net>\nSubject: Re: order", "550 5.1.1")).kind is UNKNOWN
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("abuse", FeedbackKind.COMPLAINT),
        ("Fraud", FeedbackKind.COMPLAINT),
        ("other", FeedbackKind.COMPLAINT),
        ("opt-out", FeedbackKind.UNSUBSCRIBE),
        ("not-spam", UNKNOWN),
        ("auth-failure", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_complaint_is_read_by_its_type(kind: str, expected: FeedbackKind) -> None:
    found = read(complaint(kind))
    assert (found.kind, found.source, found.event) == (expected, Source.ARF, kind.lower())
    assert (found.message_id, found.address) == (MESSAGE, "ann@example.net")
    assert found.reporter == "mx.receiver.example"
    assert found.at_us == 1_780_308_000_000_000


def test_redacted_complaint_is_found_by_the_returned_mail() -> None:
    raw = complaint("abuse").replace(b"Original-Mail-From", b"X-Other").replace(b"ann@", b"***@")
    found = read(raw)
    assert found.message_id == MESSAGE
    assert found.original_message_id == "k3y5k3y5k3y5k3y5k3y5k3y5k3@example.org"


def test_mail_to_an_unsubscribe_address_is_an_opt_out() -> None:
    contact = "0190b0a5-0000-7000-8000-000000000001"
    to = ADDRESSES.unsubscribe(contact, None)
    found = read_returned_mail(plain("From: a@example.net", "x", to=to), addresses=ADDRESSES)
    assert found.reports[0].kind is FeedbackKind.UNSUBSCRIBE
    assert found.unsubscribe is not None
    assert found.unsubscribe.contact_id == contact


def altered() -> list[str]:
    local, _, domain = SENDER.partition("@")
    position = 10
    other = "a" if local[position] != "a" else "b"
    return [
        f"{local[:position]}{other}{local[position + 1 :]}@{domain}",
        f"{local}@other.example",
        f"{local}a@{domain}",
        f"{local[:-1]}@{domain}",
        f"u{local[1:]}@{domain}",
        f"b+{'a' * 34}@{domain}",
        f"{'b' * 40}{local}@{domain}",
        f"{local}@{domain}.evil.example",
    ]


@pytest.mark.parametrize("address", altered())
def test_altered_bounce_address_is_not_believed(address: str) -> None:
    returned = RETURNED.replace(SENDER, address)
    raw = report(failed("5.1.1", ""), to=address, returned=returned)
    found = read_returned_mail(raw, recipients=[address], addresses=ADDRESSES).reports[0]
    assert (found.kind, found.message_id) == (HARD, None)


def test_bounce_address_is_found_in_each_place_and_in_any_case() -> None:
    block, empty = failed("5.1.1", ""), RETURNED.replace(SENDER, "")
    other = "postmaster@example.org"
    mails = [
        (report(block, to=other, returned=empty), [SENDER.upper()]),
        (report(block, to=f"Bounces <{SENDER.upper()}>", returned=empty), []),
        (report(block, to=other, returned=empty, headers=f"Delivered-To: {SENDER}\n"), []),
        (report(block, to=other, returned=empty, headers=f"X-Original-To: {SENDER}\n"), []),
        (report(block, to=other), []),
    ]
    for raw, recipients in mails:
        found = read_returned_mail(raw, recipients=recipients, addresses=ADDRESSES)
        assert found.reports[0].message_id == MESSAGE
        assert read_returned_mail(raw, recipients=recipients).reports[0].message_id is None


def test_envelope_id_is_a_claim_of_its_own() -> None:
    message = f"Reporting-MTA: dns; x\nOriginal-Envelope-Id: {MESSAGE.upper()}"
    raw = report(failed("5.1.1", ""), message=message, to="x@example.org", returned="")
    found = read(raw)
    assert (found.message_id, found.envelope_id) == (None, MESSAGE)
    assert read(raw.replace(MESSAGE.upper().encode(), b"DROP TABLE")).envelope_id is None

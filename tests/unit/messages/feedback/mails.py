"""Mails as servers return them, written for these tests."""

from __future__ import annotations

from headrace.domain.messages.tokens import BounceAddresses

SECRET = b"0123456789abcdef0123456789abcdef"
ADDRESSES = BounceAddresses.of(SECRET, "bounces.example.org")
MESSAGE = "0190b0a5-6c1d-7d3e-8f00-1234567890ab"
SENDER = ADDRESSES.sender(MESSAGE)

RETURNED = f"""Return-Path: <{SENDER}>
Message-ID: <k3y5k3y5k3y5k3y5k3y5k3y5k3@example.org>
From: Shop <news@example.org>
To: ann@example.net
Subject: Your order
"""


ABOUT_MESSAGE = "Reporting-MTA: dns; mx.relay.example\nArrival-Date: Mon, 1 Jun 2026 10:00:00 +0000"


def report(
    recipients: str,
    *,
    message: str = ABOUT_MESSAGE,
    headers: str = "",
    text: str = "Your mail could not be delivered.",
    returned: str = RETURNED,
    kind: str = "message/delivery-status",
    to: str = SENDER,
) -> bytes:
    """A delivery report with these blocks."""
    return f"""From: Mail Delivery System <MAILER-DAEMON@relay.example>
To: {to}
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
Date: Mon, 1 Jun 2026 10:00:05 +0000
MIME-Version: 1.0
{headers}Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"

This is a MIME-encapsulated message.

--=_b
Content-Type: text/plain; charset=us-ascii

{text}

--=_b
Content-Type: {kind}

{message}

{recipients}

--=_b
Content-Type: message/rfc822

{returned}
Hello.

--=_b--
""".replace("\n", "\r\n").encode()


def failed(status: str, diagnostic: str, *, recipient: str = "ann@example.net") -> str:
    """The block of a recipient whose delivery failed."""
    lines = [f"Final-Recipient: rfc822; {recipient}", "Action: failed", f"Status: {status}"]
    return "\n".join([*lines, f"Diagnostic-Code: {diagnostic}"] if diagnostic else lines)


def acted(action: str, status: str, more: str = "") -> str:
    """The block of a recipient with another action."""
    return f"Final-Recipient: rfc822;ann@example.net\nAction: {action}\nStatus: {status}\n{more}"


def complaint(kind: str, more: str = "") -> bytes:
    """A complaint report."""
    return f"""From: <fbl@receiver.example>
To: <feedback@bounces.example.org>
Subject: Complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

This is a spam report.

--b
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: Feedback/2.0
Version: 1
Original-Mail-From: <{SENDER}>
Original-Rcpt-To: ann@example.net
Arrival-Date: Mon, 1 Jun 2026 12:00:00 +0200
Reporting-MTA: dns; mx.receiver.example
{more}
--b
Content-Type: text/rfc822-headers

{RETURNED}
--b--
""".encode()


def plain(headers: str, text: str, *, to: str = SENDER, kind: str = "text/plain") -> bytes:
    """A mail that is no report."""
    return f"To: {to}\n{headers}\nContent-Type: {kind}; charset=utf-8\n\n{text}\n".encode()

"""Sends notices of alerts by mail, directly through the relay.

Not as messages of a project: guardrails, caps and suppressions are for its recipients.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from headrace.delivery.mail.contract import MailRelay, OutgoingMail
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.pipeline.upkeep.alert_watch import Channel, mail_text
from headrace.store.upkeep.alerts import Notice


def mail_channel(relay: MailRelay, sender: str, recipients: Sequence[str]) -> Channel:
    """Sends each notice to all recipients; an attempt fails if one of them fails.

    A retry repeats the mail to the others, with the same Message-ID.
    """

    async def send(notice: Notice) -> str:
        failures: list[str] = []
        for recipient in recipients:
            mail = OutgoingMail(
                message_id=notice.id,
                sender=sender,
                recipient=recipient,
                content=_compose(notice, sender, recipient),
            )
            outcome = await relay.send(mail, _nothing_to_write)
            if outcome.outcome is not ReplyClass.SENT:
                failures.append(outcome.message if outcome.reply is None else outcome.reply.text)
        return "; ".join(failures)

    return send


async def _nothing_to_write() -> None:
    """Attempts of notices are counted afterwards."""


def _compose(notice: Notice, sender: str, recipient: str) -> bytes:
    subject, text = mail_text(notice)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = f"Headrace <{sender}>"
    mail["To"] = recipient
    mail["Subject"] = subject
    mail["Date"] = format_datetime(datetime.fromtimestamp(notice.at_us // 1_000_000, UTC))
    mail["Message-ID"] = f"<{notice.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text)
    return mail.as_bytes()

"""Checks of mail: the relay, and the address of links."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headrace.cli.doctor.finding import Finding, fail, ok, warn
from headrace.config import SettingError, Settings

if TYPE_CHECKING:
    from headrace.delivery.mail.bounce_urls import MailboxUrl


def check_mail(settings: Settings) -> Iterator[Finding]:
    """Check the relay, and the base address of links in mails."""
    from headrace.delivery.mail.relay_url import RelayKind
    from headrace.pipeline.messages.mail_services import relay_of

    try:
        relay = relay_of(settings)
    except SettingError as error:
        yield fail("mail relay", str(error), "Set HEADRACE_MAIL_RELAY to one of docs/mail.md.")
        return
    if relay.kind is RelayKind.CAPTURE:
        found = "capture: mail is stored for inspection, and none is sent (HEADRACE_MAIL_RELAY)"
        yield ok("mail relay", found)
        yield from check_bounces(settings)
        return
    yield ok("mail relay", f"{relay.kind.value} {relay.host}:{relay.port}")
    yield _links(settings.public_url)
    if not settings.mail_bounce_domain:
        advice = "Set HEADRACE_MAIL_BOUNCE_DOMAIN for bounces to come back."
        yield warn("bounces", "go to the address of the sender", advice)
    yield from check_bounces(settings)


def check_bounces(settings: Settings) -> Iterator[Finding]:
    """Check the ways in which bounces and webhooks come back; opens the mailbox, reads nothing."""
    from headrace.pipeline.messages.mail_services import listener_of, mailbox_of, provider_keys

    advice = "See docs/mail.md, Bounces."
    try:
        mailbox, listener = mailbox_of(settings), listener_of(settings)
        keys = provider_keys(settings)
    except SettingError as error:
        yield fail("bounces", str(error), advice)
        return
    if mailbox is not None:
        yield _mailbox(mailbox)
    if listener is not None:
        yield ok("bounces", f"are accepted at {listener.shown}")
    providers = {
        "Amazon SES": keys.ses_topics,
        "Postmark": keys.postmark_password,
        "Resend": keys.resend_secrets,
    }
    known = [name for name, value in providers.items() if value]
    if known:
        yield ok("webhooks", f"of {', '.join(known)} are taken at {_base(settings)}/mail/webhooks/")
    if settings.mail_bounce_domain and mailbox is None and listener is None and not known:
        found = f"to {settings.mail_bounce_domain} are not read by this process"
        more = "Unless a mail server calls `headrace mail bounce`, set HEADRACE_MAIL_BOUNCE_IMAP."
        yield warn("bounces", found, more)


def _mailbox(url: MailboxUrl) -> Finding:
    from headrace.delivery.mail.imap import Mailbox, MailboxError, MailboxLimits

    async def count() -> int:
        limits = MailboxLimits(open_s=10, command_s=10)
        async with await Mailbox.open(url, limits) as opened:
            return len(await opened.find())

    try:
        waiting = asyncio.run(count())
    except MailboxError as error:
        return fail("bounces", str(error), "Check HEADRACE_MAIL_BOUNCE_IMAP.")
    return ok("bounces", f"are read from {url.shown}; {waiting} wait")


def _base(settings: Settings) -> str:
    return settings.public_url.rstrip("/") or f"http://{settings.host}:{settings.port}"


def _links(public_url: str) -> Finding:
    advice = "Set HEADRACE_PUBLIC_URL to where recipients reach this server."
    if not public_url:
        return warn("mail links", "lead to this machine alone", advice)
    parts = urlsplit(public_url)
    if _is_local(parts.hostname or ""):
        return warn("mail links", f"lead to {public_url}, which is this machine alone", advice)
    if parts.scheme != "https":
        found = f"lead to {public_url}, which is not encrypted"
        return warn("mail links", found, "One-click unsubscribe needs https (RFC 8058).")
    return ok("mail links", f"lead to {public_url}")


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified

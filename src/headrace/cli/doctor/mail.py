"""Checks of mail: the relay, and the address of links."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from headrace.cli.doctor.finding import Finding, fail, ok, warn
from headrace.config import SettingError, Settings


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
        return
    yield ok("mail relay", f"{relay.kind.value} {relay.host}:{relay.port}")
    yield _links(settings.public_url)
    if not settings.mail_bounce_domain:
        advice = "Set HEADRACE_MAIL_BOUNCE_DOMAIN for bounces to come back."
        yield warn("bounces", "go to the address of the sender", advice)


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

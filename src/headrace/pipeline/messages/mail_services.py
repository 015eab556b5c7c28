"""Mail services for the edges, built from the settings."""

from __future__ import annotations

import msgspec

from headrace.config import SettingError, Settings
from headrace.delivery.mail.dns_lookup import DnsLookup, ResolverLookup
from headrace.delivery.mail.relay_url import RelayKind, RelayUrl, parse_relay_url
from headrace.pipeline.messages.mailing import Mailing
from headrace.pipeline.messages.public_links import PublicLinks
from headrace.pipeline.messages.sending_domains import SendingDomains
from headrace.pipeline.messages.templating import Templating
from headrace.store.store import Store


class MailServices(msgspec.Struct, frozen=True):
    """The parts of mail that requests work with."""

    mailing: Mailing
    domains: SendingDomains
    templating: Templating
    links: PublicLinks


async def mail_services(settings: Settings, store: Store) -> MailServices:
    """The parts of mail, for one process.

    Raises:
        SettingError: the relay is none.
    """
    relay = relay_of(settings)
    return MailServices(
        mailing=Mailing(store, needs_domain=relay.kind is not RelayKind.CAPTURE),
        domains=sending_domains(settings, store),
        templating=Templating(store),
        links=PublicLinks(store, await store.messages.keys.get()),
    )


def relay_of(settings: Settings) -> RelayUrl:
    """The relay that mail goes through.

    Raises:
        SettingError: the relay is invalid; without its text, which may hold a password.
    """
    try:
        return parse_relay_url(settings.mail_relay)
    except ValueError as error:
        message = f"HEADRACE_MAIL_RELAY {error}"
        raise SettingError(message) from None


def sending_domains(
    settings: Settings, store: Store, lookup: DnsLookup | None = None
) -> SendingDomains:
    """Domains with the records that the relay of the settings needs.

    Args:
        lookup: asks DNS; None: the system's name servers.

    Raises:
        SettingError: the relay is none.
    """
    relay = relay_of(settings)
    # `capture:` sends nothing: the domain's own mail hosts stand in for a later relay.
    spf = f"a:{relay.host}" if relay.host else "mx"
    return SendingDomains(
        store,
        ResolverLookup() if lookup is None else lookup,
        spf=spf,
        bounce_domain=settings.mail_bounce_domain or None,
    )

"""Mail services for the edges, built from the settings."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.config import SettingError, Settings
from headrace.delivery.mail.bounce_server import BounceServer, NotStoredError
from headrace.delivery.mail.bounce_urls import (
    ListenUrl,
    MailboxUrl,
    parse_listen_url,
    parse_mailbox_url,
)
from headrace.delivery.mail.dns_lookup import DnsLookup, ResolverLookup
from headrace.delivery.mail.relay_url import RelayKind, RelayUrl, parse_relay_url
from headrace.delivery.webhook.fetch import Fetcher
from headrace.domain.messages.feedback.notification import Intake
from headrace.domain.messages.feedback.providers.credentials import secret_is_usable
from headrace.domain.messages.feedback.providers.payloads import TOKEN_NAME
from headrace.domain.messages.tokens import BounceAddresses
from headrace.pipeline.messages.mail_intake import MailIntake
from headrace.pipeline.messages.mailing import Mailing
from headrace.pipeline.messages.provider_webhooks import ProviderKeys, ProviderWebhooks
from headrace.pipeline.messages.public_links import PublicLinks
from headrace.pipeline.messages.sending_domains import SendingDomains
from headrace.pipeline.messages.templating import Templating
from headrace.store.contract.errors import StoreError
from headrace.store.store import Store


class MailServices(msgspec.Struct, frozen=True):
    """The parts of mail that requests work with."""

    mailing: Mailing
    domains: SendingDomains
    templating: Templating
    links: PublicLinks
    intake: MailIntake
    providers: ProviderWebhooks


async def mail_services(settings: Settings, store: Store) -> MailServices:
    """The parts of mail, for one process.

    Raises:
        SettingError: the relay, or the login or secret of a provider, cannot be used.
    """
    relay = relay_of(settings)
    intake = await mail_intake(settings, store)
    return MailServices(
        mailing=Mailing(store, needs_domain=relay.kind is not RelayKind.CAPTURE),
        domains=sending_domains(settings, store),
        templating=Templating(store),
        links=PublicLinks(store, await store.messages.keys.get()),
        intake=intake,
        providers=ProviderWebhooks(
            intake, provider_keys(settings), Fetcher().fetch, store.clock_us
        ),
    )


async def mail_intake(settings: Settings, store: Store) -> MailIntake:
    """What reads mail that came back."""
    keys = await store.messages.keys.get()
    addresses = BounceAddresses(keys, settings.mail_bounce_domain.strip().lower())
    return MailIntake(store.messages.notifications, addresses, store.clock_us)


def mailbox_of(settings: Settings) -> MailboxUrl | None:
    """The mailbox that bounces are read from; None without one.

    Raises:
        SettingError: the setting is invalid; without its text, which holds a password.
    """
    if not settings.mail_bounce_imap:
        return None
    try:
        return parse_mailbox_url(settings.mail_bounce_imap)
    except ValueError as error:
        message = f"HEADRACE_MAIL_BOUNCE_IMAP {error}"
        raise SettingError(message) from None


def listener_of(settings: Settings) -> ListenUrl | None:
    """Where mail that came back is accepted; None: nowhere.

    Raises:
        SettingError: the setting is invalid.
    """
    if not settings.mail_bounce_listen:
        return None
    try:
        return parse_listen_url(settings.mail_bounce_listen)
    except ValueError as error:
        message = f"HEADRACE_MAIL_BOUNCE_LISTEN {error}"
        raise SettingError(message) from None


def bounce_server(url: ListenUrl, intake: MailIntake) -> BounceServer:
    """The listener of the settings; a mail is accepted once it is stored."""

    async def take(raw: bytes, recipients: Sequence[str]) -> None:
        try:
            await intake.mail(raw, intake=Intake.LISTENER, recipients=recipients)
        except StoreError as error:
            raise NotStoredError from error

    return BounceServer(url, intake.accepts, take)


def provider_keys(settings: Settings) -> ProviderKeys:
    """What webhooks of providers are verified with.

    Raises:
        SettingError: one cannot be used; without its text, which is secret.
    """
    user, colon, password = settings.mail_postmark_login.partition(":")
    if settings.mail_postmark_login and not (user and colon and password):
        message = "HEADRACE_MAIL_POSTMARK_LOGIN must be user:password"
        raise SettingError(message)
    topics, secrets = _listed(settings.mail_ses_topics), _listed(settings.mail_resend_secrets)
    if any(not topic.startswith("arn:") for topic in topics):
        message = "HEADRACE_MAIL_SES_TOPICS must be ARNs, such as arn:aws:sns:eu-west-1:123:mail"
        raise SettingError(message)
    if not all(secret_is_usable(secret) for secret in secrets):
        message = "HEADRACE_MAIL_RESEND_SECRETS must be whsec_ and at least 16 bytes in base64"
        raise SettingError(message)
    return ProviderKeys(
        ses_topics=topics,
        postmark_user=user,
        postmark_password=password,
        resend_secrets=secrets,
    )


def provider_headers(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Headers in which the providers whose webhooks are accepted take the token of a message."""
    headers: list[tuple[str, str]] = []
    if settings.mail_postmark_login:
        headers.append((f"X-PM-Metadata-{TOKEN_NAME}", ""))
    if settings.mail_ses_topics:
        headers.append(("X-SES-MESSAGE-TAGS", f"{TOKEN_NAME}="))
    return tuple(headers)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


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

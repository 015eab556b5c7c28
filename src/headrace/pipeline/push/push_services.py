"""Parts of push, built from the settings."""

from __future__ import annotations

from headrace.config import SettingError, Settings
from headrace.delivery.push.web_push import WebPushTransport
from headrace.delivery.webhook.addresses import parse_networks
from headrace.domain.push.hosts import PushHosts, parse_push_hosts
from headrace.pipeline.push.sending import PushSending
from headrace.store.store import Store


def push_sending_of(settings: Settings, store: Store) -> PushSending:
    """Sending for the edges.

    Raises:
        SettingError: the list of push services, or the subject, is invalid.
    """
    push_subject(settings)
    networks = parse_networks(settings.webhook_allow_networks)
    return PushSending(store, _hosts(settings), networks)


def web_push_transport(settings: Settings) -> WebPushTransport:
    """The transport of a worker.

    Raises:
        SettingError: as `push_sending_of`.
    """
    return WebPushTransport(
        _hosts(settings),
        subject=push_subject(settings),
        allowed=parse_networks(settings.webhook_allow_networks),
    )


def _hosts(settings: Settings) -> PushHosts:
    try:
        return parse_push_hosts(settings.push_hosts)
    except ValueError as error:
        message = f"HEADRACE_PUSH_HOSTS {error}"
        raise SettingError(message) from None


def push_subject(settings: Settings) -> str:
    """The URL at which push services reach the operator; empty: none.

    Raises:
        SettingError: it is neither `mailto:` nor `https:`.
    """
    subject = settings.push_subject.strip()
    if not subject:
        public_url = settings.public_url.strip()
        return public_url if public_url.startswith("https://") else ""
    if not subject.startswith(("mailto:", "https://")) or not subject.isprintable():
        message = "HEADRACE_PUSH_SUBJECT must begin with mailto: or https://"
        raise SettingError(message)
    return subject

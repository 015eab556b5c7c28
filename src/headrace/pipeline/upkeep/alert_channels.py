"""The ways in which notices of alerts are sent, from the settings."""

from __future__ import annotations

from collections.abc import Callable

from headrace.config import SettingError, Settings
from headrace.delivery.contract import DeliveryError
from headrace.delivery.mail.contract import MailRelay
from headrace.delivery.mail.relay_url import RelayKind
from headrace.delivery.webhook.addresses import parse_networks
from headrace.delivery.webhook.guard import check_url
from headrace.delivery.webhook.signing import check_secret
from headrace.domain.email import normalize_email
from headrace.pipeline.messages.mail_services import relay_of
from headrace.pipeline.upkeep.alert_mail import mail_channel
from headrace.pipeline.upkeep.alert_watch import (
    MAIL,
    WEBHOOK,
    CallsWebhooks,
    Channel,
    webhook_channel,
)

RECIPIENTS_MAX = 10


def alert_channels(
    settings: Settings, calls: CallsWebhooks, open_relay: Callable[[], MailRelay]
) -> dict[str, Channel]:
    """The channels that are configured, by name.

    Raises:
        SettingError: a setting of alerts cannot be used.
    """
    channels: dict[str, Channel] = {}
    if settings.alert_webhook_url:
        channels[WEBHOOK] = webhook_channel(calls, _url(settings), _secret(settings))
    recipients = [
        _address("HEADRACE_ALERT_MAIL_TO", one.strip())
        for one in settings.alert_mail_to.split(",")
        if one.strip()
    ]
    if len(recipients) > RECIPIENTS_MAX:
        message = f"HEADRACE_ALERT_MAIL_TO must have at most {RECIPIENTS_MAX} addresses"
        raise SettingError(message)
    # The relay `capture:` sends nothing.
    if recipients and relay_of(settings).kind is not RelayKind.CAPTURE:
        sender = _address("HEADRACE_ALERT_MAIL_FROM", settings.alert_mail_from)
        channels[MAIL] = mail_channel(open_relay(), sender, recipients)
    return channels


def _url(settings: Settings) -> str:
    try:
        allowed = parse_networks(settings.webhook_allow_networks)
        return check_url(settings.alert_webhook_url, allowed).text
    except DeliveryError as error:
        message = f"HEADRACE_ALERT_WEBHOOK_URL: {error}"
        raise SettingError(message) from None


def _secret(settings: Settings) -> str:
    try:
        return check_secret(settings.alert_webhook_secret)
    except ValueError as error:
        message = (
            f"HEADRACE_ALERT_WEBHOOK_SECRET: {error}; make one with: "
            'echo "whsec_$(openssl rand -base64 24)"'
        )
        raise SettingError(message) from None


def _address(name: str, text: str) -> str:
    try:
        return normalize_email(text)
    except ValueError as error:
        message = f"{name} {error}"
        raise SettingError(message) from None

"""Settings of alerts: which channels they give, and what is said about wrong ones."""

from __future__ import annotations

import pytest

from headrace.config import SettingError, load_settings
from headrace.delivery.mail.contract import MailRelay, OutgoingMail
from headrace.delivery.mail.relay import CaptureRelay
from headrace.delivery.webhook.calls import WebhookCalls
from headrace.domain.access.sealing import KeyRing
from headrace.pipeline.upkeep.alert_channels import alert_channels

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
URL = "https://ops.example.org/hook"
RELAY = "smtp://127.0.0.1:25"


async def keep(mail: OutgoingMail) -> None:
    """Keep nothing."""


def relay() -> MailRelay:
    return CaptureRelay(keep)


def channels(**flags: str) -> set[str]:
    settings = load_settings(flags, {})
    return set(alert_channels(settings, WebhookCalls((), KeyRing()), relay))


def test_each_channel_needs_its_settings() -> None:
    assert channels() == set()
    assert channels(alert_webhook_url=URL, alert_webhook_secret=SECRET) == {"webhook"}
    to = {"alert_mail_to": "a@example.org, b@example.org", "alert_mail_from": "h@example.org"}
    assert channels(**to, mail_relay=RELAY) == {"mail"}
    # The relay that sends nothing sends no notices.
    assert channels(**to) == set()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"alert_webhook_url": URL}, "HEADRACE_ALERT_WEBHOOK_SECRET"),
        ({"alert_webhook_url": URL, "alert_webhook_secret": "x"}, "HEADRACE_ALERT_WEBHOOK_SECRET"),
        ({"alert_webhook_url": "ftp://x", "alert_webhook_secret": SECRET}, "ALERT_WEBHOOK_URL"),
        ({"alert_webhook_url": "http://127.0.0.1/x"}, "ALERT_WEBHOOK_URL"),
        ({"alert_mail_to": "nobody"}, "HEADRACE_ALERT_MAIL_TO"),
        ({"alert_mail_to": "a@example.org", "mail_relay": RELAY}, "HEADRACE_ALERT_MAIL_FROM"),
        ({"alert_mail_to": ",".join(f"a{n}@example.org" for n in range(11))}, "at most 10"),
    ],
)
def test_a_wrong_setting_is_named(flags: dict[str, str], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        channels(**flags)

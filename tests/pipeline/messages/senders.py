"""A sender with a store and a relay, as in the worker."""

from __future__ import annotations

import random
from typing import Any

from headrace.delivery.mail.contract import MailRelay, OutgoingMail
from headrace.delivery.mail.relay import CaptureRelay, SmtpRelay
from headrace.delivery.mail.relay_url import parse_relay_url
from headrace.delivery.mail.smtp import RelayLimits
from headrace.pipeline.messages.composer import Composer, MailSettings
from headrace.pipeline.messages.sender import Sender, SenderOptions, SenderStores
from headrace.store.store import Store

URL = "https://events.example.org"


def smtp_relay(port: int, **limits: Any) -> SmtpRelay:
    return SmtpRelay(parse_relay_url(f"smtp://127.0.0.1:{port}"), RelayLimits(**limits))


def capture_relay(store: Store) -> CaptureRelay:
    async def keep(mail: OutgoingMail) -> None:
        await store.messages.captured.keep(mail.message_id, mail.content, store.clock_us())

    return CaptureRelay(keep)


async def new_sender(
    store: Store,
    relay: MailRelay,
    owner: str,
    *,
    needs_domain: bool = False,
    bounce_domain: str | None = None,
    **options: Any,
) -> Sender:
    keys = await store.messages.keys.get()
    mail_settings = MailSettings(public_url=URL, bounce_domain=bounce_domain)
    composer = Composer(keys, store.messages.links, mail_settings)
    return Sender(
        SenderStores(outbox=store.messages.outbox, materials=store.messages.materials),
        composer,
        relay,
        owner=owner,
        needs_domain=needs_domain,
        clock_us=store.clock_us,
        rng=random.Random(1),
        options=SenderOptions(**options),
    )

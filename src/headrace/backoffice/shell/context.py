"""What the process provides to pages."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import msgspec

from headrace.backoffice.shell.passwords import Passwords
from headrace.delivery.mail.relay_url import RelayKind, RelayUrl
from headrace.pipeline.delivering.webhooks import Webhooks
from headrace.pipeline.messages.mail_services import MailServices
from headrace.pipeline.push.push_apps import PushAppSetup
from headrace.pipeline.push.sending import PushSending
from headrace.pipeline.streams.streams import Streams
from headrace.store.store import Store

#: Base path of all pages.
PREFIX = "/backoffice"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Backoffice(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the process that a page may use."""

    store: Store
    streams: Streams
    webhooks: Webhooks
    passwords: Passwords
    mail: MailServices
    push_apps: PushAppSetup
    push_sending: PushSending
    #: Where mail goes.
    relay: RelayUrl
    clock_us: Callable[[], int]
    #: Public scheme and host of this server; empty when not configured.
    public_origin: str = ""
    #: Proxies whose `X-Forwarded-For` is trusted.
    trusted_proxies: tuple[Network, ...] = ()

    @property
    def captures(self) -> bool:
        """Whether mail is captured here instead of sent."""
        return self.relay.kind is RelayKind.CAPTURE

    @property
    def secure(self) -> bool:
        """Whether browsers connect over TLS, so that cookies may be `Secure`."""
        return self.public_origin.startswith("https://")

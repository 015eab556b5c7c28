"""What the pages are given by the process."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import msgspec

from headrace.backoffice.shell.passwords import Passwords
from headrace.delivery.mail.relay_url import RelayKind, RelayUrl
from headrace.pipeline.delivering.webhooks import Webhooks
from headrace.pipeline.messages.mail_services import MailServices
from headrace.pipeline.streams.streams import Streams
from headrace.store.store import Store

#: Where the pages are; every path below begins with it.
PREFIX = "/backoffice"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Backoffice(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of the process that a page may use."""

    store: Store
    streams: Streams
    webhooks: Webhooks
    passwords: Passwords
    mail: MailServices
    #: Where mail goes.
    relay: RelayUrl
    clock_us: Callable[[], int]
    #: Scheme and host under which people reach this server; empty when nobody has said.
    public_origin: str = ""
    #: Proxies whose `X-Forwarded-For` is believed.
    trusted_proxies: tuple[Network, ...] = ()

    @property
    def captures(self) -> bool:
        """Whether mail is kept here instead of leaving the machine."""
        return self.relay.kind is RelayKind.CAPTURE

    @property
    def secure(self) -> bool:
        """Whether browsers come over TLS, so that cookies may demand it."""
        return self.public_origin.startswith("https://")

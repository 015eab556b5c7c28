"""Checks URLs and makes single calls, for a process that does so rarely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.delivery.contract import AttemptOutcome, Delivery
from headrace.delivery.webhook.addresses import Network
from headrace.delivery.webhook.guard import check_url
from headrace.delivery.webhook.signing import new_secret

if TYPE_CHECKING:
    from headrace.delivery.webhook.resolver import SystemResolve
    from headrace.delivery.webhook.transport import WebhookTransport
    from headrace.domain.access.sealing import KeyRing
    from headrace.domain.deliveries.body_format import BodyFormat
    from headrace.domain.events.event import StoredEvent


class WebhookCalls:
    """Loads the client and the TLS authorities on first use, since they are large.

    Args:
        keys: open sealed secrets.
    """

    def __init__(self, allowed: tuple[Network, ...], keys: KeyRing) -> None:
        self._allowed = allowed
        self._keys = keys
        self._resolve: SystemResolve | None = None
        self._transport: WebhookTransport | None = None

    async def check(self, url: str) -> str:
        """The URL in canonical form.

        Raises:
            DeliveryError: it breaks a rule, or its current addresses must not be called.
        """
        from headrace.delivery.webhook.resolver import SystemResolve, check_target  # noqa: PLC0415

        checked = check_url(url, self._allowed)
        if self._resolve is None:
            self._resolve = SystemResolve()
        await check_target(checked, self._resolve, self._allowed)
        return checked.text

    async def attempt(self, delivery: Delivery) -> AttemptOutcome:
        """See `headrace.delivery.contract.Transport`."""
        if self._transport is None:
            from headrace.delivery.webhook.transport import WebhookTransport  # noqa: PLC0415

            self._transport = WebhookTransport(allowed=self._allowed, keys=self._keys)
        return await self._transport.attempt(delivery)

    def body(self, event: StoredEvent, body_format: BodyFormat) -> bytes:
        """The body that a delivery of the event sends."""
        from headrace.delivery.webhook.body import webhook_body  # noqa: PLC0415

        return webhook_body(event, body_format)

    def new_secret(self) -> str:
        """A secret for one endpoint."""
        return new_secret()

    async def close(self) -> None:
        """See `headrace.delivery.contract.Transport`."""
        if self._transport is not None:
            await self._transport.close()

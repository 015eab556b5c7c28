"""URL checks and test calls of webhooks.

A test is a real, signed call with an event that is stored nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

import msgspec

from headrace.delivery.contract import AttemptOutcome, Delivery, WebhookTarget
from headrace.domain.deliveries.attempt_requests import BODY_BYTES_MAX
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.events.event import Source, Status, StoredEvent
from headrace.domain.ids import first_sequence_at, id_of_sequence, new_uuid, uuid_text
from headrace.store.contract.deliveries import Subscriber

TEST_EVENT = "sendrealm.webhook.test"
_TEST_PAYLOAD = '{"message":"This is a test. No customer did anything."}'
#: Test calls at a time, of the process and of one project: each can take as long as a delivery.
TESTS_MAX = 16
TESTS_OF_PROJECT_MAX = 2
_RETRY_AFTER_S = 5


class WebhookCaller(Protocol):
    """Reaches endpoints; see `headrace.delivery.webhook.calls`."""

    async def check(self, url: str) -> str:
        """The normalized URL.

        Raises:
            DeliveryError: it must not be called; the message is for its owner.
        """
        ...

    async def attempt(self, delivery: Delivery) -> AttemptOutcome:
        """Make one call; see `headrace.delivery.contract.Transport`."""
        ...

    def new_secret(self) -> str:
        """A new random secret."""
        ...

    def body(self, event: StoredEvent, body_format: BodyFormat) -> bytes:
        """The body that a delivery of the event sends."""
        ...


class RequestBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a request."""

    #: At most `BODY_BYTES_MAX` of it.
    text: str
    #: Length of all of it.
    bytes: int


class Webhooks:
    """Checks URLs and makes test calls, with a limit on concurrent ones."""

    def __init__(self, caller: WebhookCaller, clock_us: Callable[[], int]) -> None:
        self._caller = caller
        self._clock_us = clock_us
        self._testing: Counter[int] = Counter()

    async def check_url(self, url: str) -> str:
        """See `WebhookCaller.check`."""
        return await self._caller.check(url)

    def new_secret(self) -> str:
        """See `WebhookCaller.new_secret`."""
        return self._caller.new_secret()

    def request_body(self, event: StoredEvent, body_format: BodyFormat) -> RequestBody:
        """The body of a request, as it is made of the event as it is now."""
        body = self._caller.body(event, body_format)
        text = body[:BODY_BYTES_MAX].decode(errors="ignore")
        return RequestBody(text=text, bytes=len(body))

    async def test(self, webhook: Subscriber) -> AttemptOutcome:
        """Call an endpoint as a delivery would, whether it is enabled or not.

        Raises:
            ApiError: 429 or 503 when too many tests are running.
        """
        project_id = webhook.project_id
        if self._testing[project_id] >= TESTS_OF_PROJECT_MAX:
            message = f"At most {TESTS_OF_PROJECT_MAX} test calls of a project run at a time."
            raise ApiError(ErrorCode.RATE_LIMITED, message, retry_after_s=_RETRY_AFTER_S)
        if self._testing.total() >= TESTS_MAX:
            message = "Too many test calls are in progress."
            raise ApiError(ErrorCode.OVERLOADED, message, retry_after_s=_RETRY_AFTER_S)
        self._testing[project_id] += 1
        try:
            return await self._caller.attempt(self._delivery(webhook))
        finally:
            self._testing[project_id] -= 1
            if not self._testing[project_id]:
                del self._testing[project_id]

    def _delivery(self, webhook: Subscriber) -> Delivery:
        target = WebhookTarget(
            url=webhook.target,
            secrets=webhook.secrets,
            header_names=webhook.header_names,
            header_values=webhook.header_values,
            format=webhook.format,
        )
        event = _test_event(webhook.project_id, self._clock_us())
        return Delivery(id=uuid_text(new_uuid()), attempt=1, event=event, target=target)


def _test_event(project_id: int, now_us: int) -> StoredEvent:
    sequence = first_sequence_at(now_us)
    return StoredEvent(
        sequence=sequence,
        id=id_of_sequence(sequence, 0, int.from_bytes(new_uuid()) & ((1 << 45) - 1)),
        project_id=project_id,
        event=TEST_EVENT,
        contact_id=None,
        external_id="test",
        email=None,
        email_original=None,
        idempotency_key=None,
        occurred_us=now_us,
        received_us=now_us,
        source=Source.SYSTEM,
        api_key_id=None,
        request_id=None,
        payload=_TEST_PAYLOAD,
        status=Status.PROCESSED,
        resolved_contact_id=None,
        attempts=1,
        last_error=None,
    )

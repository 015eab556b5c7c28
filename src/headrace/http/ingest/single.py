"""`POST /events`: one event; the response follows when it is on stable storage."""

from __future__ import annotations

from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.events.draft import decode_draft
from headrace.domain.events.event import Source
from headrace.domain.events.event_types import Draft, DraftLimits
from headrace.domain.events.placeholders import placeholders
from headrace.http.events.responses import Accepted, Deduplicated, accepted_body, deduplicated
from headrace.http.ingest.event_input import EXAMPLE, EventInput
from headrace.http.routing.route import (
    BODY_BYTES_MAX,
    INGEST,
    Parameter,
    accepted,
    hot,
    json_body,
    ok,
)
from headrace.http.routing.schema import IDEMPOTENCY_KEY
from headrace.http.routing.services import IngestServices
from headrace.http.server.body import unpack
from headrace.http.server.exchange import Exchange
from headrace.http.server.head import Head
from headrace.http.server.wire import data_body
from headrace.pipeline.access.keys import Principal
from headrace.pipeline.intake.accept import Origin, rate_limited
from headrace.store.contract.commits import Pending

MISMATCH = (("Idempotency-Mismatch", "true"),)


class SingleIngest:
    """Handles one such request; lives from its head to its response."""

    __slots__ = ("body_bytes_max", "draft", "encoding", "exchange", "head", "principal", "services")

    def __init__(
        self, services: IngestServices, head: Head, principal: Principal, encoding: str
    ) -> None:
        self.body_bytes_max = BODY_BYTES_MAX
        self.services = services
        self.head = head
        self.principal = principal
        self.encoding = encoding
        self.exchange: Exchange
        self.draft: Draft

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Check the event and queue it for commit."""
        services, principal = self.services, self.principal
        self.exchange = exchange
        now_us = services.clock_us()
        try:
            if self.encoding != "identity":
                body = unpack(body, self.encoding, BODY_BYTES_MAX)
            policies = principal.project.policies
            limits = DraftLimits(
                policies.event_payload_limit_bytes,
                now_us,
                header_key(self.head),
                placeholders(policies.placeholder_identifiers),
            )
            draft = self.draft = decode_draft(body, limits)
            origin = Origin(
                principal.project, Source.API, principal.key_id, exchange.request_id.decode()
            )
            services.acceptor.submit(draft, origin, now_us, self.settle)
        except ApiError as error:
            self._fail(error, body)

    def settle(self, pending: Pending) -> None:
        """Respond; called once the event is decided."""
        try:
            first = self.services.acceptor.result(pending, self.principal.project)
        except ApiError as error:
            self._fail(error, pending.event.payload.encode())
            return
        if first is None:
            draft, event = self.draft, pending.event
            body = accepted_body(
                event.id, event.event, draft.identity_type, draft.identity_value, event.occurred_us
            )
            self.exchange.respond_json(202, body)
        else:
            body = data_body(deduplicated(first))
            self.exchange.respond_json(200, body, MISMATCH if first.mismatch else ())

    def _fail(self, error: ApiError, body: bytes) -> None:
        services = self.services
        services.acceptor.stats.reject(error.code)
        services.rejections.note(error, self.head, self.principal, self.exchange.request_id, body)
        self.exchange.fail(error)


def header_key(head: Head) -> str | None:
    """Value of `Idempotency-Key`; bytes past ASCII are kept so that validation rejects them."""
    value = head.headers.get(b"idempotency-key")
    return None if value is None else value.decode("latin-1")


def plan_single(
    services: IngestServices, head: Head, principal: Principal, media: str, encoding: str
) -> SingleIngest:
    """The handler of an admitted request.

    Raises:
        ApiError: the queue is full, or the project is past its rate.
    """
    del media
    services.acceptor.check_open()
    bucket = principal.project.bucket
    if bucket is not None and (wait_s := bucket.take(services.clock_us())):
        raise rate_limited(bucket.rate, wait_s)
    return SingleIngest(services, head, principal, encoding)


KEY_HEADER = Parameter(
    name="Idempotency-Key",
    location="header",
    description="Same as idempotency_key in the body; 422 if both are sent and differ.",
    schema={"type": "string", **IDEMPOTENCY_KEY},
)
#: Responses of routes that take one event, whether they store it or not.
SINGLE_RESPONSES = (
    accepted("The event is new and on stable storage.", Accepted),
    ok(
        "The key was used before; the response is the first event.",
        Deduplicated,
        headers=("Idempotency-Mismatch",),
    ),
)
INGEST_ERRORS = (
    ErrorCode.RESERVED_EVENT_NAME,
    ErrorCode.IDEMPOTENCY_KEY_REUSED,
    ErrorCode.PAYLOAD_TOO_LARGE,
    ErrorCode.RATE_LIMITED,
)

ROUTES = (
    hot(
        "POST",
        "/events",
        plan_single,
        INGEST,
        name="ingestEvent",
        summary="Ingest one event",
        description="The response is sent once the event is on stable storage. A request that gets "
        "429 or 503, or no response, is safe to send again with the same idempotency key.",
        parameters=(KEY_HEADER,),
        bodies=json_body(EventInput, example=EXAMPLE),
        responses=SINGLE_RESPONSES,
        errors=INGEST_ERRORS,
    ),
)

"""`POST /events`: one event, answered when it is on stable storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.domain.errors import ApiError
from headrace.domain.event_draft import decode_draft
from headrace.domain.event_types import Draft, DraftLimits
from headrace.domain.events import Source
from headrace.http.answers import accepted_body, deduplicated
from headrace.http.body import unpack
from headrace.http.exchange import Exchange
from headrace.http.head import Head
from headrace.http.wire import data_body
from headrace.pipeline.accept import Origin
from headrace.pipeline.access import Principal
from headrace.store.contract import Pending

if TYPE_CHECKING:
    from headrace.http.edge import Routes

BODY_BYTES_MAX = 1024 * 1024
MISMATCH = (("Idempotency-Mismatch", "true"),)


class SingleIngest:
    """The plan of one such request; lives from its head to its answer."""

    __slots__ = ("body_bytes_max", "draft", "encoding", "exchange", "head", "principal", "routes")

    def __init__(self, routes: Routes, head: Head, principal: Principal, encoding: str) -> None:
        self.body_bytes_max = BODY_BYTES_MAX
        self.routes = routes
        self.head = head
        self.principal = principal
        self.encoding = encoding
        self.exchange: Exchange
        self.draft: Draft

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Check the event and put it on its way to the disk."""
        routes, principal = self.routes, self.principal
        self.exchange = exchange
        now_us = routes.clock_us()
        try:
            if self.encoding != "identity":
                body = unpack(body, self.encoding, BODY_BYTES_MAX)
            limits = DraftLimits(
                principal.project.policies.event_payload_limit_bytes, now_us, header_key(self.head)
            )
            draft = self.draft = decode_draft(body, limits)
            origin = Origin(
                principal.project, Source.API, principal.key_id, exchange.request_id.decode()
            )
            routes.acceptor.submit(draft, origin, now_us, self.settle)
        except ApiError as error:
            self._fail(error, body)

    def settle(self, pending: Pending) -> None:
        """Answer; called once the event is decided."""
        try:
            first = self.routes.acceptor.result(pending, self.principal.project)
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
        routes = self.routes
        routes.acceptor.stats.reject(error.code)
        routes.refusals.note(error, self.head, self.principal, self.exchange.request_id, body)
        self.exchange.fail(error)


def header_key(head: Head) -> str | None:
    """Value of `Idempotency-Key`; bytes past ASCII stay visible so that the rule refuses them."""
    value = head.headers.get(b"idempotency-key")
    return None if value is None else value.decode("latin-1")

"""Routes of the Segment API, for client libraries of Segment, RudderStack and Jitsu.

These take nothing but 200 for a success: at 202, some of them send everything again. They repeat a
request at 5xx and 429 only, so what can never be accepted gets 400.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.access.api_keys import Scope
from headrace.domain.compat.members import read_members, storable
from headrace.domain.compat.segment import KEY_PREFIX, Kind, Message, sent_time
from headrace.domain.compat.times import Clock
from headrace.domain.errors import (
    STATUS_OF,
    ApiError,
    ErrorCode,
    FieldProblem,
    echo,
    invalid,
    malformed_json,
)
from headrace.domain.events.event import Source
from headrace.domain.events.event_types import DraftLimits
from headrace.domain.events.placeholders import placeholders
from headrace.domain.json_text import DEPTH_ABSURD, deeper_than
from headrace.http.ingest.event_input import EVENTS_MAX
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.route import (
    Cors,
    ErrorShape,
    Limits,
    Parameter,
    PlanFactory,
    Route,
    get,
    hot,
    json_body,
    key,
    whole,
)
from headrace.http.routing.schema import about
from headrace.http.routing.services import IngestServices
from headrace.http.server.body import unpack
from headrace.http.server.credentials import BASIC, BEARER, InBody, InHeader, InPath
from headrace.http.server.exchange import Exchange
from headrace.http.server.head import Head
from headrace.http.server.wire import ErrorText, error_object
from headrace.pipeline.access.keys import Principal
from headrace.pipeline.intake.accept import Origin, rate_limited
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError

BATCH_BYTES_MAX = 5 * 1024 * 1024
#: Singles come one by one from browsers; unpacked they are no larger than a batch.
SINGLE_BYTES_MAX = 1024 * 1024
SUCCESS = b'{"success":true}'
_GZIP = b"\x1f\x8b"
#: Statuses that mean the same to these clients; any other is 400.
_STATUSES = frozenset({401, 403, 404, 405, 408, 413, 415, 429, 500, 503})


class SegmentFailure(msgspec.Struct, kw_only=True):
    """Body of an error."""

    success: bool = False
    code: Annotated[str, about("As in `error`; some clients fail without it.")]
    message: str
    status: int
    error: ErrorText


class SegmentErrors:
    """Errors in the form of the Segment API."""

    schema: Any = SegmentFailure

    def status_of(self, code: ErrorCode) -> int:
        status = STATUS_OF[code]
        return status if status in _STATUSES else 400

    def encode(self, error: ApiError) -> tuple[int, bytes]:
        status = self.status_of(error.code)
        failure = SegmentFailure(
            code=error.code.value,
            message=error.message,
            status=status,
            error=error_object(error).error,
        )
        return status, msgspec.json.encode(failure)


class SegmentSource(msgspec.Struct, kw_only=True, rename="camel"):
    """Where a page sends to."""

    api_key: str
    api_host: Annotated[str, about("Without the protocol.", examples=["events.example.org/v1"])]
    protocol: Annotated[str, about(enum=["http", "https"])]


class SegmentIntegrations(msgspec.Struct, kw_only=True):
    """The only integration."""

    segment: SegmentSource = msgspec.field(name="Segment.io")


class SegmentSettings(msgspec.Struct, kw_only=True):
    """Settings of a page."""

    integrations: SegmentIntegrations


ERRORS: ErrorShape = SegmentErrors()


class SegmentIngest:
    """Handles one request; lives until the last of its messages is decided.

    Args:
        kind: of the only message, as the path says; None for a batch.
    """

    def __init__(
        self,
        services: IngestServices,
        head: Head,
        principal: Principal,
        encoding: str,
        kind: Kind | None,
    ) -> None:
        self.body_bytes_max = BATCH_BYTES_MAX if kind is None else SINGLE_BYTES_MAX
        self._services = services
        self._head = head
        self._principal = principal
        self._encoding = encoding
        self._kind = kind
        self._exchange: Exchange
        self._accepted = 0
        self._rejection: ApiError | None = None
        #: Why something was not stored that may be stored later.
        self._failure: ApiError | None = None
        self._undecided = 0

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Check every message, queue the valid ones, respond when all are decided."""
        self._exchange = exchange
        services, principal = self._services, self._principal
        now_us = services.clock_us()
        try:
            texts, facts = self._read(body)
            self._check_room(len(texts), now_us)
        except ApiError as error:
            self._note(error, b"")
            exchange.fail(error)
            return
        policies = principal.project.policies
        limits = DraftLimits(
            policies.event_payload_limit_bytes,
            now_us,
            placeholders=placeholders(policies.placeholder_identifiers),
        )
        clock = Clock(now_us, policies.clock_correction, self._is_browser(), sent_time(facts))
        context = facts.get("context") if self._kind is None else None
        request_id = exchange.request_id.decode()
        origin = Origin(principal.project, Source.SEGMENT, principal.key_id, request_id)
        # One extra, so that a message decided at once does not end the request early.
        self._undecided = len(texts) + 1
        for text in texts:
            self._submit(text, context, limits, clock, origin)
        self._decided()

    def _read(self, body: bytes) -> tuple[Sequence[bytes], dict[str, bytes]]:
        """The messages, and the members of the body.

        Raises:
            ApiError: 400, 413 or 422 about the body as a whole.
        """
        if self._encoding != "identity":
            body = unpack(body, self._encoding, BATCH_BYTES_MAX)
        elif body.startswith(_GZIP):
            body = unpack(body, "gzip", BATCH_BYTES_MAX)
        body = body.strip(b" \t\r\n")
        if deeper_than(body, DEPTH_ABSURD):
            raise malformed_json(f"The body nests deeper than {DEPTH_ABSURD} levels.")
        body = storable(body)
        try:
            facts = read_members(body)
        except ValueError as error:
            raise malformed_json(f"The body must be one JSON object: {echo(str(error))}") from None
        if self._kind is not None:
            return (body,), facts
        try:
            texts = [bytes(text) for text in _decode_list(facts.get("batch", b""))]
        except (msgspec.MsgspecError, RecursionError):
            raise invalid(FieldProblem("batch", "must be an array of messages")) from None
        if not 1 <= len(texts) <= EVENTS_MAX:
            problem = f"must be 1 to {EVENTS_MAX} messages, got {len(texts)}"
            raise invalid(FieldProblem("batch", problem))
        return texts, facts

    def _check_room(self, count: int, now_us: int) -> None:
        self._services.acceptor.check_open(count)
        bucket = self._principal.project.bucket
        if bucket is not None and (wait_s := bucket.take(now_us, count)):
            raise rate_limited(bucket.rate, wait_s)

    def _is_browser(self) -> bool:
        headers = self._head.headers
        return b"origin" in headers or headers.get(b"content-type", b"").startswith(b"text/plain")

    def _submit(
        self,
        text: bytes,
        context: bytes | None,
        limits: DraftLimits,
        clock: Clock,
        origin: Origin,
    ) -> None:
        message = None
        try:
            message = Message(text, self._kind, context, is_public=self._principal.key.is_public)
            draft = message.draft(limits, clock)
            self._services.acceptor.submit(draft, origin, limits.now_us, self._settle)
        except ApiError as error:
            if error.status == 503:
                self._fail(error)
            else:
                message_id = None if message is None else message.id
                self._reject(_named(error, message_id), text)

    def _settle(self, pending: Pending) -> None:
        try:
            self._services.acceptor.result(pending, self._principal.project)
        except ApiError as error:
            if isinstance(pending.outcome, StoreError):
                self._fail(error)
            else:
                event = pending.event
                self._reject(_named(error, event.idempotency_key), event.payload.encode())
            return
        self._accepted += 1
        self._decided()

    def _fail(self, error: ApiError) -> None:
        self._services.acceptor.stats.reject(error.code)
        self._failure = error
        self._decided()

    def _reject(self, error: ApiError, text: bytes) -> None:
        self._note(error, text)
        self._rejection = self._rejection or error
        self._decided()

    def _note(self, error: ApiError, text: bytes) -> None:
        services = self._services
        services.acceptor.stats.reject(error.code)
        services.rejections.note(
            error, self._head, self._principal, self._exchange.request_id, text
        )

    def _decided(self) -> None:
        self._undecided -= 1
        if self._undecided:
            return
        if self._failure is not None:
            # The client sends all of it again; what is stored is recognised by its messageId.
            self._exchange.fail(self._failure)
        elif self._rejection is not None and not self._accepted:
            self._exchange.fail(self._rejection)
        else:
            self._exchange.respond_json(200, SUCCESS)


def _named(error: ApiError, message_id: str | None) -> ApiError:
    """The error with the id of its message, to be found among the rejections."""
    if message_id is None:
        return error
    text = f"messageId {echo(message_id.removeprefix(KEY_PREFIX))}: {error.message}"
    return ApiError(error.code, text, details=error.details)


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _plan(kind: Kind | None) -> PlanFactory:
    def plan(
        services: IngestServices, head: Head, principal: Principal, media: str, encoding: str
    ) -> SegmentIngest:
        """The handler of an admitted request.

        Raises:
            ApiError: the queue is full.
        """
        del media
        services.acceptor.check_open()
        return SegmentIngest(services, head, principal, encoding, kind)

    return plan


#: Members of which one at least is in every message, and none in what clients of push apps send.
_MEMBERS = frozenset({"event", "type", "userId", "anonymousId", "messageId", "writeKey"})


def is_message(body: bytes) -> bool:
    """Whether a body of `/v1/track` is a message and not an event of a push client."""
    try:
        members = read_members(storable(body))
    except ValueError:
        return False
    return not _MEMBERS.isdisjoint(members) and "event_type" not in members


#: In the order in which they are tried. Jitsu's keys are written `<id>:<secret>`, and in the body
#: without the secret.
_KEY = key(
    Scope.TRACK,
    BEARER,
    BASIC,
    InHeader("X-Write-Key", joint=":", prefix="hr_"),
    InBody(("writeKey",)),
)
#: With the headers of clients of push apps, which share a path.
CORS = Cors(
    headers=("authorization", "content-type", "x-write-key", "x-retry-count", "x-sendrealm-sdk"),
    methods=("POST", "GET"),
)
_RESPONSE = whole(
    "Everything that can be stored is on stable storage; what cannot is among the rejections.",
    {
        "type": "object",
        "required": ["success"],
        "properties": {"success": {"type": "boolean", "const": True}},
    },
)
_ERRORS = (ErrorCode.PAYLOAD_TOO_LARGE, ErrorCode.RATE_LIMITED)
_ANYTHING = {"type": "object", "additionalProperties": True}
_EXAMPLES: dict[Kind, dict[str, Any]] = {
    Kind.TRACK: {"event": "Order Completed", "properties": {"total": 49.9}},
    Kind.IDENTIFY: {"traits": {"email": "mike@example.com", "plan": "pro"}},
    Kind.PAGE: {"name": "Home", "properties": {"path": "/"}},
    Kind.SCREEN: {"name": "Home"},
    Kind.GROUP: {"groupId": "acme", "traits": {"name": "Acme"}},
    Kind.ALIAS: {"previousId": "a1b2"},
}


def _single(path: str, kind: Kind, *, is_documented: bool = False) -> Route:
    example = {"userId": "user_42", **_EXAMPLES[kind], "messageId": "m-1001"}
    return hot(
        "POST",
        path,
        _plan(kind),
        _KEY,
        name=f"segment{kind.title()}",
        summary=f"Ingest a message of type {kind}",
        description=f"Also at `/v1/{kind[0]}`, `/api/s/{kind}` and `/api/s/s2s/{kind}`. JSON "
        "whatever the content type says.",
        bodies=json_body(_ANYTHING, example=example),
        responses=(_RESPONSE,),
        errors=_ERRORS,
        limits=Limits(body_bytes_max=SINGLE_BYTES_MAX, unpacked_bytes_max=BATCH_BYTES_MAX),
        is_any_media=True,
        error_shape=ERRORS,
        cors=CORS,
        family="segment",
        # The path is also that of push clients, whose body differs.
        when_body=is_message if path == "/v1/track" else None,
        is_documented=is_documented,
    )


def _batch(path: str, *, is_documented: bool = False) -> Route:
    example = {
        "batch": [{"type": "track", "userId": "user_42", **_EXAMPLES[Kind.TRACK]}],
        "sentAt": "2026-06-08T14:15:00.000Z",
    }
    schema = {
        "type": "object",
        "required": ["batch"],
        "properties": {
            "batch": {"type": "array", "minItems": 1, "maxItems": EVENTS_MAX, "items": _ANYTHING},
            "sentAt": {"description": "When it was sent, by the clock of the client."},
            "writeKey": {"description": "A key, if none is in a header."},
        },
        "additionalProperties": True,
    }
    return hot(
        "POST",
        path,
        _plan(None),
        _KEY,
        name="segmentBatch",
        summary=f"Ingest up to {EVENTS_MAX} messages of the Segment API",
        description="Also at `/v1/import` and `/v1/b`. JSON whatever the content type says. A bad "
        "message does not affect the others: it is among the rejections. 400 if all are bad.",
        bodies=json_body(schema, example=example),
        responses=(_RESPONSE,),
        errors=_ERRORS,
        limits=Limits(body_bytes_max=BATCH_BYTES_MAX, unpacked_bytes_max=BATCH_BYTES_MAX),
        is_any_media=True,
        error_shape=ERRORS,
        cors=CORS,
        family="segment",
        is_documented=is_documented,
    )


async def settings(request: Request) -> Response:
    """`GET /v1/projects/{key}/settings`: what a page needs to begin."""
    public = urlsplit(context_of(request).services.public_url)
    host = f"{public.netloc}{public.path}".rstrip("/") or request.headers.get("host", "")
    source = SegmentSource(
        api_key=request.path_params["key"], api_host=f"{host}/v1", protocol=public.scheme or "http"
    )
    return json_response(SegmentSettings(integrations=SegmentIntegrations(segment=source)))


ROUTES = (
    get(
        "/v1/projects/{key}/settings",
        settings,
        key(Scope.TRACK, InPath("key")),
        name="segmentSettings",
        summary="Show the settings of a page",
        description="The key in the path may be public; the response contains it again.",
        parameters=(
            Parameter(
                name="key",
                location="path",
                schema={"type": "string", "description": "A key.", "examples": ["hr_…"]},
            ),
        ),
        responses=(whole("Where the page sends its messages.", SegmentSettings),),
        error_shape=ERRORS,
        cors=CORS,
        family="segment",
    ),
    _batch("/v1/batch", is_documented=True),
    _batch("/v1/import"),
    _batch("/v1/b"),
    *(_single(f"/v1/{kind}", kind, is_documented=kind is not Kind.TRACK) for kind in Kind),
    *(_single(f"/v1/{kind[0]}", kind, is_documented=kind is Kind.TRACK) for kind in Kind),
    *(_single(f"/api/s/{kind}", kind) for kind in Kind),
    *(_single(f"/api/s/s2s/{kind}", kind) for kind in Kind),
)

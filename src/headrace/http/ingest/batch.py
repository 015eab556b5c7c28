"""`POST /events/batch`: up to 1,000 events, each reported separately."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
from typing import Annotated, Any

import msgspec

from headrace.domain.errors import ApiError, FieldProblem, echo, invalid
from headrace.domain.events.draft import decode_draft
from headrace.domain.events.event import Source
from headrace.domain.events.event_types import Draft, DraftLimits
from headrace.domain.events.placeholders import placeholders
from headrace.domain.events.problems import read_object
from headrace.domain.json_text import Number
from headrace.http.events.responses import accepted, deduplicated
from headrace.http.ingest.event_input import EVENTS_MAX, EXAMPLE, BatchInput
from headrace.http.ingest.exported_ids import take_ids
from headrace.http.ingest.single import INGEST_ERRORS
from headrace.http.routing.route import INGEST, NDJSON, Limits, hot, json_body, ndjson_body, whole
from headrace.http.routing.schema import about
from headrace.http.routing.services import IngestServices
from headrace.http.server.body import unpack
from headrace.http.server.exchange import Exchange
from headrace.http.server.head import Head
from headrace.http.server.wire import ErrorText, error_object
from headrace.pipeline.access.keys import Principal
from headrace.pipeline.intake.accept import Origin, rate_limited, storage_unavailable
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError

BODY_BYTES_MAX = 5 * 1024 * 1024
#: Sent by `headrace import`, so that its events show where they came from.
IMPORT_HEADER = b"headrace-source"


#: Tasks must be referenced until they end; each is one of a bounded number of requests.
_looking_up: set[asyncio.Task[None]] = set()


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Body in JSON; each event is decoded and checked separately."""

    events: list[msgspec.Raw]


class BatchItem(msgspec.Struct, omit_defaults=True):
    """Result for one event of a batch: `data` or `error`, as a single request would get it."""

    status: int
    # A union of the two types would need a tag in the JSON.
    data: Annotated[
        Any,
        about(oneOf=[{"$ref": "#/components/schemas/" + n} for n in ("Accepted", "Deduplicated")]),
    ] = None
    error: ErrorText | None = None
    idempotency_mismatch: bool = False


class BatchResponse(msgspec.Struct):
    """Response to a batch: one item per event, in the order sent."""

    data: list[BatchItem]
    accepted: int
    deduplicated: int
    rejected: int


class BatchIngest:
    """Handles one such request; lives until the last of its events is decided."""

    def __init__(
        self,
        services: IngestServices,
        head: Head,
        principal: Principal,
        encoding: str,
        *,
        ndjson: bool,
        source: Source,
    ) -> None:
        self._source = source
        self.body_bytes_max = BODY_BYTES_MAX
        self._services = services
        self._head = head
        self._principal = principal
        self._encoding = encoding
        self._ndjson = ndjson
        self._exchange: Exchange
        self._items: list[BatchItem | None] = []
        self._failures: list[StoreError] = []
        self._undecided = 0

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Check every event, queue the valid ones, respond when all are decided."""
        self._exchange = exchange
        try:
            texts = self._split(unpack(body, self._encoding, BODY_BYTES_MAX))
            self._check_room(len(texts))
        except ApiError as error:
            self._fail(error, body)
            return
        if self._source is Source.IMPORT and (ids := take_ids(texts)):
            task = asyncio.get_running_loop().create_task(self._look_up(texts, ids))
            _looking_up.add(task)
            task.add_done_callback(_looking_up.discard)
            return
        self._submit(texts, {})

    async def _look_up(self, texts: list[bytes], ids: dict[int, bytes]) -> None:
        """Go on with the events whose ids are not stored; the others are duplicates."""
        services, project = self._services, self._principal.project
        try:
            stored = await services.first_copies(project.id, list(ids.values()))
        except StoreError as error:
            self._exchange.fail(storage_unavailable(error))
            return
        known = {
            index: BatchItem(200, deduplicated(stored[event_id]))
            for index, event_id in ids.items()
            if event_id in stored
        }
        services.acceptor.stats.deduplicated += len(known)
        self._submit(texts, known)

    def _submit(self, texts: list[bytes], known: dict[int, BatchItem]) -> None:
        """Queue all events but those whose result is `known` by their index."""
        exchange = self._exchange
        project = self._principal.project
        now_us = self._services.clock_us()
        limits = DraftLimits(
            project.policies.event_payload_limit_bytes,
            now_us,
            placeholders=placeholders(project.policies.placeholder_identifiers),
        )
        request_id = exchange.request_id.decode()
        origin = Origin(project, self._source, self._principal.key_id, request_id)
        self._items = [known.get(index) for index in range(len(texts))]
        # One extra, so that an event decided at once does not end the batch early.
        self._undecided = len(texts) - len(known) + 1
        for index, text in enumerate(texts):
            if index in known:
                continue
            try:
                draft = decode_draft(text, limits)
                self._services.acceptor.submit(draft, origin, now_us, self._settler(index, draft))
            except ApiError as error:
                self._reject(index, error, text)
        self._decided()

    def _split(self, body: bytes) -> list[bytes]:
        if b"idempotency-key" in self._head.headers:
            problem = "names one event; in a batch give each event its idempotency_key"
            raise invalid(FieldProblem("Idempotency-Key", problem))
        texts = split_lines(body) if self._ndjson else split_array(body)
        if not 1 <= len(texts) <= EVENTS_MAX:
            got = "more" if texts else "none"
            raise invalid(FieldProblem("events", f"must be 1 to {EVENTS_MAX} events, got {got}"))
        return texts

    def _check_room(self, count: int) -> None:
        self._services.acceptor.check_open(count)
        bucket = self._principal.project.bucket
        if bucket is not None and (wait_s := bucket.take(self._services.clock_us(), count)):
            raise rate_limited(bucket.rate, wait_s)

    def _settler(self, index: int, draft: Draft) -> Any:
        def settle(pending: Pending) -> None:
            event = pending.event
            try:
                first = self._services.acceptor.result(pending, self._principal.project)
            except ApiError as error:
                if isinstance(pending.outcome, StoreError):
                    self._failures.append(pending.outcome)
                self._reject(index, error, event.payload.encode())
                return
            if first is None:
                data = accepted(
                    event.id,
                    event.event,
                    draft.identity_type,
                    draft.identity_value,
                    event.occurred_us,
                )
                self._items[index] = BatchItem(202, data)
            else:
                self._items[index] = BatchItem(
                    200, deduplicated(first), idempotency_mismatch=first.mismatch
                )
            self._decided()

        return settle

    def _reject(self, index: int, error: ApiError, text: bytes) -> None:
        services, exchange = self._services, self._exchange
        services.acceptor.stats.reject(error.code)
        services.rejections.note(error, self._head, self._principal, exchange.request_id, text)
        self._items[index] = BatchItem(error.status, error=error_object(error).error)
        self._decided()

    def _decided(self) -> None:
        self._undecided -= 1
        if self._undecided:
            return
        items = [item for item in self._items if item is not None]
        counts = {status: sum(item.status == status for item in items) for status in (202, 200)}
        rejected = len(items) - counts[202] - counts[200]
        # Nothing was stored because of the store: one plain 503, which every client retries.
        if self._failures and rejected == len(items):
            self._exchange.fail(storage_unavailable(self._failures[0]))
            return
        response = BatchResponse(items, counts[202], counts[200], rejected)
        self._exchange.respond_json(200, msgspec.json.encode(response))

    def _fail(self, error: ApiError, body: bytes) -> None:
        services = self._services
        services.acceptor.stats.reject(error.code)
        services.rejections.note(
            error, self._head, self._principal, self._exchange.request_id, body
        )
        self._exchange.fail(error)


def plan_batch(
    services: IngestServices, head: Head, principal: Principal, media: str, encoding: str
) -> BatchIngest:
    """The handler of an admitted request.

    Raises:
        ApiError: the queue is full.
    """
    services.acceptor.check_open()
    source = Source.IMPORT if head.headers.get(IMPORT_HEADER) == b"import" else Source.BATCH
    ndjson = media == NDJSON
    return BatchIngest(services, head, principal, encoding, ndjson=ndjson, source=source)


_decode = msgspec.json.Decoder(_Batch).decode


def split_array(body: bytes) -> list[bytes]:
    """The texts of `{"events": […]}`; at most one more than the limit.

    Raises:
        ApiError: 400 or 422 about the body as a whole.
    """
    try:
        events = _decode(body).events
        if len(events) > EVENTS_MAX:
            return [bytes(text) for text in events[: EVENTS_MAX + 1]]
        texts = [bytes(text) for text in events]
        # One member and its list: any other string outside the events is a second member.
        outside = body.count(b'"') - sum(text.count(b'"') for text in texts)
        if outside == 2:
            return texts
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        pass
    members = read_object(body)
    problems = [
        FieldProblem(echo(name), "is not a field of a batch; did you mean events?")
        for name in list(members)[:10]
        if name != "events"
    ]
    if not isinstance(members.get("events"), list):
        problems.append(FieldProblem("events", "must be an array of events"))
    if problems:
        raise invalid(*problems)
    return slice_elements(body.decode())


_ARRAY_START = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"(?:[^"\\]|\\.)*"[ \t\r\n]*:[ \t\r\n]*\[')
_BETWEEN = re.compile(r"[ \t\r\n,]*")


def slice_elements(text: str) -> list[bytes]:
    """Cut well-formed `{"<member>": […]}` into its elements with a lenient parser.

    The fast decoder rejects the whole text for half a surrogate pair in one event; only that event
    should fail.
    """
    start = _ARRAY_START.match(text)
    assert start is not None  # the caller has parsed it: one member, a list
    # Numbers as text: converting thousands of digits is slow.
    scanner = json.JSONDecoder(parse_int=Number, parse_float=Number)
    elements: list[bytes] = []
    position = _BETWEEN.match(text, start.end()).end()  # type: ignore[union-attr]
    while text[position] != "]" and len(elements) <= EVENTS_MAX:
        _, end = scanner.raw_decode(text, position)
        elements.append(text[position:end].encode())
        position = _BETWEEN.match(text, end).end()  # type: ignore[union-attr]
    return elements


def split_lines(body: bytes) -> list[bytes]:
    """The texts of newline-delimited JSON; blank lines and a missing last newline are allowed.

    So is a byte order mark at the start, which some editors and exports write.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    lines = (line.strip(b" \t\r") for line in body.split(b"\n"))
    return [line for line in lines if line]


ROUTES = (
    hot(
        "POST",
        "/events/batch",
        plan_batch,
        INGEST,
        name="ingestBatch",
        summary=f"Ingest up to {EVENTS_MAX} events",
        description="A bad event does not affect the others.",
        bodies=(
            *json_body(BatchInput, example={"events": [EXAMPLE]}),
            ndjson_body("One EventInput per line."),
        ),
        responses=(whole("One result per event, in the order sent.", BatchResponse),),
        errors=INGEST_ERRORS,
        limits=Limits(body_bytes_max=BODY_BYTES_MAX, unpacked_bytes_max=BODY_BYTES_MAX),
    ),
)

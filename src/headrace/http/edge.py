"""What happens to a request, decided from its head: who asks, for what, and is there room."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from headrace.domain.api_keys import Scope
from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.operators import Operator
from headrace.http.asgi import AsgiRunner
from headrace.http.exchange import Plan
from headrace.http.head import Head
from headrace.http.ingest import SingleIngest
from headrace.http.ingest_batch import BatchIngest
from headrace.http.media import JSON, check_encoding, check_media_type
from headrace.http.refusals import Refusals
from headrace.pipeline.accept import Acceptor, rate_limited
from headrace.pipeline.access import AccessCache, Principal
from headrace.pipeline.operators import OperatorCache

#: Answered without a key: they say nothing about any project's events.
PUBLIC_PATHS = frozenset({b"/", b"/healthz", b"/readyz", b"/metrics", b"/openapi.json", b"/docs"})
#: For operators, who belong to no project; an API key opens nothing below it.
ADMIN_PREFIX = b"/admin/"
_INGEST_PATHS = frozenset({b"/events", b"/events/batch", b"/events/validate"})
_BATCH = ("application/json", "application/x-ndjson")


class Routes(msgspec.Struct, frozen=True):
    """What the edge needs to serve requests."""

    access: AccessCache
    operators: OperatorCache
    acceptor: Acceptor
    refusals: Refusals
    runner: AsgiRunner
    clock_us: Callable[[], int]
    #: Other applications by the first part of their paths; each sees to who may use it by itself.
    mounts: dict[bytes, AsgiRunner] = {}


class Edge:
    """Implements `headrace.http.exchange.Planner`."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._request_prefix = f"{random.SystemRandom().getrandbits(40):010x}".encode()
        self._requests = 0

    def next_request_id(self) -> bytes:
        self._requests += 1
        return b"%b%08x" % (self._request_prefix, self._requests)

    def refused(self, error: ApiError, head: Head | None, request_id: bytes) -> None:
        del head, request_id
        self._routes.acceptor.stats.reject(error.code)

    def plan(self, head: Head, request_id: bytes) -> Plan:
        path = head.path
        if path == b"/events" and head.method == b"POST":
            return self._plan_with_key(head, request_id)
        if path in PUBLIC_PATHS:
            return self._routes.runner.plan(head, None)
        if path.startswith(ADMIN_PREFIX):
            return self._plan_admin(head)
        mount = self._mounted(path)
        if mount is not None:
            return mount.plan(head, None)
        return self._plan_with_key(head, request_id)

    def _mounted(self, path: bytes) -> AsgiRunner | None:
        end = path.find(b"/", 1)
        return self._routes.mounts.get(path if end < 0 else path[:end])

    def _plan_with_key(self, head: Head, request_id: bytes) -> Plan:
        principal = self._authenticate(head)
        path = head.path
        try:
            if head.method == b"POST" and path in _INGEST_PATHS:
                return self._plan_ingest(head, principal)
            reads = head.method in (b"GET", b"HEAD")
            scope = Scope.READ if reads else Scope.MANAGE
            _require(principal, scope)
            return self._plan_for_key(head, principal, scope)
        except ApiError as error:
            self._routes.refusals.note(error, head, principal, request_id, b"")
            raise

    def _plan_for_key(self, head: Head, principal: Principal, scope: Scope) -> Plan:
        def authorize() -> None:
            _require(self._authenticate(head), scope)

        return self._routes.runner.plan(head, principal, authorize)

    def _plan_admin(self, head: Head) -> Plan:
        def authorize() -> Operator:
            operator = self._routes.operators.authenticate(head.bearer)
            if operator is None:
                message = "A valid operator token is needed: Authorization: Bearer hro_..."
                raise ApiError(ErrorCode.UNAUTHORIZED, message)
            return operator

        return self._routes.runner.plan(head, authorize(), authorize)

    def _authenticate(self, head: Head) -> Principal:
        header = head.headers.get(b"authorization", b"")
        principal = self._routes.access.authenticate_header(header)
        if principal is None:
            message = "A valid API key is needed: Authorization: Bearer hr_..."
            raise ApiError(ErrorCode.UNAUTHORIZED, message)
        return principal

    def _plan_ingest(self, head: Head, principal: Principal) -> Plan:
        _require(principal, Scope.INGEST)
        batch = head.path == b"/events/batch"
        media = check_media_type(head, _BATCH if batch else JSON)
        encoding = check_encoding(head)
        routes = self._routes
        if head.path == b"/events/validate":
            return self._plan_for_key(head, principal, Scope.INGEST)
        routes.acceptor.check_open()
        if batch:
            lines = media == "application/x-ndjson"
            return BatchIngest(routes, head, principal, encoding, ndjson=lines)
        bucket = principal.project.bucket
        if bucket is not None and (wait_s := bucket.take(routes.clock_us())):
            raise rate_limited(bucket.rate, wait_s)
        return SingleIngest(routes, head, principal, encoding)


def _require(principal: Principal, scope: Scope) -> None:
    if scope not in principal.key.scopes:
        message = f"This key does not have the scope {scope.value}."
        raise ApiError(ErrorCode.FORBIDDEN, message)

"""Routes a request by its head: authentication, route and limits."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from headrace.domain.access.api_keys import Scope
from headrace.domain.compat.members import read_members, storable, value_of
from headrace.domain.errors import ApiError, ErrorCode, echo, malformed_json
from headrace.http.routing.asgi import AsgiRunner
from headrace.http.routing.match import Plain, Resource, RouteTable
from headrace.http.routing.media import check_encoding, check_media_type
from headrace.http.routing.route import Cors, Route, Who
from headrace.http.routing.services import IngestServices
from headrace.http.server.body import too_large, unpack
from headrace.http.server.credentials import BASIC
from headrace.http.server.exchange import Exchange, PendingHandler, RequestHandler
from headrace.http.server.head import Head
from headrace.pipeline.access.keys import AccessCache, Principal
from headrace.pipeline.access.operators import OperatorCache
from headrace.pipeline.access.rate_limit import CallerBuckets
from headrace.pipeline.intake.accept import rate_limited

#: Store look-ups of unknown credentials, per address and second.
LOOK_UPS_PER_SECOND = 5
#: Requests whose key is in their body, per address and second: each is read and unpacked before it
#: is known who sends it.
UNKNOWN_PER_SECOND = 100
#: Of such a body, as it comes over the wire.
UNKNOWN_BYTES_MAX = 1024 * 1024
#: Requests with one public key, which anybody can send, a second.
PUBLIC_KEY_PER_SECOND = 1000
#: First bytes of gzip; browsers cannot always say that they compress.
_GZIP = b"\x1f\x8b"

#: Returns the principal of a credential, None for an unusable one.
Authenticator = Callable[[bytes], Any]


class Origins(Protocol):
    """Which other origins may use routes that have `cors`."""

    def allows(self, principal: Any, origin: str) -> bool:
        """Whether pages of `origin` may use the key or app of a request."""
        ...

    def any_allows(self, origin: str) -> bool:
        """Whether any key or app of this server allows it; a preflight carries no credential."""
        ...


class UnauthorizedError(ApiError):
    """401, with the credential that was tried."""

    def __init__(
        self, message: str, headers: tuple[tuple[str, str], ...], who: Who, credential: bytes
    ) -> None:
        super().__init__(ErrorCode.UNAUTHORIZED, message, headers=headers)
        self.who = who
        self.credential = credential


class KeyOrigins:
    """Every key lists its own; apps are checked by their handlers.

    A preflight names neither, so it is answered for every origin.
    """

    def allows(self, principal: Any, origin: str) -> bool:
        return isinstance(principal, Principal) and principal.key.allows_origin(origin)

    def any_allows(self, origin: str) -> bool:
        del origin
        return True


class NoOrigins:
    """Allows no origin."""

    def allows(self, principal: Any, origin: str) -> bool:
        del principal, origin
        return False

    def any_allows(self, origin: str) -> bool:
        del origin
        return False


class RouterDeps(msgspec.Struct, frozen=True, kw_only=True):
    """What the router needs to serve requests."""

    table: RouteTable
    access: AccessCache
    operators: OperatorCache
    services: IngestServices
    runner: AsgiRunner
    #: Finds an app by its identifier; by default there are none.
    app_of: Authenticator = lambda _: None
    origins: Origins = NoOrigins()
    #: Other applications by the first segment of their paths; each checks access itself.
    mounts: dict[bytes, AsgiRunner] = {}


class Router:
    """Implements `headrace.http.server.exchange.Dispatcher`."""

    def __init__(self, deps: RouterDeps) -> None:
        self._table = deps.table
        self._access = deps.access
        self._caches: dict[Who, AccessCache | OperatorCache] = {
            Who.KEY: deps.access,
            Who.OPERATOR: deps.operators,
        }
        self._look_ups = CallerBuckets(LOOK_UPS_PER_SECOND)
        self._unknown = CallerBuckets(UNKNOWN_PER_SECOND)
        self._public = CallerBuckets(PUBLIC_KEY_PER_SECOND)
        self._body_bytes_max = max(route.limits.body_bytes_max for route in deps.table.routes)
        self._authenticate_key_header = deps.access.authenticate_header
        self._authenticators: dict[Who, Authenticator] = {
            Who.KEY: deps.access.authenticate,
            Who.OPERATOR: deps.operators.authenticate,
            Who.APP: deps.app_of,
        }
        self._services = deps.services
        self._runner = deps.runner
        self._origins = deps.origins
        self._mounts = deps.mounts
        self._buckets = {
            id(route): CallerBuckets(route.limits.per_second_max)
            for route in deps.table.routes
            if route.limits.per_second_max is not None
        }
        self._request_prefix = f"{random.SystemRandom().getrandbits(40):010x}".encode()
        self._requests = 0

    def next_request_id(self) -> bytes:
        self._requests += 1
        return b"%b%08x" % (self._request_prefix, self._requests)

    def count_rejection(self, error: ApiError, head: Head | None, request_id: bytes) -> None:
        del head, request_id
        self._services.acceptor.stats.reject(error.code)

    def plan(self, head: Head, exchange: Exchange) -> RequestHandler:
        try:
            return self._plan(head, exchange)
        except UnauthorizedError as error:
            look_up = self._look_up_of(error, exchange)
            if look_up is None:
                raise
        return PendingHandler(
            lambda: self._plan_after(look_up, head, exchange), self._body_bytes_max
        )

    async def _plan_after(
        self, look_up: Callable[[], Awaitable[None]], head: Head, exchange: Exchange
    ) -> RequestHandler:
        await look_up()
        return self._plan(head, exchange)

    def _look_up_of(
        self, error: UnauthorizedError, exchange: Exchange
    ) -> Callable[[], Awaitable[None]] | None:
        """How to look up a key that was just created, None when that is not worthwhile."""
        cache = self._caches.get(error.who)
        public_id = None if cache is None else cache.new_id(error.credential)
        if cache is None or public_id is None:
            return None
        if self._look_ups.take(exchange.connection.peer, self._services.clock_us()):
            return None
        return lambda: cache.look_ups.look_up(public_id)

    def _plan(self, head: Head, exchange: Exchange) -> RequestHandler:
        resource, values = self._table.find(head.path)
        if resource is None:
            return self._plan_elsewhere(head, exchange)
        plain = resource.plain.get(head.method)
        if plain is not None:
            return self._plan_plain(plain, values, head, exchange)
        routes = resource.by_method.get(head.method)
        if routes is None:
            return self._plan_other_method(resource, head, exchange)
        return self._plan_one_of(routes, values, head, exchange)

    # --- paths and methods without a route ---

    def _plan_elsewhere(self, head: Head, exchange: Exchange) -> RequestHandler:
        mount = self._mounts.get(self._table.mount_of(head.path))
        if mount is not None:
            return mount.plan(head, None)
        principal = self._authenticate_header(self._table.who_of_area(head.path), head)
        error = ApiError(ErrorCode.NOT_FOUND, "This path does not exist.")
        self._note(error, head, principal, exchange)
        raise error

    def _plan_other_method(
        self, resource: Resource, head: Head, exchange: Exchange
    ) -> RequestHandler:
        cors = next((route.cors for route in resource.routes if route.cors is not None), None)
        if cors is not None and head.method == b"OPTIONS" and b"origin" in head.headers:
            return Preflight(self._preflight_headers(cors, _origin(head)))
        principal = None
        if resource.who is not Who.ANYBODY:
            principal = self._authenticate_header(resource.who, head)
        allowed = resource.allowed
        message = f"This path allows {allowed}."
        headers = (("Allow", allowed),)
        error = ApiError(ErrorCode.METHOD_NOT_ALLOWED, message, headers=headers)
        self._note(error, head, principal, exchange)
        raise error

    # --- one route of several ---

    def _plan_one_of(
        self, routes: tuple[Route, ...], values: dict[str, str], head: Head, exchange: Exchange
    ) -> RequestHandler:
        fitting = [route for route in routes if route.when is None or route.when(head)]
        if not fitting:
            known = [name for route in routes for name in route.media]
            check_media_type(head, tuple(known))
            raise ApiError(
                ErrorCode.UNSUPPORTED_MEDIA_TYPE, "This path does not accept such a body."
            )
        route = fitting[0]
        self._set_cors(fitting, head, exchange)
        if route.when_body is None or _credential(route, values, head, None) is not None:
            _shape_errors(route, exchange)
        waits = self._waits_for_body(route, values, head)
        if route.when_body is None and not waits:
            return self._plan_route(route, values, head, exchange)
        if waits and route.when_body is None:
            self._take(self._unknown, exchange.connection.peer)
        self._check_rate(route, exchange, None)
        return BodyFirst(self, tuple(fitting), values, head, self._body_max(fitting, values, head))

    def _waits_for_body(self, route: Route, values: dict[str, str], head: Head) -> bool:
        return route.access.needs_body and _credential(route, values, head, None) is None

    def _body_max(self, routes: Sequence[Route], values: dict[str, str], head: Head) -> int:
        """Of the largest body that one of the routes accepts."""
        sizes = []
        for route in routes:
            size = route.limits.body_bytes_max
            waits = self._waits_for_body(route, values, head)
            sizes.append(min(size, UNKNOWN_BYTES_MAX) if waits else size)
        return max(sizes)

    def plan_with_body(
        self,
        routes: tuple[Route, ...],
        values: dict[str, str],
        head: Head,
        exchange: Exchange,
        body: bytes,
    ) -> tuple[RequestHandler, bytes]:
        """Choose among routes by a body; returns the handler and the unpacked body.

        Raises:
            ApiError: none of them matches, or the sender lacks access.
        """
        unpacked_max = max(route.limits.unpacked_bytes_max for route in routes)
        encoding = check_encoding(head)
        if encoding == "identity" and body.startswith(_GZIP):
            encoding = "gzip"
        text = unpack(body, encoding, unpacked_max)
        # The body must not be unpacked twice.
        head.headers.pop(b"content-encoding", None)
        for route in routes:
            if route.when_body is not None and not route.when_body(text):
                continue
            _shape_errors(route, exchange)
            limits = route.limits
            if len(body) > limits.body_bytes_max:
                raise too_large(limits.body_bytes_max)
            if len(text) > limits.unpacked_bytes_max:
                raise too_large(limits.unpacked_bytes_max, decoded=True)
            members = None
            if self._waits_for_body(route, values, head):
                if route.when_body is not None:
                    self._take(self._unknown, exchange.connection.peer)
                members = _text_members(text)
            return self._plan_route(route, values, head, exchange, members), text
        raise ApiError(ErrorCode.VALIDATION, "This path does not accept such a body.")

    # --- a route ---

    def _plan_plain(
        self, plain: Plain, values: dict[str, str], head: Head, exchange: Exchange
    ) -> RequestHandler:
        if plain.who is Who.ANYBODY:
            return self._runner.plan(head, None, None, plain.route, values)
        principal = self._authenticate_header(plain.who, head)
        try:
            if plain.scope is not None:
                _require(plain.scope, principal)
            media = encoding = ""
            if plain.requires_body:
                media = check_media_type(head, plain.media)
                encoding = check_encoding(head)
            if plain.make_plan is not None:
                return plain.make_plan(self._services, head, principal, media, encoding)
            return self._plan_handler(plain.route, values, head, principal)
        except ApiError as error:
            self._note(error, head, principal, exchange)
            raise

    def _plan_route(
        self,
        route: Route,
        values: dict[str, str],
        head: Head,
        exchange: Exchange,
        members: Mapping[str, Any] | None = None,
    ) -> RequestHandler:
        if route.access.is_in_path:
            head.shown_path = route.path.encode()
        principal = self._authenticate(route, values, head, members)
        try:
            if route.access.scope is not None:
                _require(route.access.scope, principal)
            self._check_origin(route, head, exchange, principal)
            if isinstance(principal, Principal) and principal.key.is_public:
                self._take(self._public, principal.key_id)
            # A sender known by the body was rate-limited by address before it was read.
            if members is None:
                self._check_rate(route, exchange, principal)
            media = encoding = ""
            if route.requires_body:
                media = check_media_type(head, route.media)
                encoding = check_encoding(head)
            if route.plan is not None:
                return route.plan(self._services, head, principal, media, encoding)
            return self._plan_handler(route, values, head, principal)
        except ApiError as error:
            self._note(error, head, principal, exchange)
            raise

    def _plan_handler(
        self, route: Route, values: dict[str, str], head: Head, principal: Any
    ) -> RequestHandler:
        def authorize() -> None:
            principal = self._authenticate(route, values, head, None)
            if route.access.scope is not None:
                _require(route.access.scope, principal)

        again = None if route.access.who is Who.ANYBODY or route.needs_body else authorize
        return self._runner.plan(head, principal, again, route, values)

    def _authenticate(
        self,
        route: Route,
        values: Mapping[str, str],
        head: Head,
        members: Mapping[str, Any] | None,
    ) -> Any:
        access = route.access
        if access.who is Who.ANYBODY:
            return None
        if access.is_bearer_only:
            return self._authenticate_header(access.who, head)
        credential = _credential(route, values, head, members)
        principal = None if credential is None else self._authenticators[access.who](credential)
        if principal is None:
            ways = (("WWW-Authenticate", "Bearer, Basic"),) if BASIC in access.credentials else ()
            raise self._unauthorized(access.who, credential or b"", ways)
        return principal

    def _authenticate_header(self, who: Who, head: Head) -> Any:
        if who is Who.KEY:
            principal: Any = self._authenticate_key_header(head.headers.get(b"authorization", b""))
        else:
            principal = self._authenticators[who](head.bearer)
        if principal is None:
            raise self._unauthorized(who, head.bearer, ())
        return principal

    def _unauthorized(
        self, who: Who, credential: bytes, headers: tuple[tuple[str, str], ...]
    ) -> UnauthorizedError:
        is_operators = credential.startswith(b"hro_")
        if who is Who.OPERATOR:
            message = (
                "A valid operator token is needed: Authorization: Bearer hro_...; "
                "an API key (hr_...) is not accepted here."
            )
        elif who is Who.APP:
            message = "A known app is needed."
        elif is_operators:
            message = "This is the token of an operator; this path needs an API key, hr_..."
        else:
            message = self._access.problem(credential).value
        return UnauthorizedError(message, headers, who, credential)

    def _check_origin(self, route: Route, head: Head, exchange: Exchange, principal: Any) -> None:
        if route.cors is not None and b"origin" in head.headers:
            known = route.access.who is not Who.ANYBODY
            if known and not self._origins.allows(principal, _origin(head)):
                exchange.headers = (("Vary", "Origin"),)
                message = "This origin is not allowed for this key."
                raise ApiError(ErrorCode.FORBIDDEN, message)

    def _check_rate(self, route: Route, exchange: Exchange, principal: Any) -> None:
        bucket = self._buckets.get(id(route))
        if bucket is not None:
            self._take(bucket, getattr(principal, "key_id", None) or exchange.connection.peer)

    def _take(self, bucket: CallerBuckets, caller: str) -> None:
        if wait_s := bucket.take(caller, self._services.clock_us()):
            raise rate_limited(bucket.rate, wait_s)

    def _set_cors(self, routes: Sequence[Route], head: Head, exchange: Exchange) -> None:
        """Let a page of an allowed origin read the response, including a rejection."""
        if b"origin" not in head.headers or all(route.cors is None for route in routes):
            return
        origin = _origin(head)
        headers = [("Vary", "Origin")]
        if self._origins.any_allows(origin):
            headers.append(("Access-Control-Allow-Origin", origin))
        exchange.headers = tuple(headers)

    def _preflight_headers(self, cors: Cors, origin: str) -> tuple[tuple[str, str], ...]:
        if not self._origins.any_allows(origin):
            message = "This origin is not allowed."
            raise ApiError(ErrorCode.FORBIDDEN, message, headers=(("Vary", "Origin"),))
        return (
            ("Vary", "Origin"),
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Methods", ", ".join(cors.methods)),
            ("Access-Control-Allow-Headers", ", ".join(cors.headers)),
            ("Access-Control-Max-Age", str(cors.max_age_s)),
        )

    def _note(self, error: ApiError, head: Head, principal: Any, exchange: Exchange) -> None:
        if isinstance(principal, Principal) and error.status != 404:
            self._services.rejections.note(error, head, principal, exchange.request_id, b"")


class BodyFirst:
    """Handles a request whose route or sender depends on its body."""

    __slots__ = ("_head", "_router", "_routes", "_values", "body_bytes_max")

    def __init__(
        self,
        router: Router,
        routes: tuple[Route, ...],
        values: dict[str, str],
        head: Head,
        body_bytes_max: int,
    ) -> None:
        self.body_bytes_max = body_bytes_max
        self._router = router
        self._routes = routes
        self._values = values
        self._head = head

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Decide, and continue with the handler of the route."""
        try:
            plan, text = self._router.plan_with_body(
                self._routes, self._values, self._head, exchange, body
            )
        except ApiError as error:
            self._router.count_rejection(error, self._head, exchange.request_id)
            exchange.fail(error)
            return
        plan.run(exchange, text)


class Preflight:
    """Handles a CORS preflight."""

    __slots__ = ("_headers", "body_bytes_max")

    def __init__(self, headers: tuple[tuple[str, str], ...]) -> None:
        self.body_bytes_max = 0
        self._headers = headers

    def run(self, exchange: Exchange, body: bytes) -> None:
        """Allow the request."""
        del body
        exchange.respond_empty(204, self._headers)


def _shape_errors(route: Route, exchange: Exchange) -> None:
    if route.error_shape is not None:
        exchange.encode_error = route.error_shape.encode
    elif hasattr(exchange, "encode_error"):
        del exchange.encode_error


def _text_members(body: bytes) -> dict[str, Any]:
    """Members of a body that are texts: a key can be one of them. An empty body has none.

    It is unknown yet who sends the body, so nothing else of it is decoded.

    Raises:
        ApiError: 400, it is no JSON object.
    """
    if not body.strip():
        return {}
    try:
        members = read_members(storable(body))
        return {name: value_of(members, name) for name in members if members[name][:1] == b'"'}
    except ValueError as error:
        raise malformed_json(f"The body must be one JSON object: {echo(str(error))}") from None


def _credential(
    route: Route, values: Mapping[str, str], head: Head, members: Mapping[str, Any] | None
) -> bytes | None:
    for credential in route.access.credentials:
        found = credential.find(head, values, members)
        if found is not None:
            return found
    return None


def _require(scope: Scope, principal: Any) -> None:
    if not principal.may(scope):
        message = f"This key does not have the scope {scope.value}."
        raise ApiError(ErrorCode.FORBIDDEN, message)


def _origin(head: Head) -> str:
    return head.headers[b"origin"].decode("latin-1")

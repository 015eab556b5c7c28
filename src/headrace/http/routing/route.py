"""Routes: method and path, access, input and responses.

Each module of handlers ends with a tuple of these, as the pages of the backoffice do. The router,
the guards in front of the handlers and the OpenAPI document are all built from them, so every route
declares who may use it, and the document lists every response.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.access.api_keys import Scope
from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.server.credentials import BEARER, Credential, InPath
from headrace.http.server.exchange import RequestHandler
from headrace.http.server.head import Head, media_type

Handler = Callable[[Request], Awaitable[Response]]

JSON = "application/json"
NDJSON = "application/x-ndjson"
#: In place of a media type: the route accepts any.
ANY = "*/*"
#: Largest body of a route that does not say otherwise, as it comes and unpacked.
BODY_BYTES_MAX = 1024 * 1024


class PlanFactory(Protocol):
    """Creates the handler of a hot route, which runs without a task of its own.

    Args:
        services: what hot routes need.
        principal: owner of the credential.
        media: the media type of the body.
        encoding: its content encoding.
    """

    def __call__(
        self, services: Any, head: Head, principal: Any, media: str, encoding: str
    ) -> RequestHandler: ...


BEARER_ONLY: tuple[Credential, ...] = (BEARER,)


class Who(Enum):
    """Whose credential a route requires."""

    #: None is needed.
    ANYBODY = "anybody"
    #: An API key of the project that the request is about.
    KEY = "key"
    #: An operator who owns the instance.
    OPERATOR = "operator"
    #: An application, by its public identifier.
    APP = "app"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who may use a route, and where the credential is.

    The first place that has a credential decides, even if another one would be accepted.
    """

    who: Who
    #: Scope that a key needs, None when any key is accepted.
    scope: Scope | None = None
    credentials: tuple[Credential, ...] = BEARER_ONLY

    @property
    def needs_body(self) -> bool:
        """Whether authentication needs the body."""
        return any(credential.in_body for credential in self.credentials)

    @property
    def is_in_path(self) -> bool:
        """Whether the path may contain a credential, and so must be redacted when stored."""
        return any(isinstance(credential, InPath) for credential in self.credentials)

    @property
    def is_bearer_only(self) -> bool:
        return self.credentials == BEARER_ONLY


def key(scope: Scope, *credentials: Credential) -> Access:
    """For API keys with `scope`."""
    return Access(who=Who.KEY, scope=scope, credentials=credentials or BEARER_ONLY)


PUBLIC = Access(who=Who.ANYBODY, credentials=())
OPERATOR = Access(who=Who.OPERATOR)
INGEST, READ, MANAGE = key(Scope.INGEST), key(Scope.READ), key(Scope.MANAGE)
SEND = key(Scope.SEND)


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """Lets pages of other origins use a route; the key or the app lists which."""

    #: Headers that such a page may send.
    headers: tuple[str, ...]
    methods: tuple[str, ...] = ("POST", "GET")
    max_age_s: int = 86_400


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one route."""

    #: Of the body as it comes over the wire.
    body_bytes_max: int = BODY_BYTES_MAX
    #: Of the unpacked body.
    unpacked_bytes_max: int = BODY_BYTES_MAX
    #: Concurrent requests of the route; None for no limit of its own.
    concurrent_max: int | None = None
    #: Requests of one caller: a key or an app, else an address; None for no limit.
    per_second_max: int | None = None


LIMITS = Limits()


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """A parameter in the query or in a header."""

    name: str
    schema: dict[str, Any]
    description: str = ""
    location: str = "query"
    #: From text to the value that the handler gets; raises ValueError with a sentence.
    check: Callable[[str], Any] | None = None
    #: Whether `name` is the prefix of a family of parameters, such as `property.`.
    is_prefix: bool = False
    #: Limit of such a family in one request; `check` then gets their names.
    count_max: int = 10
    example: Any = None


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """A body that a route accepts, in one media type."""

    media: str
    #: A type, or a JSON Schema for what no type describes.
    schema: Any
    example: Any = None
    #: False: the body may be absent.
    required: bool = True


class ResponseSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One successful response."""

    status: int
    description: str
    #: A type, a tuple of alternative types, a JSON Schema, or None when there is no body.
    schema: Any = None
    #: How the value is wrapped: under `data`, as a list with its cursor, or not at all.
    wrap: str = "data"
    #: Optional fields beside the list.
    beside: Mapping[str, Any] = MappingProxyType({})
    media: str = JSON
    headers: tuple[str, ...] = ()
    #: Whether it is an endless stream.
    is_stream: bool = False


class ErrorShape(Protocol):
    """Errors as the clients of another service expect them."""

    @property
    def schema(self) -> Any:
        """Type of the body."""
        ...

    def status_of(self, code: ErrorCode) -> int: ...

    def encode(self, error: ApiError) -> tuple[int, bytes]:
        """Status and body."""
        ...


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path. Several routes may share both if `when` tells them apart."""

    method: str
    #: With `{name}` for a segment, or `{name:path}` for the rest of the path.
    path: str
    #: Name of the operation in generated clients.
    name: str
    summary: str
    access: Access
    #: Exactly one of the two.
    handler: Handler | None = None
    plan: PlanFactory | None = None
    tag: str = ""
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    bodies: tuple[Body, ...] = ()
    responses: tuple[ResponseSpec, ...] = ()
    #: Errors besides the implied ones, see `errors_of`.
    errors: tuple[ErrorCode, ...] = ()
    limits: Limits = LIMITS
    cors: Cors | None = None
    #: Which requests it matches, decided from the head.
    when: Callable[[Head], bool] | None = None
    #: The same, decided from the body, which is then read and unpacked first.
    when_body: Callable[[bytes], bool] | None = None
    #: Whether the body is read as its description says whatever media type the request names.
    is_any_media: bool = False
    #: Errors of the route, None for those of all others.
    error_shape: ErrorShape | None = None
    #: Clients of another service that it is for, as in the setting `compat`; empty for Headrace's
    #: own routes.
    family: str = ""
    #: Whether the document names it.
    is_documented: bool = True

    @property
    def media(self) -> tuple[str, ...]:
        """Media types of the body."""
        if self.is_any_media:
            return (ANY,)
        return tuple(body.media for body in self.bodies)

    @property
    def needs_body(self) -> bool:
        """Whether authentication or routing needs the body."""
        return self.when_body is not None or self.access.needs_body

    @property
    def requires_body(self) -> bool:
        return bool(self.bodies) and self.bodies[0].required

    @property
    def is_plain(self) -> bool:
        """Whether method and path alone select it, and only its access has to be checked."""
        return (
            self.when is None
            and self.when_body is None
            and self.cors is None
            and self.limits.per_second_max is None
            and self.access.credentials in ((), BEARER_ONLY)
        )

    @property
    def query(self) -> tuple[Parameter, ...]:
        """The parameters of the query."""
        return tuple(each for each in self.parameters if each.location == "query")

    @property
    def path_parameters(self) -> tuple[str, ...]:
        return tuple(name for name, _ in _PLACE.findall(self.path))


_PLACE = re.compile(r"\{(\w+)(:path)?\}")


def get(path: str, handler: Handler, access: Access = READ, **more: Any) -> Route:
    """A route that reads; it handles HEAD as well."""
    return _route("GET", path, handler, access, more)


def post(path: str, handler: Handler, access: Access = MANAGE, **more: Any) -> Route:
    return _route("POST", path, handler, access, more)


def put(path: str, handler: Handler, access: Access = MANAGE, **more: Any) -> Route:
    return _route("PUT", path, handler, access, more)


def patch(path: str, handler: Handler, access: Access = MANAGE, **more: Any) -> Route:
    return _route("PATCH", path, handler, access, more)


def delete(path: str, handler: Handler, access: Access = MANAGE, **more: Any) -> Route:
    return _route("DELETE", path, handler, access, more)


def _route(
    method: str, path: str, handler: Handler, access: Access, more: Mapping[str, Any]
) -> Route:
    return Route(method=method, path=path, handler=handler, access=access, **more)


def hot(method: str, path: str, plan: PlanFactory, access: Access, **more: Any) -> Route:
    """A route with a request handler of its own instead of a handler in a task."""
    return Route(method=method, path=path, plan=plan, access=access, **more)


# --- bodies ---


def json_body(schema: Any, *, example: Any = None, required: bool = True) -> tuple[Body, ...]:
    return (Body(media=JSON, schema=schema, example=example, required=required),)


def ndjson_body(description: str) -> Body:
    """One JSON text a line, which no schema describes."""
    return Body(media=NDJSON, schema={"type": "string", "description": description})


def empty_body() -> tuple[Body, ...]:
    """No body, or an object without members."""
    schema = {"type": "object", "additionalProperties": False}
    return (Body(media=JSON, schema=schema, required=False),)


# --- responses ---


def ok(description: str, schema: Any, *, headers: tuple[str, ...] = ()) -> ResponseSpec:
    return ResponseSpec(status=200, description=description, schema=schema, headers=headers)


def created(description: str, schema: Any) -> ResponseSpec:
    return ResponseSpec(status=201, description=description, schema=schema)


def accepted(description: str, schema: Any) -> ResponseSpec:
    return ResponseSpec(status=202, description=description, schema=schema)


def no_content(description: str) -> ResponseSpec:
    return ResponseSpec(status=204, description=description)


def unavailable(description: str, schema: Any) -> ResponseSpec:
    return ResponseSpec(
        status=503, description=description, schema=schema, headers=("Retry-After",)
    )


def page(
    item: Any, description: str = "", *, beside: Mapping[str, Any] | None = None
) -> ResponseSpec:
    """A page of a list; `beside` are further fields that it can have."""
    text = "A page can have fewer items than `limit` and still have a next page."
    return ResponseSpec(
        status=200,
        description=f"{description or 'Newest first.'} {text}",
        schema=item,
        wrap="page",
        beside=beside or {},
    )


def whole(
    description: str, schema: Any, *, status: int = 200, media: str = JSON, is_stream: bool = False
) -> ResponseSpec:
    """A body that is not wrapped in `data`."""
    return ResponseSpec(
        status=status,
        description=description,
        schema=schema,
        wrap="none",
        media=media,
        is_stream=is_stream,
    )


# --- which of several routes ---


def media_is(*names: str) -> Callable[[Head], bool]:
    """For bodies of these media types."""

    def check(head: Head) -> bool:
        return media_type(head.headers.get(b"content-type", b"")).name in names

    return check


def has_header(name: str) -> Callable[[Head], bool]:
    """For requests with this header."""
    wanted = name.lower().encode()

    def check(head: Head) -> bool:
        return wanted in head.headers

    return check


# --- what a route implies ---

_ALWAYS = (ErrorCode.MALFORMED_REQUEST, ErrorCode.REQUEST_TOO_LARGE, ErrorCode.OVERLOADED)
_BODY = (ErrorCode.MALFORMED_JSON, ErrorCode.VALIDATION, ErrorCode.UNSUPPORTED_MEDIA_TYPE)


def errors_of(route: Route) -> tuple[ErrorCode, ...]:
    """Every error that a route may return: the implied ones and its own."""
    errors = list(_ALWAYS)
    who = route.access.who
    if who is not Who.ANYBODY:
        errors += [ErrorCode.UNAUTHORIZED, ErrorCode.VALIDATION]
    if route.access.scope is not None or route.cors is not None:
        errors.append(ErrorCode.FORBIDDEN)
    if route.path_parameters:
        errors.append(ErrorCode.NOT_FOUND)
    if route.bodies:
        errors += _BODY
    if route.method != "GET":
        errors.append(ErrorCode.STORAGE_UNAVAILABLE)
    if route.limits.per_second_max is not None:
        errors.append(ErrorCode.RATE_LIMITED)
    return tuple(dict.fromkeys((*errors, *route.errors)))

"""All error responses, as one closed list."""

from __future__ import annotations

from enum import StrEnum

import msgspec

#: Longest piece of caller input an error message may repeat, in characters.
ECHO_CHARACTERS_MAX = 64


class ErrorCode(StrEnum):
    """The `error.code` of an error response; each has one HTTP status in `STATUS_OF`."""

    MALFORMED_JSON = "MalformedJson"
    MALFORMED_REQUEST = "MalformedRequest"
    VALIDATION = "ValidationError"
    RESERVED_EVENT_NAME = "ReservedEventName"
    PAYLOAD_TOO_LARGE = "PayloadTooLarge"
    REQUEST_TOO_LARGE = "RequestTooLarge"
    HEADERS_TOO_LARGE = "HeadersTooLarge"
    URI_TOO_LONG = "UriTooLong"
    REQUEST_TIMEOUT = "RequestTimeout"
    UNSUPPORTED_MEDIA_TYPE = "UnsupportedMediaType"
    UNAUTHORIZED = "Unauthorized"
    FORBIDDEN = "Forbidden"
    NOT_FOUND = "NotFound"
    METHOD_NOT_ALLOWED = "MethodNotAllowed"
    CONFLICT = "Conflict"
    VERSION_CONFLICT = "VersionConflict"
    NOT_ELIGIBLE = "NotEligible"
    AUTOMATION_INVALID = "AutomationInvalid"
    IDEMPOTENCY_KEY_REUSED = "IdempotencyKeyReused"
    RATE_LIMITED = "RateLimited"
    OVERLOADED = "Overloaded"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    INTERNAL = "InternalError"


STATUS_OF: dict[ErrorCode, int] = {
    ErrorCode.MALFORMED_JSON: 400,
    ErrorCode.MALFORMED_REQUEST: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.REQUEST_TIMEOUT: 408,
    ErrorCode.CONFLICT: 409,
    ErrorCode.VERSION_CONFLICT: 409,
    ErrorCode.NOT_ELIGIBLE: 409,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.REQUEST_TOO_LARGE: 413,
    ErrorCode.URI_TOO_LONG: 414,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.VALIDATION: 422,
    ErrorCode.AUTOMATION_INVALID: 422,
    ErrorCode.RESERVED_EVENT_NAME: 422,
    ErrorCode.IDEMPOTENCY_KEY_REUSED: 422,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.HEADERS_TOO_LARGE: 431,
    ErrorCode.INTERNAL: 500,
    ErrorCode.OVERLOADED: 503,
    ErrorCode.STORAGE_UNAVAILABLE: 503,
}


class FieldProblem(msgspec.Struct, frozen=True):
    """One problem with one field; `field` is empty when it is about the whole request."""

    field: str
    message: str


class ApiError(Exception):
    """A request that gets an error response.

    Attributes:
        code: what went wrong; decides the status.
        message: one sentence for the caller, free of secrets and of long input.
        details: every problem found, not only the first.
        retry_after_s: whole seconds for the `Retry-After` header; None leaves it out.
        headers: further response headers.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        details: tuple[FieldProblem, ...] = (),
        retry_after_s: int | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.retry_after_s = retry_after_s
        self.headers = headers

    @property
    def status(self) -> int:
        """HTTP status of the response."""
        return STATUS_OF[self.code]


class TooDeepError(ApiError):
    """400: the JSON of a body nests deeper than any request needs."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.MALFORMED_JSON, message)


def malformed_json(message: str) -> ApiError:
    """400: the body is not the JSON that this route accepts."""
    return ApiError(ErrorCode.MALFORMED_JSON, message)


def invalid(*problems: FieldProblem) -> ApiError:
    """422 with every problem listed; the message names the first."""
    first = problems[0]
    where = f"{first.field}: " if first.field else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return ApiError(ErrorCode.VALIDATION, f"{where}{first.message}{more}", details=problems)


def echo(text: str) -> str:
    """Caller input made safe to repeat: printable ASCII, at most 64 characters.

    Everything else is escaped, so that no control or bidirectional character of a caller reaches a
    terminal, a log or a page through an error message.
    """
    return _short(text[:ECHO_CHARACTERS_MAX].encode("unicode_escape").decode("ascii"), text)


def as_written(text: str) -> str:
    """The same for names that people read: letters are not escaped."""
    return _short("".join(map(_printable, text[:ECHO_CHARACTERS_MAX])), text)


def _short(shown: str, text: str) -> str:
    if len(text) > ECHO_CHARACTERS_MAX or len(shown) > ECHO_CHARACTERS_MAX:
        return shown[: ECHO_CHARACTERS_MAX - 3] + "..."
    return shown


def _printable(character: str) -> str:
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape").decode("ascii")

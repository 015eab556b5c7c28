"""What a status, or an error before there is one, means for a delivery."""

from __future__ import annotations

from http import HTTPStatus

import aiohttp

from headrace.delivery.contract import DeliveryError, FailureCause

_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


def cause_of_status(status: int) -> FailureCause | None:
    """Why an answer of this status is a failure; None when it is a success."""
    if status == HTTPStatus.GONE:
        return FailureCause.GONE
    if status in _LATER:
        return FailureCause.THROTTLED
    by_hundred = {
        2: None,
        3: FailureCause.REDIRECTED,
        4: FailureCause.REJECTED,
        5: FailureCause.SERVER_ERROR,
    }
    return by_hundred.get(status // 100, FailureCause.PROTOCOL_ERROR)


_STATUS_MESSAGES = {
    FailureCause.GONE: "the endpoint is gone for good",
    FailureCause.THROTTLED: "the endpoint asks for a later attempt",
    FailureCause.REDIRECTED: "the endpoint redirects, and redirects are not followed",
    FailureCause.REJECTED: "the endpoint refuses this event",
    FailureCause.SERVER_ERROR: "the endpoint failed",
    FailureCause.PROTOCOL_ERROR: "the endpoint gave no final HTTP answer",
}


def message_of_status(cause: FailureCause, status: int) -> str:
    """One sentence about a failed answer."""
    return f"{_STATUS_MESSAGES[cause]} (status {status})"


def error_of(error: Exception) -> DeliveryError:
    """Put an exception of the client library in terms of the closed list.

    The messages are ours: those of the library hold the URL, whose query may be a secret.
    """
    if isinstance(error, DeliveryError):
        return error
    cause, message = _cause_of(error)
    return DeliveryError(cause, message)


# The first class that fits decides: the library's classes inherit from one another in several
# ways. `{}` is what the system says.
_ERRORS: tuple[tuple[type[Exception], FailureCause, str], ...] = (
    (
        TimeoutError,
        FailureCause.DEADLINE_EXCEEDED,
        "the endpoint did not answer before the deadline",
    ),
    (
        aiohttp.ClientConnectorCertificateError,
        FailureCause.TLS_FAILED,
        "the certificate is not valid for this host",
    ),
    (aiohttp.ClientSSLError, FailureCause.TLS_FAILED, "the TLS handshake failed"),
    (aiohttp.ClientConnectorError, FailureCause.CONNECT_FAILED, "no connection: {}"),
    (
        aiohttp.ServerDisconnectedError,
        FailureCause.CONNECTION_LOST,
        "the connection was closed before an answer came",
    ),
    (
        aiohttp.ClientResponseError,
        FailureCause.PROTOCOL_ERROR,
        "the answer is no valid HTTP, or its head is too large",
    ),
    (OSError, FailureCause.CONNECTION_LOST, "the connection broke: {}"),
    (aiohttp.ClientConnectionError, FailureCause.CONNECTION_LOST, "the connection broke: {}"),
)


def _cause_of(error: Exception) -> tuple[FailureCause, str]:
    for kind, cause, message in _ERRORS:
        if isinstance(error, kind):
            return cause, message.format(_system_message(error))
    return FailureCause.INTERNAL, f"the attempt failed here: {type(error).__name__}"


def _system_message(error: Exception) -> str:
    inner = getattr(error, "os_error", error)
    return getattr(inner, "strerror", None) or type(inner).__name__

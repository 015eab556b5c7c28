"""Maps a status, or an error before it, to the outcome of a delivery."""

from __future__ import annotations

import os
import ssl
from http import HTTPStatus

from headrace.delivery.contract import DeliveryError, EndpointResponse, FailureCause

_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


def cause_of_status(status: int) -> FailureCause | None:
    """Why a response with this status is a failure; None when it is a success."""
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
    FailureCause.GONE: "not retried, and the webhook is disabled",
    FailureCause.THROTTLED: "asks to retry later",
    FailureCause.REDIRECTED: "redirects are not followed",
    FailureCause.REJECTED: "not retried",
    FailureCause.SERVER_ERROR: "server error",
    FailureCause.PROTOCOL_ERROR: "no final HTTP response",
}


def message_of_response(cause: FailureCause, response: EndpointResponse) -> str:
    """One sentence about a failed response."""
    message = f"the endpoint returned {response.http_status} ({_STATUS_MESSAGES[cause]})"
    return message if response.note is None else f"{message}; {response.note}"


def error_of(error: Exception) -> DeliveryError:
    """Map an exception of a call to the closed list."""
    if isinstance(error, DeliveryError):
        return error
    if isinstance(error, TimeoutError):
        message = "the endpoint did not respond before the deadline"
        return DeliveryError(FailureCause.DEADLINE_EXCEEDED, message)
    if isinstance(error, ssl.SSLError):
        return DeliveryError(FailureCause.TLS_FAILED, "the TLS connection to the endpoint failed")
    if isinstance(error, OSError):
        message = f"the connection broke: {system_message(error)}"
        return DeliveryError(FailureCause.CONNECTION_LOST, message)
    message = f"internal error during the attempt: {type(error).__name__}"
    return DeliveryError(FailureCause.INTERNAL, message)


def system_message(error: OSError) -> str:
    """The system's message; the text of the error itself can contain an address."""
    return type(error).__name__ if error.errno is None else os.strerror(error.errno)

"""Maps a status, or an error before it, to the outcome of a delivery."""

from __future__ import annotations

import os
import ssl
from http import HTTPStatus

from headrace.delivery.contract import Answer, DeliveryError, FailureCause

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
    FailureCause.GONE: "the endpoint is gone for good",
    FailureCause.THROTTLED: "the endpoint asks for a later attempt",
    FailureCause.REDIRECTED: "the endpoint redirects, and redirects are not followed",
    FailureCause.REJECTED: "the endpoint refuses this event",
    FailureCause.SERVER_ERROR: "the endpoint failed",
    FailureCause.PROTOCOL_ERROR: "the endpoint gave no final HTTP answer",
}


def message_of_answer(cause: FailureCause, answer: Answer) -> str:
    """One sentence about a failed response."""
    message = f"{_STATUS_MESSAGES[cause]} (status {answer.http_status})"
    return message if answer.note is None else f"{message}; {answer.note}"


def error_of(error: Exception) -> DeliveryError:
    """Map an exception of a call to the closed list."""
    if isinstance(error, DeliveryError):
        return error
    if isinstance(error, TimeoutError):
        message = "the endpoint did not answer before the deadline"
        return DeliveryError(FailureCause.DEADLINE_EXCEEDED, message)
    if isinstance(error, ssl.SSLError):
        return DeliveryError(FailureCause.TLS_FAILED, "the endpoint broke the rules of TLS")
    if isinstance(error, OSError):
        message = f"the connection broke: {system_message(error)}"
        return DeliveryError(FailureCause.CONNECTION_LOST, message)
    message = f"the attempt failed here: {type(error).__name__}"
    return DeliveryError(FailureCause.INTERNAL, message)


def system_message(error: OSError) -> str:
    """The system's message; the text of the error itself can contain an address."""
    return type(error).__name__ if error.errno is None else os.strerror(error.errno)

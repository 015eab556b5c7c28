"""Runs the handler of a route, and turns exceptions into error responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import ApiError, ErrorCode
from headrace.http.routing.asgi import WENT_WRONG, App
from headrace.http.routing.parameters import read_query
from headrace.http.routing.route import Route, Who
from headrace.http.server.rejection_recorder import RejectionRecorder
from headrace.http.server.wire import error_body, error_headers
from headrace.pipeline.access.keys import Principal
from headrace.pipeline.intake.accept import storage_unavailable
from headrace.store.contract.errors import StoreBusyError, StoreError


def build_application(recorder: RejectionRecorder) -> App:
    """Make the ASGI application; its handlers find their services in the request's state."""

    async def application(
        scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        request = Request(scope, receive)
        try:
            response = await _handle(request)
        except Exception as error:
            failure = as_api_error(error)
            _note(recorder, request, failure)
            if failure.code is ErrorCode.INTERNAL:
                # The runner logs it and sends the response.
                raise
            headers = dict(error_headers(failure))
            response = Response(error_body(failure), failure.status, headers, "application/json")
        await response(scope, receive, send)

    return application


async def _handle(request: Request) -> Response:
    state = request.scope["state"]
    route: Route = state["route"]
    state["query"] = {}
    # Ignore query parameters that load balancers and browsers add to public URLs.
    if route.access.who is not Who.ANYBODY:
        state["query"] = read_query(request.scope["query_string"], route.query)
    assert route.handler is not None
    return await route.handler(request)


def _note(recorder: RejectionRecorder, request: Request, failure: ApiError) -> None:
    state = request.scope["state"]
    if isinstance(state["principal"], Principal) and failure.status != 404:
        request_id = state["request_id"].encode()
        recorder.note(failure, state["head"], state["principal"], request_id, b"")


def as_api_error(error: Exception) -> ApiError:
    """The one mapping from exceptions of handlers to error responses."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StoreBusyError):
        return ApiError(ErrorCode.OVERLOADED, str(error), retry_after_s=1)
    if isinstance(error, StoreError):
        return storage_unavailable(error)
    return ApiError(ErrorCode.INTERNAL, WENT_WRONG)

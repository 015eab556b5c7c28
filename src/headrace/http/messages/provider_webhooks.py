"""`/mail/webhooks/…`: webhooks of mail providers, each verified in its own way, without an API key.

What is verified is stored and gets 200, whatever it says: a provider repeats what gets an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.messages.feedback.providers.payloads import BODY_BYTES_MAX
from headrace.http.routing.context import Services, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.path import not_found
from headrace.http.routing.route import ANY, PUBLIC, Body, Limits, Route, post
from headrace.pipeline.messages.provider_webhooks import (
    NotConfiguredError,
    NotNowError,
    NotSignedError,
)
from headrace.store.contract.messages import Notification

CONCURRENT_MAX = 20


async def take_ses(request: Request) -> Response:
    """`POST /mail/webhooks/ses`: a message of Amazon SNS."""
    body = await read_body(request)
    return await _taken(_services(request).mail.providers.ses(body))


async def take_postmark(request: Request) -> Response:
    """`POST /mail/webhooks/postmark`."""
    body = await read_body(request)
    sent = request.headers.get("authorization", "")
    return await _taken(_services(request).mail.providers.postmark(sent, body))


async def take_resend(request: Request) -> Response:
    """`POST /mail/webhooks/resend`."""
    body = await read_body(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return await _taken(_services(request).mail.providers.resend(headers, body))


async def _taken(taking: Awaitable[Notification]) -> Response:
    try:
        await taking
    except NotConfiguredError:
        raise not_found() from None
    except NotSignedError as error:
        raise ApiError(ErrorCode.FORBIDDEN, str(error)) from None
    except NotNowError as error:
        raise ApiError(ErrorCode.OVERLOADED, str(error), retry_after_s=5) from None
    return json_response({"data": {"status": "stored"}})


def _services(request: Request) -> Services:
    services: Services = request.scope["state"]["services"]
    return services


def _route(provider: str, title: str, handler: Callable[[Request], Awaitable[Response]]) -> Route:
    return post(
        f"/mail/webhooks/{provider}",
        handler,
        PUBLIC,
        name=f"take{title}Webhook",
        summary=f"Take a webhook of {title}",
        # Any media type: Amazon SNS sends JSON as text/plain.
        bodies=(Body(media=ANY, schema={"type": "string"}, required=False),),
        limits=Limits(
            body_bytes_max=BODY_BYTES_MAX,
            unpacked_bytes_max=BODY_BYTES_MAX,
            concurrent_max=CONCURRENT_MAX,
        ),
        errors=(ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND),
        is_documented=False,
    )


ROUTES = (
    _route("ses", "Ses", take_ses),
    _route("postmark", "Postmark", take_postmark),
    _route("resend", "Resend", take_resend),
)

"""The outcome of each response of a receiver."""

from __future__ import annotations

import pytest

from headrace.delivery.contract import Delivered, EndpointResponse, Failed, FailureCause
from headrace.delivery.webhook.transport import WebhookTransport
from tests.delivery.receiver import answers, in_turn, receiver
from tests.delivery.samples import DELIVERY_ID, LOOPBACK, event, webhook

pytestmark = pytest.mark.anyio

#: 2026-06-08T14:15:00Z
NOW_US = 1_780_928_100_000_000


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_success(status: int) -> None:
    body = b"" if status == 204 else b"thanks"
    async with receiver(answers(status, body)) as endpoint, transport() as webhooks:
        outcome = await webhooks.attempt(webhook(endpoint.url))
    assert isinstance(outcome, Delivered)
    assert outcome.response == EndpointResponse(http_status=status, excerpt=body.decode())
    assert outcome.duration_us > 0


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (301, FailureCause.REDIRECTED),
        (302, FailureCause.REDIRECTED),
        (304, FailureCause.REDIRECTED),
        (307, FailureCause.REDIRECTED),
        (308, FailureCause.REDIRECTED),
        (400, FailureCause.REJECTED),
        (401, FailureCause.REJECTED),
        (403, FailureCause.REJECTED),
        (404, FailureCause.REJECTED),
        (413, FailureCause.REJECTED),
        (422, FailureCause.REJECTED),
        (499, FailureCause.REJECTED),
        (410, FailureCause.GONE),
    ],
)
async def test_final_rejection_is_permanent(status: int, cause: FailureCause) -> None:
    async with receiver(answers(status, b"")) as endpoint, transport() as webhooks:
        outcome = await webhooks.attempt(webhook(endpoint.url))
    assert isinstance(outcome, Failed)
    assert outcome.cause is cause
    assert outcome.permanent
    assert not outcome.cause.subscriber_down
    assert str(status) in outcome.message
    assert outcome.disable_subscriber == (status == 410)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (408, FailureCause.THROTTLED),
        (425, FailureCause.THROTTLED),
        (429, FailureCause.THROTTLED),
        (500, FailureCause.SERVER_ERROR),
        (502, FailureCause.SERVER_ERROR),
        (503, FailureCause.SERVER_ERROR),
        (599, FailureCause.SERVER_ERROR),
        (600, FailureCause.PROTOCOL_ERROR),
        (999, FailureCause.PROTOCOL_ERROR),
    ],
)
async def test_temporary_failure_is_retried(status: int, cause: FailureCause) -> None:
    async with receiver(answers(status, b"busy")) as endpoint, transport() as webhooks:
        outcome = await webhooks.attempt(webhook(endpoint.url))
    assert isinstance(outcome, Failed)
    assert outcome.cause is cause
    assert not outcome.permanent
    assert outcome.cause.subscriber_down
    assert not outcome.disable_subscriber
    assert outcome.response == EndpointResponse(http_status=status, excerpt="busy")


@pytest.mark.parametrize(
    ("header", "retry_after_s"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Mon, 08 Jun 2026 14:16:30 GMT", 90.0),
        ("Mon, 08 Jun 2026 14:00:00 GMT", 0.0),
        ("99999999", 86_400.0),
        ("soon", None),
        ("-5", None),
    ],
)
async def test_retry_after_is_reported(header: str, retry_after_s: float | None) -> None:
    async with (
        receiver(answers(429, Retry_After=header)) as endpoint,
        transport() as webhooks,
    ):
        outcome = await webhooks.attempt(webhook(endpoint.url))
    assert isinstance(outcome, Failed)
    assert outcome.retry_after_s == retry_after_s


async def test_retry_after_is_ignored_on_a_final_rejection() -> None:
    async with (
        receiver(answers(404, Retry_After="5")) as endpoint,
        transport() as webhooks,
    ):
        outcome = await webhooks.attempt(webhook(endpoint.url))
    assert isinstance(outcome, Failed)
    assert outcome.retry_after_s is None


async def test_flapping_receiver_is_judged_by_each_response() -> None:
    behaviour = in_turn(answers(503), answers(200), answers(429), answers(200))
    async with receiver(behaviour) as endpoint, transport() as webhooks:
        outcomes = [
            await webhooks.attempt(webhook(endpoint.url, attempt=attempt))
            for attempt in range(1, 5)
        ]
    assert [isinstance(outcome, Delivered) for outcome in outcomes] == [False, True, False, True]
    assert {request.headers["webhook-id"] for request in endpoint.requests} == {DELIVERY_ID}


async def test_the_request_is_a_plain_post_of_the_event() -> None:
    payload = '{"kept":   "as sent", "n": 1.0}'
    async with receiver(answers(200)) as endpoint, transport() as webhooks:
        await webhooks.attempt(webhook(endpoint.url, of=event(payload=payload)))
    (request,) = endpoint.requests
    assert request.line == "POST /hook?token=1 HTTP/1.1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["host"] == f"127.0.0.1:{endpoint.port}"
    assert request.headers["user-agent"].startswith("Headrace/")
    assert payload.encode() in request.body


async def test_cookies_are_not_kept() -> None:
    behaviour = answers(200, Set_Cookie="session=1")
    async with receiver(behaviour) as endpoint, transport() as webhooks:
        for _ in range(2):
            await webhooks.attempt(webhook(endpoint.url))
    assert len(endpoint.requests) == 2
    assert all("cookie" not in request.headers for request in endpoint.requests)


async def test_proxy_settings_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with receiver(answers(200)) as proxy, receiver(answers(200)) as endpoint:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with transport() as webhooks:
            await webhooks.attempt(webhook(endpoint.url))
    assert len(endpoint.requests) == 1
    assert proxy.requests == []


def transport() -> WebhookTransport:
    return WebhookTransport(allowed=LOOPBACK, clock_us=lambda: NOW_US)

"""Own headers of a webhook are sent, and what is kept of a response is without secrets."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from headrace.delivery.contract import Delivered, Delivery, Failed, FailureCause, WebhookTarget
from headrace.delivery.contract import Exchange as Kept
from headrace.delivery.webhook.masking import masked, secrets_of
from headrace.delivery.webhook.transport import WebhookTransport
from headrace.domain.access.sealing import KeyRing, Purpose, parse_keys
from headrace.domain.deliveries.attempt_requests import HEADERS_CHARACTERS_MAX
from headrace.domain.deliveries.own_headers import encode
from headrace.version import VERSION
from tests.delivery.receiver import Behaviour, Exchange, answers, receiver
from tests.delivery.samples import LOOPBACK, webhook

pytestmark = pytest.mark.anyio

TOKEN = 's3cr3t/to"ken'


def delivery(url: str, *, keys: KeyRing | None = None, **headers: str) -> Delivery:
    one = webhook(url)
    assert isinstance(one.target, WebhookTarget)
    values = encode([*headers.values()])
    target = replace(
        one.target,
        header_names=tuple(name.replace("_", "-") for name in headers),
        header_values=values if keys is None else keys.seal(values, Purpose.WEBHOOK),
    )
    return replace(one, target=target)


async def echo(exchange: Exchange) -> None:
    """Send the request's headers back, as a page for debugging does."""
    text = json.dumps(exchange.request.headers).encode()
    await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


async def test_own_headers_are_sent_with_the_signed_request() -> None:
    keys = KeyRing(parse_keys("k" * 40))
    async with (
        receiver(answers(200)) as endpoint,
        WebhookTransport(allowed=LOOPBACK, keys=keys) as webhooks,
    ):
        sent = delivery(endpoint.url, keys=keys, Authorization=f"Bearer {TOKEN}", X_Env="prod")
        assert isinstance(await webhooks.attempt(sent), Delivered)
        assert isinstance(await webhooks.attempt(webhook(endpoint.url)), Delivered)
    with_own, without = (request.headers for request in endpoint.requests)
    assert (with_own["authorization"], with_own["x-env"]) == (f"Bearer {TOKEN}", "prod")
    assert with_own["user-agent"] == without["user-agent"] == f"Headrace/{VERSION}"
    assert with_own.keys() - without.keys() == {"authorization", "x-env"}


async def test_agent_and_accepted_types_can_be_replaced() -> None:
    async with receiver(answers(200)) as endpoint, WebhookTransport(allowed=LOOPBACK) as webhooks:
        await webhooks.attempt(delivery(endpoint.url, user_agent="mine", ACCEPT="text/plain"))
    ((headers),) = (request.headers for request in endpoint.requests)
    assert (headers["user-agent"], headers["accept"]) == ("mine", "text/plain")


async def test_values_are_masked_in_a_response_that_repeats_them() -> None:
    async with receiver(echo) as endpoint, WebhookTransport(allowed=LOOPBACK) as webhooks:
        sent = delivery(endpoint.url, Authorization=f"Bearer {TOKEN}", X_Env="prod")
        outcome = await webhooks.attempt(sent)
    assert isinstance(outcome, Delivered)
    assert outcome.response is not None
    shown = outcome.response.excerpt
    assert '"authorization": "***"' in shown
    assert '"x-env": "prod"' in shown
    assert "s3cr3t" not in shown


async def test_headers_sealed_with_another_key_are_tried_again() -> None:
    lost = KeyRing(parse_keys("k" * 40))
    async with receiver(answers(200)) as endpoint, WebhookTransport(allowed=LOOPBACK) as webhooks:
        outcome = await webhooks.attempt(delivery(endpoint.url, keys=lost, X_Key="secret"))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.SECRET_SEALED
    assert not outcome.permanent
    assert endpoint.requests == []


async def test_a_token_alone_and_a_part_at_the_end_are_masked() -> None:
    secrets = secrets_of([f"Bearer {TOKEN}", "short"])
    assert masked(f"no such token: {TOKEN}", secrets) == "no such token: ***"
    assert masked(f"a {json.dumps(TOKEN)} b", secrets) == 'a "***" b'
    assert masked(f"x {TOKEN[:8]}", secrets, cut=True) == "x ***"
    assert masked(f"x {TOKEN[:8]}", secrets) == f"x {TOKEN[:8]}"
    assert masked("short words stay", secrets) == "short words stay"


def responds(head: bytes) -> Behaviour:
    """Send these headers, with an empty body."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 503 Busy\r\n" + head + b"Content-Length: 0\r\n\r\n")

    return behave


async def exchanged(head: bytes, authorization: str) -> str:
    """The response headers that are kept."""
    behave = responds(head)
    async with receiver(behave) as endpoint, WebhookTransport(allowed=LOOPBACK) as webhooks:
        outcome = await webhooks.attempt(delivery(endpoint.url, authorization=authorization))
    assert outcome.exchange is not None
    return outcome.exchange.response_headers


async def test_response_headers_are_kept_without_secrets() -> None:
    head = (
        b"Server: nginx\r\nSet-Cookie: id=s3ss10n\r\nX-Echo: Bearer a-secret-value\r\n"
        b"bad line\r\nX-Bytes:\xff\xfe \tz\r\n"
    )
    kept = await exchanged(head, "Bearer a-secret-value")
    assert kept.split("\n") == [
        "server: nginx",
        "set-cookie: ***",
        "x-echo: ***",
        "x-bytes: \ufffd\ufffd  z",
        "content-length: 0",
    ]


async def test_response_headers_are_bounded() -> None:
    head = b"".join(b"X-%d: %s\r\n" % (number, b"v" * 500) for number in range(40))
    kept = await exchanged(head, "Bearer a-secret-value")
    assert [line.split(":")[0] for line in kept.split("\n")] == ["x-0", "x-1", "x-2", "x-3"]
    assert len(kept) <= HEADERS_CHARACTERS_MAX


async def test_a_request_without_a_response_is_kept_too() -> None:
    async def hang_up(exchange: Exchange) -> None:
        exchange.reset()

    at_us = 1_780_928_100_000_000
    async with (
        receiver(hang_up) as endpoint,
        WebhookTransport(allowed=LOOPBACK, clock_us=lambda: at_us) as webhooks,
    ):
        lost = await webhooks.attempt(webhook(endpoint.url))
    async with WebhookTransport() as guarded:
        refused = await guarded.attempt(webhook(endpoint.url))
    assert lost.exchange == Kept(signed_s=1_780_928_100, response_headers="")
    assert endpoint.requests[0].headers["webhook-timestamp"] == "1780928100"
    assert isinstance(refused, Failed)
    assert refused.cause is FailureCause.ADDRESS_REFUSED

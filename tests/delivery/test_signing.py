"""Signatures, checked with the standard's library in Python and in JavaScript."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from headrace.delivery.contract import Delivered, DeliveryError, Failed, FailureCause
from headrace.delivery.webhook.body import webhook_body
from headrace.delivery.webhook.signing import check_secret, new_secret, signature_headers
from headrace.delivery.webhook.transport import WebhookTransport
from headrace.domain.access.sealing import KeyRing, Purpose, parse_keys
from tests.delivery.receiver import Request, answers, receiver
from tests.delivery.samples import (
    DELIVERY_ID,
    EVENT,
    LOOPBACK,
    OTHER_SECRET,
    SECRET,
    event,
    webhook,
)

NODE = Path(__file__).parent / "node"


@pytest.mark.anyio
async def test_received_request_verifies() -> None:
    request = await received(SECRET)
    verified = Webhook(SECRET).verify(request.body, request.headers)
    assert verified["type"] == "order.completed"
    assert request.headers["webhook-id"] == DELIVERY_ID


@pytest.mark.anyio
async def test_during_a_rotation_either_secret_verifies() -> None:
    request = await received(OTHER_SECRET, SECRET)
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(request.body, request.headers)


@pytest.mark.anyio
async def test_javascript_library_verifies_and_rejects_the_same() -> None:
    request = await received(OTHER_SECRET, SECRET)
    body = request.body.decode()
    headers = request.headers
    cases = [
        (SECRET, headers, body),
        (OTHER_SECRET, headers, body),
        (new_secret(), headers, body),
        (SECRET, headers, body.replace("12.50", "12.5")),
        (SECRET, {**headers, "webhook-id": "another"}, body),
        (SECRET, {**headers, "webhook-timestamp": "1600000000"}, body),
    ]
    expected = ["order.completed", "order.completed", None, None, None, None]
    assert verified_by_node(cases) == expected


def verified_by_node(cases: list[tuple[str, dict[str, str], str]]) -> list[str | None]:
    assert (NODE / "node_modules" / "standardwebhooks").is_dir(), (
        "the npm package is absent: npm ci --prefix tests/delivery/node"
    )
    asked = [
        {"secret": secret, "headers": headers, "body": body} for secret, headers, body in cases
    ]
    done = subprocess.run(
        ["node", "verify.mjs"],
        cwd=NODE,
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answer: list[str | None] = json.loads(done.stdout)
    return answer


async def received(*secrets: str) -> Request:
    async with receiver(answers(200)) as endpoint, WebhookTransport(allowed=LOOPBACK) as webhooks:
        outcome = await webhooks.attempt(webhook(endpoint.url, *secrets))
    assert isinstance(outcome, Delivered)
    return endpoint.requests[0]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.binary(min_size=24))
def test_any_payload_verifies(text: str, seed: bytes) -> None:
    secret = new_secret(lambda count: (seed * 2)[:count])
    body = webhook_body(event(payload=json.dumps({"text": text}, ensure_ascii=False)))
    headers = signature_headers(DELIVERY_ID, body, [secret], time.time_ns() // 1000)
    assert Webhook(secret).verify(body, headers)["data"]["payload"] == {"text": text}


def test_a_secret_has_32_random_bytes() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
        assert check_secret(secret) == secret


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_c2hvcnQ=",
        SECRET.removeprefix("whsec_"),
        SECRET + "!",
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_é",
    ],
)
@pytest.mark.anyio
async def test_an_unreadable_secret_is_never_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="must be whsec_ followed by base64"):
        check_secret(secret)
    async with WebhookTransport(allowed=LOOPBACK) as webhooks:
        outcome = await webhooks.attempt(webhook("http://127.0.0.1:9/", secret))
        assert isinstance(outcome, Failed)
        # Port 9 is rejected first; on an allowed port the secret is wrong.
        assert outcome.cause is FailureCause.URL_REFUSED
        outcome = await webhooks.attempt(webhook("http://127.0.0.1:8999/", secret))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.SECRET_UNUSABLE
    assert outcome.permanent
    assert len(secret) < 8 or secret not in outcome.message


@pytest.mark.anyio
async def test_a_sealed_secret_signs_and_waits_for_its_key() -> None:
    keys = parse_keys("new-" * 10)
    sealed = KeyRing(keys).seal(SECRET, Purpose.WEBHOOK)
    async with receiver(answers(200)) as endpoint:
        async with WebhookTransport(allowed=LOOPBACK, keys=KeyRing(keys)) as webhooks:
            outcome = await webhooks.attempt(webhook(endpoint.url, sealed))
        assert isinstance(outcome, Delivered)
        (request,) = endpoint.requests
        async with WebhookTransport(allowed=LOOPBACK, keys=KeyRing()) as webhooks:
            outcome = await webhooks.attempt(webhook(endpoint.url, sealed))
    Webhook(SECRET).verify(request.body, dict(request.headers))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.SECRET_SEALED
    # The operator can bring the key back.
    assert not outcome.permanent
    assert keys[0].id in outcome.message


def test_an_endpoint_without_a_secret_is_not_called() -> None:
    with pytest.raises(DeliveryError) as failed:
        signature_headers(DELIVERY_ID, b"{}", [], time.time_ns() // 1000)
    assert failed.value.cause is FailureCause.SECRET_UNUSABLE


def test_the_body_is_the_event_with_its_payload_byte_for_byte() -> None:
    body = webhook_body(EVENT)
    assert f'"payload":{EVENT.payload}'.encode() in body
    shown = msgspec.json.decode(body.replace(b"1e400", b"1"))
    assert list(shown) == ["type", "timestamp", "data"]
    assert shown["type"] == "order.completed"
    assert shown["timestamp"] == "2026-06-08T14:15:00.123Z"
    payload = shown["data"].pop("payload")
    assert payload["note"] == "café ☕"
    assert shown["data"] == {
        "id": "0199a000-0000-7000-8000-0000000000aa",
        "event": "order.completed",
        "source": "api",
        "status": "processed",
        "delivery_status": "pending",
        "contact_id": "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10",
        "external_id": "customer-7",
        "email": "MIKE@X.ORG",
        "occurred_at": "2026-06-08T14:15:00.123Z",
        "received_at": "2026-06-08T14:15:01.000Z",
        "idempotency_key": "order-7",
        "attempts": 1,
        "last_error": None,
    }

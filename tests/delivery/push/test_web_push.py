"""Web Push against a real service on loopback: what it gets, and how its responses are read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from headrace.delivery.push.contract import (
    FcmTarget,
    OutgoingPush,
    PushOutcome,
    Urgency,
    WebPushTarget,
)
from headrace.delivery.push.keys import new_vapid_keys
from headrace.delivery.push.web_push import WebPushLimits, WebPushTransport
from headrace.delivery.webhook.addresses import parse_networks
from headrace.domain.push.hosts import parse_push_hosts
from headrace.domain.push.outcomes import PushResult
from tests.support.ports import free_port
from tests.support.push_service import (
    Answer,
    PushService,
    Received,
    Subscription,
    push_service,
    verified_claims,
)

T = TypeVar("T")
KEYS = new_vapid_keys()
ID = "7d444840-9dc0-5a1d-b245-5ffdce74fad2"
LOOPBACK = parse_networks("127.0.0.0/8")


def target(browser: Subscription, **changed: Any) -> WebPushTarget:
    fields = {
        "endpoint": browser.endpoint,
        "p256dh": browser.p256dh,
        "auth": browser.auth,
        "vapid_key": KEYS.private_pem,
    }
    return WebPushTarget(**(fields | changed))


def outgoing(to: WebPushTarget | FcmTarget, **changed: Any) -> OutgoingPush:
    fields = {"notification_id": ID, "target": to, "payload": b"{}", "ttl_s": 60}
    return OutgoingPush(**(fields | changed))


async def ready() -> None:
    """Nothing to write."""


def run(
    service: PushService,
    work: Callable[[WebPushTransport], Coroutine[Any, Any, T]],
    hosts: str | None = None,
    **options: Any,
) -> T:
    async def main() -> T:
        transport = WebPushTransport(
            parse_push_hosts(service.origin if hosts is None else hosts),
            subject="mailto:ops@example.org",
            **({"allowed": LOOPBACK} | options),
        )
        try:
            return await work(transport)
        finally:
            await transport.close()

    return asyncio.run(main())


def send(service: PushService, push: OutgoingPush, **options: Any) -> PushOutcome:
    return run(service, lambda transport: transport.send(push, ready), **options)


def test_a_browser_gets_what_was_sent() -> None:
    with push_service() as service:
        browser = service.subscription("a")
        payload = json.dumps({"sendrealm_v1": {"data": "ü" * 500}}).encode()
        push = outgoing(target(browser), payload=payload, ttl_s=7, urgency=Urgency.HIGH)
        outcome = send(service, push)
        (got,) = service.received
    assert (outcome.result, outcome.status) == (PushResult.SENT, 201)
    assert outcome.service == f"127.0.0.1:{service.port}"
    assert browser.decrypt(got.body) == payload
    assert got.headers["content-encoding"] == "aes128gcm"
    assert got.headers["ttl"] == "7"
    assert got.headers["urgency"] == "high"
    assert got.headers["topic"] == ID.replace("-", "")
    assert len(got.headers["topic"]) <= 32
    claims = verified_claims(got.headers["authorization"])
    assert (claims["aud"], claims["sub"]) == (service.origin, "mailto:ops@example.org")


def test_connections_and_tokens_are_reused() -> None:
    with push_service() as service:
        browser = service.subscription("a")

        async def three(transport: WebPushTransport) -> None:
            for _ in range(3):
                await transport.send(outgoing(target(browser)), ready)

        run(service, three)
        assert {one.connection for one in service.received} == {1}
        assert len({one.headers["authorization"] for one in service.received}) == 1


def test_a_connection_that_the_service_closed_is_replaced() -> None:
    """As after its idle time: the request on it fails, and is sent once more on a new one."""

    def answer(number: int, _push: Received) -> Answer:
        return Answer(0) if number == 2 else Answer()

    with push_service(answer) as service:
        browser = service.subscription("a")
        begun = 0

        async def count() -> None:
            nonlocal begun
            begun += 1

        async def two(transport: WebPushTransport) -> PushOutcome:
            await transport.send(outgoing(target(browser)), ready)
            return await transport.send(outgoing(target(browser)), count)

        assert run(service, two).result is PushResult.SENT
        assert [one.connection for one in service.received] == [1, 1, 2]
        assert begun == 1


def test_a_service_that_hangs_up_leaves_the_outcome_unknown() -> None:
    with push_service(lambda _number, _push: Answer(0)) as service:
        outcome = send(service, outgoing(target(service.subscription("a"))))
        assert outcome.result is PushResult.UNKNOWN
        assert len(service.received) == 1


@pytest.mark.parametrize(
    ("answer", "result", "code", "retry_after_s"),
    [
        (Answer(202), PushResult.SENT, None, None),
        (Answer(404, body=b'{"errno": 102}'), PushResult.GONE, "102", None),
        (Answer(410, body=b'{"errno": 103, "error": "Gone"}'), PushResult.GONE, "103", None),
        (Answer(413), PushResult.TOO_LARGE, None, None),
        (Answer(429, {"Retry-After": "17"}), PushResult.THROTTLED, None, 17.0),
        (Answer(503, {"Retry-After": "3"}), PushResult.SERVICE_UNAVAILABLE, None, 3.0),
        (Answer(400, body=b'{"errno": 113}'), PushResult.REQUEST_REFUSED, "113", None),
        (Answer(401, body=b'{"errno": 109}'), PushResult.SENDER_REFUSED, "109", None),
        (Answer(403, body=b"BadJwtToken"), PushResult.SENDER_REFUSED, None, None),
        (Answer(307, {"Location": "http://10.0.0.1/"}), PushResult.REQUEST_REFUSED, None, None),
        (Answer(500, body=b"[" * 9000), PushResult.SERVICE_UNAVAILABLE, None, None),
    ],
)
def test_responses_are_read(
    answer: Answer, result: PushResult, code: str | None, retry_after_s: float | None
) -> None:
    with push_service(lambda _number, _push: answer) as service:
        outcome = send(service, outgoing(target(service.subscription("a"))))
        assert (outcome.result, outcome.code, outcome.retry_after_s) == (
            result,
            code,
            retry_after_s,
        )
        assert outcome.status == answer.status
        assert len(outcome.message) <= 500
        assert len(service.received) == 1


def test_after_401_the_next_push_has_a_new_token() -> None:
    with push_service(lambda number, _push: Answer(401 if number == 1 else 201)) as service:
        browser = service.subscription("a")

        async def two(transport: WebPushTransport) -> None:
            for _ in range(2):
                await transport.send(outgoing(target(browser)), ready)

        run(service, two)
        first, second = (one.headers["authorization"] for one in service.received)
        assert first != second


@pytest.mark.parametrize(
    ("hosts", "endpoint"),
    [
        ("fcm.googleapis.com", "{origin}/push/a"),
        ("", "{origin}/push/a"),
        ("*", "https://example.org/"),
        ("fcm.googleapis.com", "http://fcm.googleapis.com/x"),
        ("fcm.googleapis.com", "https://fcm.googleapis.com:8443/x"),
        ("fcm.googleapis.com", "https://fcm.googleapis.com.example.org/x"),
        ("*.push.apple.com", "https://push.apple.com/x"),
        ("*.push.apple.com", "https://evilpush.apple.com/x"),
        ("fcm.googleapis.com", "https://fcm.googleapis.com@127.0.0.1/x"),
        ("fcm.googleapis.com", "file:///etc/passwd"),
        ("fcm.googleapis.com", ""),
    ],
)
def test_only_listed_services_are_called(hosts: str, endpoint: str) -> None:
    with push_service() as service:
        browser = service.subscription("a")
        given = target(browser, endpoint=endpoint.replace("{origin}", service.origin))
        outcome = send(service, outgoing(given), hosts="" if hosts == "*" else hosts)
        assert outcome.result is PushResult.ENDPOINT_REFUSED
        assert not service.received


def test_a_listed_origin_needs_an_allowed_network() -> None:
    """A list of hosts opens no private network: names may lead anywhere."""
    with push_service() as service:
        push = outgoing(target(service.subscription("a")))
        assert send(service, push, allowed=()).result is PushResult.ENDPOINT_REFUSED

        async def resolve(_host: str, _port: int) -> list[str]:
            return ["127.0.0.1"]

        named = f"http://push.example.org:{service.port}"
        push = outgoing(target(service.subscription("a"), endpoint=f"{named}/a"))
        outcome = send(service, push, hosts=named, allowed=(), resolve=resolve)
        assert outcome.result is PushResult.ENDPOINT_REFUSED
        assert not service.received


def test_without_a_service_nothing_is_begun() -> None:
    with push_service() as service:
        origin = f"http://127.0.0.1:{free_port()}"
        push = outgoing(target(service.subscription("a"), endpoint=f"{origin}/a"))

        async def never() -> None:
            raise AssertionError

        outcome = run(service, lambda transport: transport.send(push, never), hosts=origin)
        assert outcome.result is PushResult.UNREACHABLE


@pytest.mark.parametrize(
    ("changed", "result"),
    [
        ({"p256dh": "AA"}, PushResult.SUBSCRIPTION_BAD),
        ({"auth": ""}, PushResult.SUBSCRIPTION_BAD),
        ({"vapid_key": "no key"}, PushResult.KEY_UNUSABLE),
    ],
)
def test_keys_that_cannot_be_used_end_the_attempt(changed: Any, result: PushResult) -> None:
    with push_service() as service:
        browser = service.subscription("a")
        assert send(service, outgoing(target(browser, **changed))).result is result
        large = send(service, outgoing(target(browser), payload=b"x" * 4000))
        assert large.result is PushResult.TOO_LARGE
        assert not service.received


def test_other_platforms_are_not_sent_to() -> None:
    with push_service() as service:
        outcome = send(service, outgoing(FcmTarget(token="t")))
        assert outcome.result is PushResult.NOT_SUPPORTED


def test_so_many_pushes_at_once_and_no_more() -> None:
    with push_service() as service:

        async def many(transport: WebPushTransport) -> int:
            assert transport.free == 2
            pushes = [outgoing(target(service.subscription(str(one)))) for one in range(6)]
            most = 0
            running = 0

            async def begin() -> None:
                nonlocal most, running
                running += 1
                most = max(most, running)
                await asyncio.sleep(0)
                running -= 1

            await asyncio.gather(*(transport.send(one, begin) for one in pushes))
            return most

        assert run(service, many, limits=WebPushLimits(connections_max=2)) <= 2
        assert len(service.received) == 6

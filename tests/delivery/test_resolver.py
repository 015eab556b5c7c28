"""Names are resolved here, and calls go only to checked addresses."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from headrace.delivery.contract import Delivered, DeliveryError, Failed, FailureCause
from headrace.delivery.webhook.connection import connect
from headrace.delivery.webhook.guard import AddressRefusedError, check_url
from headrace.delivery.webhook.resolver import (
    CheckedNames,
    SystemResolve,
    check_target,
    checked_addresses,
)
from headrace.delivery.webhook.transport import WebhookLimits, WebhookTransport
from tests.delivery.receiver import answers, receiver
from tests.delivery.samples import LOOPBACK, webhook
from tests.support.ports import free_port

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.215.14"
METADATA = "169.254.169.254"
CERTIFICATE = Path(__file__).parent / "tls" / "receiver.pem"
KEY = CERTIFICATE.with_suffix(".key")


class Names:
    """A resolver that returns its answers in sequence, the last one repeated."""

    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


async def test_name_that_changes_after_saving_is_rejected_at_the_call() -> None:
    async with receiver(answers(200)) as endpoint:
        names = Names([PUBLIC], ["127.0.0.1"], [METADATA], ["::ffff:127.0.0.1"])
        url = f"http://rebinding.test:{endpoint.port}/hook"
        await check_target(check_url(url), names, ())
        for _ in range(3):
            # A new transport each time, so that no lookup is cached.
            async with WebhookTransport(resolve=names) as webhooks:
                outcome = await webhooks.attempt(webhook(url))
            assert isinstance(outcome, Failed)
            assert outcome.cause is FailureCause.ADDRESS_REFUSED
            assert outcome.permanent
    assert len(names.asked) == 4
    assert endpoint.requests == []


async def test_a_call_resolves_once_and_connects_to_that_address() -> None:
    """If the name were resolved again between check and connect, the call would go elsewhere."""
    async with receiver(answers(200)) as endpoint:
        names = Names(["127.0.0.1"], [PUBLIC])
        async with WebhookTransport(allowed=LOOPBACK, resolve=names) as webhooks:
            outcome = await webhooks.attempt(webhook(f"http://rebinding.test:{endpoint.port}/"))
    assert isinstance(outcome, Delivered)
    assert names.asked == [("rebinding.test", endpoint.port)]
    assert endpoint.requests[0].headers["host"] == f"rebinding.test:{endpoint.port}"


async def test_rejected_addresses_of_a_name_are_left_out() -> None:
    async with receiver(answers(200)) as endpoint:
        names = Names(["::1", METADATA, "127.0.0.1", "10.0.0.1"])
        async with WebhookTransport(allowed=LOOPBACK, resolve=names) as webhooks:
            outcome = await webhooks.attempt(webhook(f"http://localhost:{endpoint.port}/"))
    assert isinstance(outcome, Delivered)


@pytest.mark.parametrize(
    "answer",
    [
        [METADATA],
        ["127.0.0.1", "::1"],
        ["64:ff9b::a9fe:a9fe"],
        ["::ffff:10.0.0.1"],
        ["2002:7f00:1::"],
        ["fe80::1%eth0"],
        ["not an address"],
    ],
)
async def test_name_without_an_allowed_address_is_rejected(answer: list[str]) -> None:
    with pytest.raises(AddressRefusedError):
        await checked_addresses("inside.test", 443, Names(answer), ())
    with pytest.raises(AddressRefusedError):
        await check_target(check_url("https://inside.test/"), Names(answer), ())


@pytest.mark.parametrize("answer", [[], socket.gaierror(-2, "Name or service not known")])
async def test_name_that_does_not_resolve_is_retried(
    answer: list[str] | OSError,
) -> None:
    async with WebhookTransport(resolve=Names(answer)) as webhooks:
        outcome = await webhooks.attempt(webhook("https://nowhere.test/"))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.NAME_NOT_RESOLVED
    assert not outcome.permanent
    # It may be created later, so it can be saved now.
    await check_target(check_url("https://nowhere.test/"), Names(answer), ())


async def test_a_name_server_that_hangs_is_bounded_at_save_and_at_call() -> None:
    async def hang(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    await check_target(check_url("https://slow.test/"), hang, (), timeout_s=0.05)
    limits = WebhookLimits(deadline_s=0.1)
    async with WebhookTransport(resolve=hang, limits=limits) as webhooks:
        outcome = await webhooks.attempt(webhook("https://slow.test/"))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "2130706433", "127.1"]
)
async def test_the_system_resolver_reaches_nothing_private(host: str) -> None:
    async with receiver(answers(200)) as endpoint, WebhookTransport() as webhooks:
        outcome = await webhooks.attempt(webhook(f"http://{host}:{endpoint.port}/"))
    assert isinstance(outcome, Failed)
    assert outcome.permanent
    assert endpoint.requests == []


@pytest.mark.parametrize("refused", [METADATA, "10.0.0.1", "::1", "::ffff:10.0.0.1"])
async def test_hosts_written_as_addresses_are_checked_at_the_connection(refused: str) -> None:
    """These are not resolved, so they are checked when connecting."""
    async with receiver(answers(200)) as endpoint:
        good = ip_address("127.0.0.1")
        (await connect([good], endpoint.port, LOOPBACK)).close()
        with pytest.raises(AddressRefusedError):
            await connect([ip_address(refused)], endpoint.port, LOOPBACK)


async def test_last_check_stops_a_call_that_passed_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with receiver(answers(200)) as endpoint, WebhookTransport() as webhooks:
        url = check_url(endpoint.url, LOOPBACK)
        monkeypatch.setattr(
            "headrace.delivery.webhook.transport.check_url", lambda _text, _allowed: url
        )
        outcome = await webhooks.attempt(webhook(endpoint.url))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.ADDRESS_REFUSED
    assert endpoint.requests == []


async def test_checked_lookup_is_cached() -> None:
    system = Names([PUBLIC, "2606:4700:4700::1111"], OSError())
    names = CheckedNames(system, ())
    for _ in range(2):
        found = await names.addresses(check_url("https://a.test/hook"))
        assert found == [ip_address(PUBLIC), ip_address("2606:4700:4700::1111")]
    assert system.asked == [("a.test", 443)]


async def test_failed_lookup_is_not_cached() -> None:
    names = CheckedNames(Names(OSError(), [METADATA], [PUBLIC]), ())
    url = check_url("https://a.test/hook")
    with pytest.raises(DeliveryError):
        await names.addresses(url)
    with pytest.raises(AddressRefusedError):
        await names.addresses(url)
    assert await names.addresses(url) == [ip_address(PUBLIC)]


async def test_cached_lookups_are_limited() -> None:
    system = Names([PUBLIC])
    names = CheckedNames(system, ())
    for number in range(1025):
        await names.addresses(check_url(f"https://a{number}.test/"))
    await names.addresses(check_url("https://a1024.test/"))
    assert len(system.asked) == 1025
    await names.addresses(check_url("https://a0.test/"))
    assert len(system.asked) == 1026


async def test_host_that_is_an_address_is_not_resolved() -> None:
    system = Names(OSError())
    url = check_url("https://[2606:4700:4700::1111]/")
    assert await CheckedNames(system, ()).addresses(url) == [ip_address("2606:4700:4700::1111")]
    assert system.asked == []


async def test_the_next_address_is_tried_when_one_refuses() -> None:
    async with receiver(answers(200)) as endpoint:
        names = Names(["127.0.0.2", "127.0.0.3", "127.0.0.1"])
        async with WebhookTransport(allowed=LOOPBACK, resolve=names) as webhooks:
            outcome = await webhooks.attempt(webhook(f"http://many.test:{endpoint.port}/"))
    assert isinstance(outcome, Delivered)


async def test_address_that_does_not_respond_delays_no_other() -> None:
    """The first address accepts no connection: its backlog is full, so the handshake never ends."""
    with socket.socket() as full, socket.socket() as filling:
        # The same port as the server's, which listens on the other address.
        port = free_port()
        full.bind(("127.0.0.2", port))
        full.listen(0)
        filling.connect(full.getsockname())
        with socket.socket() as pending:
            pending.settimeout(0)
            pending.connect_ex(("127.0.0.2", port))
            server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
            addresses = [ip_address("127.0.0.2"), ip_address("127.0.0.1")]
            async with server, asyncio.timeout(5):
                connected = await connect(addresses, port, LOOPBACK)
            with connected:
                assert connected.getpeername()[0] == "127.0.0.1"


async def test_failed_connection_has_a_reason() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        addresses = [ip_address("127.0.0.2"), ip_address("127.0.0.1")]
        with pytest.raises(DeliveryError) as failed:
            await connect(addresses, unused.getsockname()[1], LOOPBACK)
    assert failed.value.cause is FailureCause.CONNECT_FAILED
    assert str(failed.value) == "no connection: Connection refused"


async def test_system_resolver_returns_addresses() -> None:
    found = await SystemResolve()("localhost", 80)
    assert any(ip_address(text).is_loopback for text in found)
    with pytest.raises(DeliveryError) as failed:
        await checked_addresses("does-not-exist.invalid", 443, SystemResolve(), ())
    assert failed.value.cause is FailureCause.NAME_NOT_RESOLVED


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


async def test_tls_is_checked_against_the_name_and_not_the_address() -> None:
    trusting = ssl.create_default_context(cafile=CERTIFICATE)
    async with (
        receiver(answers(200), server_tls()) as endpoint,
        WebhookTransport(allowed=LOOPBACK, resolve=Names(["127.0.0.1"]), tls=trusting) as webhooks,
    ):
        right = await webhooks.attempt(webhook(f"https://receiver.test:{endpoint.port}/"))
        wrong = await webhooks.attempt(webhook(f"https://other.test:{endpoint.port}/"))
    assert isinstance(right, Delivered)
    assert isinstance(wrong, Failed)
    assert wrong.cause is FailureCause.TLS_FAILED


async def test_untrusted_certificate_is_rejected_and_retried() -> None:
    async with (
        receiver(answers(200), server_tls()) as endpoint,
        WebhookTransport(allowed=LOOPBACK, resolve=Names(["127.0.0.1"])) as webhooks,
    ):
        outcome = await webhooks.attempt(webhook(f"https://receiver.test:{endpoint.port}/"))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.TLS_FAILED
    assert not outcome.permanent
    assert endpoint.requests == []


async def test_handshake_without_a_response_meets_the_deadline() -> None:
    """The receiver waits for a plain-text request, which never comes."""
    limits = WebhookLimits(deadline_s=0.3)
    async with (
        receiver(answers(200)) as endpoint,
        WebhookTransport(allowed=LOOPBACK, limits=limits) as webhooks,
    ):
        outcome = await webhooks.attempt(webhook(f"https://127.0.0.1:{endpoint.port}/"))
        await asyncio.wait_for(endpoint.hung_up.acquire(), 5)
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.DEADLINE_EXCEEDED


def blocked_handshakes(released: threading.Event) -> ssl.SSLContext:
    """Real TLS whose steps wait first, instead of groups that take long to compute."""

    class Blocked(ssl.SSLObject):
        def do_handshake(self) -> None:
            assert released.wait(20)
            super().do_handshake()

    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.sslobject_class = Blocked
    return context


async def test_slow_handshake_delays_no_other_call() -> None:
    released = threading.Event()
    async with (
        receiver(answers(200), server_tls()) as slow,
        receiver(answers(200)) as quick,
        WebhookTransport(
            allowed=LOOPBACK, resolve=Names(["127.0.0.1"]), tls=blocked_handshakes(released)
        ) as webhooks,
    ):
        url = f"https://receiver.test:{slow.port}/"
        computing = asyncio.create_task(webhooks.attempt(webhook(url)))
        # By then the first call is in its handshake.
        for _ in range(20):
            assert isinstance(await webhooks.attempt(webhook(quick.url)), Delivered)
        assert not computing.done()
        released.set()
        assert isinstance(await computing, Delivered)


async def test_slow_handshake_meets_the_deadline() -> None:
    released = threading.Event()
    async with (
        receiver(answers(200), server_tls()) as endpoint,
        WebhookTransport(
            allowed=LOOPBACK,
            resolve=Names(["127.0.0.1"]),
            tls=blocked_handshakes(released),
            limits=WebhookLimits(deadline_s=0.2),
        ) as webhooks,
    ):
        outcome = await webhooks.attempt(webhook(f"https://receiver.test:{endpoint.port}/"))
        released.set()
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.DEADLINE_EXCEEDED

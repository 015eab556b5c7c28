"""Rules of what clients send: names, hosts, states and limits."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery.push.keys import is_public_key, new_vapid_keys
from headrace.domain.errors import ApiError
from headrace.domain.events.fields import check_idempotency_key, is_event_name, is_reserved
from headrace.domain.push.client_events import event_key, event_name_of, payload_with_name
from headrace.domain.push.devices import is_app_id, new_app_id, state_of
from headrace.domain.push.hosts import parse_push_hosts
from headrace.domain.push.kinds import DeviceReason, DeviceState, Permission
from headrace.pipeline.push.limits import DeviceGrowth, RequestRate

DEFAULT = "fcm.googleapis.com,*.push.services.mozilla.com"
HOUR_US = 3600 * 1_000_000


@given(st.text(min_size=1, max_size=500))
def test_every_name_becomes_a_valid_one(name: str) -> None:
    became, renamed = event_name_of(name)
    assert is_event_name(became)
    assert not is_reserved(became)
    assert renamed == (became != name)
    assert not renamed or became.startswith("client.")


@given(
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    st.text(max_size=600).filter(lambda text: text.isprintable()),
)
def test_the_original_name_is_the_last_member(payload: dict[str, int], name: str) -> None:
    text = payload_with_name(f" {json.dumps(payload)} ", name)
    assert json.loads(text) == payload | {"client_event": name[:500]}


@given(st.text(min_size=1, max_size=1000), st.from_regex(r"[a-z0-9]{1,64}", fullmatch=True))
def test_a_key_of_a_client_is_valid_and_its_own(key: str, device_id: str) -> None:
    made = event_key("app", device_id, key)
    check_idempotency_key(made)
    assert made.startswith(f"push/app/{device_id}/")
    assert made != event_key("app", device_id, f"{key}x")
    assert made != event_key("app", f"{device_id}0", key)


def test_only_listed_services_are_called() -> None:
    hosts = parse_push_hosts(f" {DEFAULT.upper()}, http://127.0.0.1:8090 , https://[::1]:9000/ ")
    assert hosts.allows("https", "fcm.googleapis.com", 443)
    assert hosts.allows("https", "updates.push.services.mozilla.com", 443)
    assert hosts.allows("http", "127.0.0.1", 8090)
    assert hosts.allows("https", "::1", 9000)
    for scheme, host, port in (
        ("http", "fcm.googleapis.com", 80),
        ("https", "fcm.googleapis.com", 8443),
        ("https", "x.fcm.googleapis.com", 443),
        ("https", "push.services.mozilla.com", 443),
        ("https", "evilpush.services.mozilla.com", 443),
        ("https", "127.0.0.1", 8090),
        ("http", "127.0.0.1", 8091),
    ):
        assert not hosts.allows(scheme, host, port), (scheme, host, port)
    assert not parse_push_hosts("").allows("https", "fcm.googleapis.com", 443)


@pytest.mark.parametrize("text", ["a b", "https://", "*.*.x", "ftp://x", "x/y", "*", "a," * 101])
def test_an_entry_that_is_no_host_is_named(text: str) -> None:
    if text == "a," * 101:
        text = ",".join(f"h{number}" for number in range(101))
    with pytest.raises(ValueError, match=r"is no host|entries"):
        parse_push_hosts(text)


@pytest.mark.parametrize(
    ("address", "permission", "subscribed", "reason"),
    [
        (None, Permission.AUTHORIZED, True, DeviceReason.NOT_REGISTERED),
        ("x", Permission.AUTHORIZED, False, DeviceReason.OPTED_OUT),
        ("x", Permission.DENIED, True, DeviceReason.PERMISSION_DENIED),
        ("x", Permission.PROVISIONAL, True, None),
        ("x", None, True, None),
    ],
)
def test_the_state_of_a_device(
    address: str | None,
    permission: Permission | None,
    subscribed: bool,
    reason: DeviceReason | None,
) -> None:
    state = DeviceState.SUBSCRIBED if reason is None else DeviceState.UNSUBSCRIBED
    assert state_of(address, permission, subscribed=subscribed) == (state, reason)


def test_ids_of_apps_are_valid_and_differ() -> None:
    made = {new_app_id() for _ in range(100)}
    assert len(made) == 100
    assert all(map(is_app_id, made))


def test_an_address_registers_so_many_devices_an_hour() -> None:
    async def scenario() -> None:
        async def count(app_id: str, most: int) -> int:
            del app_id, most
            return 0

        growth = DeviceGrowth(3, 100, count)
        for _ in range(3):
            await growth.add("a", "app", HOUR_US)
        with pytest.raises(ApiError, match="address") as refused:
            await growth.add("a", "app", 2 * HOUR_US - 1)
        assert refused.value.status == 429
        assert refused.value.retry_after_s == 1
        await growth.add("b", "app", HOUR_US)
        await growth.add("a", "app", 2 * HOUR_US)

    asyncio.run(scenario())


def test_an_app_has_so_many_devices() -> None:
    counted: list[str] = []

    async def scenario() -> None:
        async def count(app_id: str, most: int) -> int:
            counted.append(app_id)
            return most - 2

        growth = DeviceGrowth(100, 10, count)
        for number in range(2):
            await growth.add(f"a{number}", "app", HOUR_US)
        with pytest.raises(ApiError, match="as many devices"):
            await growth.add("c", "app", HOUR_US)
        await growth.add("c", "other", HOUR_US)
        # Counted again after a while: devices may have been removed.
        await growth.add("c", "app", 2 * HOUR_US)

    asyncio.run(scenario())
    assert counted == ["app", "other", "app"]


def test_requests_at_the_same_time_are_all_counted() -> None:
    async def scenario() -> None:
        ready = asyncio.Event()

        async def count(app_id: str, most: int) -> int:
            del app_id, most
            await ready.wait()
            return 1

        growth = DeviceGrowth(100, 4, count)
        waiting = [asyncio.create_task(growth.take("a", "app", HOUR_US)) for _ in range(5)]
        await asyncio.sleep(0)
        ready.set()
        refused = [problem for problem in await asyncio.gather(*waiting) if problem is not None]
        assert len(refused) == 2
        # One of them was a device that is known.
        growth.give_back("a", "app")
        assert await growth.take("a", "app", HOUR_US) is None
        assert await growth.take("a", "app", HOUR_US) is not None

    asyncio.run(scenario())


def test_requests_are_limited_by_address() -> None:
    rate = RequestRate()
    for _ in range(5000):
        rate.take("a", "app", 1)
    with pytest.raises(ApiError) as refused:
        rate.take("a", "app", 1)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 1)
    rate.take("b", "app", 1)


def test_only_points_of_the_curve_are_keys_of_browsers() -> None:
    """As the library that encrypts for them decides."""

    def by_library(point: bytes) -> bool:
        try:
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        except ValueError:
            return False
        return point[0] == 4

    keys = [base64.urlsafe_b64decode(new_vapid_keys().public + "=") for _ in range(5)]
    zero, largest = bytes(32), b"\xff" * 32
    # The two points with x = 0 exist; y of the first is the square root of b.
    root = bytes.fromhex("66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4")
    wrong = [key[:40] + bytes([key[40] ^ 1]) + key[41:] for key in keys]
    others = (
        *(b"\x04" + zero + root, b"\x04" + zero + zero, b"\x04" + largest + largest),
        *(b"\x02" + keys[0][1:33], b"\x06" + keys[0][1:], keys[0][:64], keys[0] + b"\x00", b""),
    )
    for point in (*keys, *wrong, *others[:3]):
        assert is_public_key(coded(point)) == by_library(point), point.hex()
    assert [is_public_key(coded(point)) for point in others] == [True, *[False] * 7]
    assert not is_public_key("not base64 !")


def coded(point: bytes) -> str:
    return base64.urlsafe_b64encode(point).decode().rstrip("=")

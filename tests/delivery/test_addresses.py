"""The table of addresses: everything but global unicast is rejected, in every form."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.delivery.webhook.addresses import embedded_ipv4, parse_networks, rejection_reason

REFUSED = {
    "0.0.0.0": "unspecified",  # noqa: S104 - an address to refuse
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "shared",
    "100.100.100.200": "shared",
    "100.127.255.255": "shared",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "metadata",
    "169.254.0.1": "link-local",
    "169.254.169.254": "link-local",
    "169.254.170.2": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "protocols",
    "192.0.0.192": "protocols",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmarks",
    "198.19.255.255": "benchmarks",
    "198.51.100.1": "documentation",
    "203.0.113.9": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "IPv4-compatible, carrying 127.0.0.1, which is loopback",
    "::ffff:169.254.169.254": "IPv4-mapped, carrying 169.254.169.254, which is link-local",
    "::ffff:8.8.8.8": "IPv4-mapped",
    "::ffff:0:10.0.0.1": "IPv4-translated, carrying 10.0.0.1, which is private",
    "64:ff9b::a9fe:a9fe": "NAT64, carrying 169.254.169.254, which is link-local",
    "64:ff9b::808:808": "NAT64",
    "64:ff9b:1::a9fe:a9fe": "local NAT64",
    "100::1": "discard",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo, carrying 192.0.2.45",
    "2001:1::1": "protocols",
    "2001:2::1": "benchmarks",
    "2001:10::1": "protocols",
    "2001:20::1": "protocols",
    "2001:db8::1": "documentation",
    "2002:a9fe:a9fe::1": "6to4, carrying 169.254.169.254, which is link-local",
    "2002:808:808::1": "6to4",
    "2a00:1450::5efe:10.0.0.1": "ISATAP, carrying 10.0.0.1, which is private",
    "2a00:1450::200:5efe:8.8.8.8": "ISATAP",
    "3fff::1": "documentation",
    "4000::1": "not global unicast",
    "5f00::1": "segment routing",
    "fc00::1": "unique local",
    "fd00:ec2::254": "unique local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "names an interface",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
}

ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.15",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "198.20.0.1",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2600::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
]


@pytest.mark.parametrize(("address", "reason"), REFUSED.items())
def test_rejected_with_its_reason(address: str, reason: str) -> None:
    assert reason in (rejection_reason(ip_address(address)) or "")


@pytest.mark.parametrize("address", ALLOWED)
def test_global_unicast_is_accepted(address: str) -> None:
    assert rejection_reason(ip_address(address)) is None


@pytest.mark.parametrize(
    ("networks", "address", "is_allowed"),
    [
        ("127.0.0.0/8", "127.0.0.1", True),
        ("127.0.0.0/8", "::ffff:127.0.0.1", True),
        ("127.0.0.0/8", "::1", False),
        ("127.0.0.0/8", "10.0.0.1", False),
        ("127.0.0.0/8", "64:ff9b::7f00:1", False),
        ("::1/128", "::1", True),
        ("::1/128", "::", False),
        ("fd00::/8", "fd12::1", True),
        ("64:ff9b::/96", "64:ff9b::808:808", True),
        ("64:ff9b::/96", "64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::/96, 169.254.0.0/16", "64:ff9b::a9fe:a9fe", True),
        ("10.1.0.0/16,192.168.0.0/16", "192.168.3.4", True),
        ("10.1.0.0/16,192.168.0.0/16", "10.2.0.1", False),
        ("fe80::/10", "fe80::1%eth0", False),
    ],
)
def test_an_operator_allows_networks(networks: str, address: str, is_allowed: bool) -> None:
    reason = rejection_reason(ip_address(address), parse_networks(networks))
    assert (reason is None) == is_allowed


def test_networks_may_have_white_space_and_single_addresses() -> None:
    assert parse_networks(" 127.0.0.0/8 ,10.1.2.3,, ::1 ") == (
        ip_network("127.0.0.0/8"),
        ip_network("10.1.2.3/32"),
        ip_network("::1/128"),
    )
    assert parse_networks("") == ()


@pytest.mark.parametrize("text", ["10.1.0.5/16", "localhost", "10.0.0.0/33", "10.0.0.0;127.0.0.1"])
def test_invalid_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=text.replace(".", r"\.")):
        parse_networks(f"127.0.0.0/8,{text}")


@given(st.ip_addresses(v=4))
def test_no_transition_form_hides_an_address(inner: IPv4Address) -> None:
    number = int(inner)
    forms = [
        0xFFFF << 32 | number,
        0x64FF9B << 96 | number,
        0x2002 << 112 | number << 80 | 1,
        0x20010000 << 96 | (~number & 0xFFFFFFFF),
    ]
    for form in forms:
        address = IPv6Address(form)
        assert embedded_ipv4(address) == inner
        assert str(inner) in (rejection_reason(address) or "")


@given(st.ip_addresses())
def test_accepted_address_is_also_global_for_python(
    address: IPv4Address | IPv6Address,
) -> None:
    if rejection_reason(address) is None:
        assert address.is_global
        assert not address.is_multicast

"""Addresses that a webhook may be sent to: global unicast, and what an operator allows.

The tables are explicit instead of `ipaddress.is_global`, which is true for NAT64, 6to4 and
multicast addresses and differs between releases of Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_BLOCKED_IPV4: tuple[tuple[Network, str], ...] = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carrier NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud metadata service"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved or broadcast"),
    )
)

_GLOBAL_UNICAST_IPV6 = IPv6Network("2000::/3")

# The first that contains an address names it. Everything outside 2000::/3 is rejected, listed or
# not.
_BLOCKED_IPV6: tuple[tuple[Network, str], ...] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard-only"),
        ("2001::/32", "Teredo"),
        ("2001:2::/48", "for benchmarks"),
        ("2001:db8::/32", "for documentation"),
        ("2001::/23", "reserved for protocols"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "for documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "private (unique local)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private (site-local)"),
        ("ff00::/8", "multicast"),
    )
)

_MAPPED = IPv6Network("::ffff:0:0/96")
_LOW_32_BITS = 0xFFFF_FFFF
#: Position of the IPv4 address in an address, as a right shift.
_EMBEDDED_SHIFT: tuple[tuple[IPv6Network, int], ...] = (
    (_MAPPED, 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("::/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("64:ff9b:1::/48"), 0),
    (IPv6Network("2002::/16"), 80),
)
_TEREDO = IPv6Network("2001::/32")
#: Upper half of an ISATAP interface identifier, as a local and as a global one.
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})


def parse_networks(text: str) -> tuple[Network, ...]:
    """Read the operator's list of allowed networks, `127.0.0.0/8,10.1.0.0/16`.

    Raises:
        ValueError: names the item that is not a network.
    """
    networks: list[Network] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ip_network(item))
        except ValueError as error:
            message = f"{item[:64]!r} is not a network such as 10.1.0.0/16: {error}"
            raise ValueError(message) from None
    return tuple(networks)


def embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address in a transition form; None for any other address."""
    number = int(address)
    if number <= 1:
        return None  # `::` and `::1` are in the compatible range, but contain no IPv4 address.
    if address in _TEREDO:
        # Teredo writes the client's address inverted, to hide it from address rewriting.
        return IPv4Address(~number & _LOW_32_BITS)
    if (number >> 32) & _LOW_32_BITS in _ISATAP:
        return IPv4Address(number & _LOW_32_BITS)
    for network, shift in _EMBEDDED_SHIFT:
        if address in network:
            return IPv4Address((number >> shift) & _LOW_32_BITS)
    return None


def rejection_reason(address: Address, allowed: Iterable[Network] = ()) -> str | None:
    """Why an address must not be called; None when it may be.

    A form with an embedded IPv4 address is rejected whatever that is, because the gateway that
    unwraps it decides where it goes. Two exceptions: an IPv4-mapped address counts as its IPv4
    address, and an operator may allow another form as such, if its IPv4 address may be called.
    """
    networks = tuple(allowed)
    if isinstance(address, IPv4Address):
        return None if _is_in(address, networks) else _kind(address, _BLOCKED_IPV4)
    if address.scope_id is not None:
        return "link-local (it names an interface)"
    inner = embedded_ipv4(address)
    if inner is not None:
        return _rejection_of_form(address, inner, networks)
    if _is_in(address, networks):
        return None
    kind = _kind(address, _BLOCKED_IPV6)
    return kind or (None if address in _GLOBAL_UNICAST_IPV6 else "not global unicast")


def _rejection_of_form(
    address: IPv6Address, inner: IPv4Address, networks: tuple[Network, ...]
) -> str | None:
    if address in _MAPPED and _is_in(inner, networks):
        return None
    if _is_in(address, networks) and rejection_reason(inner, networks) is None:
        return None
    form = _kind(address, _BLOCKED_IPV6) or "ISATAP"
    kind = _kind(inner, _BLOCKED_IPV4)
    return f"{form}, carrying {inner}" + (f", which is {kind}" if kind else "")


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _kind(address: Address, table: tuple[tuple[Network, str], ...]) -> str | None:
    return next((kind for network, kind in table if address in network), None)

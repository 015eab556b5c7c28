"""The client's address behind proxies, as far as it can be trusted."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request

from headrace.backoffice.shell.context import Network

#: Providers assign one customer a whole network of this size.
_IPV6_PREFIX = 64
_HOPS_MAX = 20


def client_address(request: Request, trusted: tuple[Network, ...]) -> str:
    """The nearest address that is not a trusted proxy."""
    peer = request.client.host if request.client else ""
    forwarded = request.headers.get("x-forwarded-for")
    hops = forwarded.split(",")[-_HOPS_MAX:] if forwarded else []
    while hops and _is_trusted(peer, trusted):
        following = hops.pop().strip()
        if _parsed(following) is None:
            break
        peer = following
    return peer


def throttled_address(address: str) -> str:
    """Key for counting attempts by address: for IPv6 its network."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), _IPV6_PREFIX), strict=False))
    return address


def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in trusted)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None

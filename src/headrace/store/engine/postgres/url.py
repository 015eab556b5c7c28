"""Addresses of PostgreSQL stores."""

from __future__ import annotations

import re

SCHEMES = ("postgresql", "postgres")
_AUTHORITY_END = re.compile("[/?#]")
_QUERY = re.compile("[?#]")


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL store."""
    scheme, found, _ = url.partition("://")
    return bool(found) and scheme in SCHEMES


def masked(url: str) -> str:
    """The URL without its password, for messages, logs and reports."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    user, at, hosts = authority.rpartition("@")
    name = user.partition(":")[0]
    if "@" in rest[len(authority) :]:
        # A password with a sign of its own in it: where it ends is anybody's guess.
        return f"{scheme}://{authority.partition(':')[0]}@..."
    path = _QUERY.split(rest[len(authority) :], maxsplit=1)[0]
    # Whatever follows `?` may hold a password as well.
    query = "?..." if "?" in rest else ""
    return f"{scheme}://{name}{at}{hosts}{path}{query}"


def one_host_each(url: str) -> list[str]:
    """The URL once for each host that it names before its path, in their order."""
    scheme, found, rest = url.partition("://")
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    user, at, hosts = authority.rpartition("@")
    end = rest[len(authority) :]
    if "port=" in end or "@" in end:
        # Ports listed apart go with the hosts in their order; where a password with a sign of its
        # own ends is not for us to say.
        return [url]
    return [f"{scheme}{found}{user}{at}{host}{end}" for host in hosts.split(",")]

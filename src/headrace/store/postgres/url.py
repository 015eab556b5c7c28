"""Addresses of PostgreSQL stores."""

from __future__ import annotations

from urllib.parse import urlsplit

SCHEMES = ("postgresql", "postgres")


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL store."""
    return url.partition("://")[0] in SCHEMES


def masked(url: str) -> str:
    """The URL without its password, for messages, logs and reports."""
    head, found, place = url.partition("://")
    if not found:
        return url
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    # Whatever follows `?` may hold a password as well.
    query = "?..." if "?" in place else ""
    return f"{head}://{name}{at}{hosts}{parts.path}{query}"

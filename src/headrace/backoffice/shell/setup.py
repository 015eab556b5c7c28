"""Converts settings for the pages."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from headrace.backoffice.shell.context import Network
from headrace.config import SettingError


def public_origin(url: str) -> str:
    """Scheme and host of the public address, empty for none.

    Raises:
        SettingError: it is no such address.
    """
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        message = (
            "--public-url (HEADRACE_PUBLIC_URL) must be an address without a path such as "
            f"https://events.example.org, got {url[:64]!r}"
        )
        raise SettingError(message)
    return f"{parts.scheme}://{parts.netloc.lower()}"


def proxy_networks(text: str) -> tuple[Network, ...]:
    """Networks of trusted proxies, separated by commas.

    Raises:
        SettingError: names the item that is no network.
    """
    networks = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(item))
        except ValueError:
            message = (
                "--trusted-proxies (HEADRACE_TRUSTED_PROXIES) must be networks such as "
                f"10.0.0.0/8,192.0.2.7/32, got {item[:64]!r}"
            )
            raise SettingError(message) from None
    return tuple(networks)

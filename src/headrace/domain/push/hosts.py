"""Which push services may be called: the setting `HEADRACE_PUSH_HOSTS`.

Subscriptions come from clients without a key, so anybody can register an address. Entries are
separated by commas: a host (`fcm.googleapis.com`), all hosts under a name
(`*.push.services.mozilla.com`), or a whole origin (`http://127.0.0.1:8090`). Hosts are called by
https on port 443; an origin as it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ENTRIES_MAX = 100

_HOST = re.compile(r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}")
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?/?"
)
_DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class PushHosts:
    """The parsed setting. Made by `parse_push_hosts`."""

    hosts: frozenset[str]
    #: With their leading dot.
    suffixes: tuple[str, ...]
    origins: frozenset[tuple[str, str, int]]

    def allows(self, scheme: str, host: str, port: int) -> bool:
        """Whether an address may be called.

        Args:
            scheme: `http` or `https`.
            host: lower-case ASCII; an IPv6 address without its brackets.
        """
        if (scheme, host, port) in self.origins:
            return True
        if scheme != "https" or port != _DEFAULT_PORT["https"]:
            return False
        return host in self.hosts or host.endswith(self.suffixes)


def parse_push_hosts(text: str) -> PushHosts:
    """Read the setting.

    Raises:
        ValueError: names the entry that is none.
    """
    entries = [part for part in (part.strip().lower() for part in text.split(",")) if part]
    if len(entries) > ENTRIES_MAX:
        message = f"has {len(entries)} entries, at most {ENTRIES_MAX} are possible"
        raise ValueError(message)
    hosts: set[str] = set()
    suffixes: list[str] = []
    origins: set[tuple[str, str, int]] = set()
    for entry in entries:
        origin = _ORIGIN.fullmatch(entry)
        if origin is not None:
            port = int(origin["port"] or _DEFAULT_PORT[origin["scheme"]])
            origins.add((origin["scheme"], origin["host"].strip("[]"), port))
        elif _HOST.fullmatch(entry) is None:
            message = (
                f"{entry[:64]!r} is no host such as push.example.org or *.example.org, and no "
                "origin such as http://127.0.0.1:8090"
            )
            raise ValueError(message)
        elif entry.startswith("*."):
            suffixes.append(entry[1:])
        else:
            hosts.add(entry)
    return PushHosts(frozenset(hosts), tuple(suffixes), frozenset(origins))

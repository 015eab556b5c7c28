"""Addresses of stores."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from headrace.store.contract.errors import StoreSetupError

_AUTHORITY_END = re.compile("[/?#]")
_QUERY = re.compile("[?#]")


class StoreKind(Enum):
    """The databases that a store may be in."""

    SQLITE = "sqlite"
    POSTGRES = "postgresql"


#: `postgres` is what other tools call it.
_KINDS = {"sqlite": StoreKind.SQLITE} | dict.fromkeys(
    ("postgresql", "postgres"), StoreKind.POSTGRES
)


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Which store an address names; made by `parse`."""

    text: str
    kind: StoreKind
    #: File of an embedded store. A symbolic link is followed: SQLite keeps its own files beside the
    #: database and not beside the link, and so must the lock, lest one store have two servers.
    path: Path | None

    @classmethod
    def parse(cls, text: str) -> StoreUrl:
        """Read an address; of an embedded store, three slashes before a relative path.

        Raises:
            StoreSetupError: it names no store.
        """
        scheme, found, _ = text.partition("://")
        kind = _KINDS.get(scheme) if found else None
        if kind is StoreKind.POSTGRES:
            return cls(text, kind, None)
        if kind is None or not text.startswith("sqlite:///") or text.endswith("/"):
            message = (
                f"{masked(text)!r} is no store: use sqlite:///path/to/file.db "
                "or postgresql://user@host/database"
            )
            raise StoreSetupError(message)
        path = Path(unquote(urlsplit(text).path)[1:])
        return cls(text, kind, Path(os.path.realpath(path)) if path.is_symlink() else path)

    @property
    def is_shared(self) -> bool:
        """Whether several machines may work on the store."""
        return self.kind is StoreKind.POSTGRES

    @property
    def shown(self) -> str:
        """The address as it may be shown and logged: without a password."""
        return masked(self.text) if self.is_shared else self.text


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

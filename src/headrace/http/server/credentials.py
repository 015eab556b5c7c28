"""Where in a request a credential may be. Nothing here verifies it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from headrace.domain.access.api_keys import split_key
from headrace.http.server.head import Head


class Credential(Protocol):
    """One place of a request that may have a credential."""

    @property
    def in_body(self) -> bool:
        """Whether it is in the body, which then has to be read before authentication."""
        ...

    @property
    def name(self) -> str:
        """Name of the scheme in the OpenAPI document, empty where that cannot express it."""
        ...

    def find(
        self, head: Head, path: Mapping[str, str], members: Mapping[str, Any] | None
    ) -> bytes | None:
        """Text of the credential, None when the place is empty.

        Args:
            path: values of the parameters in the path.
            members: of the body, None before it is read or when it is not a JSON object.
        """
        ...


class Bearer(msgspec.Struct, frozen=True):
    """`Authorization: Bearer <key>`."""

    in_body: bool = False
    name: str = "key"

    def find(
        self, head: Head, path: Mapping[str, str], members: Mapping[str, Any] | None
    ) -> bytes | None:
        del path, members
        return head.bearer or None


class Basic(msgspec.Struct, frozen=True):
    """`Authorization: Basic`: the user name if it is a key, else the password."""

    in_body: bool = False
    name: str = "basic"

    def find(
        self, head: Head, path: Mapping[str, str], members: Mapping[str, Any] | None
    ) -> bytes | None:
        del path, members
        scheme, _, value = head.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"basic":
            return None
        try:
            user, _, password = base64.b64decode(value, validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return value
        return password if split_key(user) is None and password else user


class InHeader(msgspec.Struct, frozen=True):
    """The value of a header, in which a client may spell keys differently.

    `joint` replaces the underscores of a key, and `prefix` may be missing.
    """

    header: str
    joint: str = "_"
    prefix: str = ""
    in_body: bool = False
    name: str = ""

    def find(
        self, head: Head, path: Mapping[str, str], members: Mapping[str, Any] | None
    ) -> bytes | None:
        del path, members
        value = head.headers.get(self.header.lower().encode())
        if value is None:
            return None
        prefix = self.prefix.encode()
        return prefix + value.replace(self.joint.encode(), b"_").removeprefix(prefix)


class InPath(msgspec.Struct, frozen=True):
    """A parameter of the path."""

    parameter: str
    in_body: bool = False
    name: str = ""

    def find(
        self, head: Head, path: Mapping[str, str], members: Mapping[str, Any] | None
    ) -> bytes | None:
        del head, members
        return path[self.parameter].encode()


class InBody(msgspec.Struct, frozen=True):
    """The first of these members that the body has."""

    members: tuple[str, ...]
    in_body: bool = True
    name: str = ""

    def find(
        self, head: Head, path: Mapping[str, str], members: Mapping[str, Any] | None
    ) -> bytes | None:
        del head, path
        for name in self.members:
            value = (members or {}).get(name)
            if isinstance(value, str) and value:
                return value.encode("utf-8", "replace")
        return None


BEARER: Credential = Bearer()
BASIC: Credential = Basic()

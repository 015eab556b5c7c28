"""Projects, and their data that authentication caches."""

from __future__ import annotations

import msgspec

from headrace.domain.access.api_keys import ApiKey
from headrace.domain.access.policies import Policies


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant."""

    #: Number inside the store.
    id: int
    #: Public id, 16 bytes.
    uuid: bytes
    name: str
    created_us: int


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """All keys and policies, read together; authentication caches them."""

    #: Changes with every change of a key or policy.
    version: int
    keys: dict[str, ApiKey]
    #: By project id; a project is in here even when it changed no default.
    policies: dict[int, Policies]

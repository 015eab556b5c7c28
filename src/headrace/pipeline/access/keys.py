"""Who may do what: keys and policies held in memory, never older than a few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

import msgspec

from headrace.domain.access.api_keys import (
    ApiKey,
    Scope,
    allows,
    hash_secret,
    secret_matches,
    split_key,
)
from headrace.domain.access.policies import DEFAULTS, Policies
from headrace.observability.events import ACCESS_REFRESH_FAILED, STORE_UNAVAILABLE
from headrace.pipeline.access.look_up import LookUps
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.token_bucket import TokenBucket
from headrace.store.access.projects import Projects
from headrace.store.contract.access import Access
from headrace.store.contract.errors import StoreError

#: How often to poll for changed keys and policies. With the time of the query this stays well below
#: the 5 s within which a revocation must work.
REFRESH_SECONDS = 1.0
#: The cached data stays in force when the store cannot be read or its rows cannot be decoded.
FAILURES = {
    StoreError: STORE_UNAVAILABLE,
    msgspec.MsgspecError: ACCESS_REFRESH_FAILED,
    ValueError: ACCESS_REFRESH_FAILED,
}
#: Limit of the cache of verified keys, by a digest of their text.
VERIFIED_MAX = 10_000
_NOBODY_HASH = hash_secret(b"")


class KeyProblem(Enum):
    """Why a key is rejected; each value is one sentence."""

    MISSING = "An API key is needed: Authorization: Bearer hr_..."
    MALFORMED = "This is not an API key; one reads hr_<16 characters>_<64 characters>."
    UNKNOWN = "There is no such API key."
    REVOKED = "This API key was revoked."
    EXPIRED = "This API key has expired."


class ProjectAccess:
    """Policies and rate limit of one project; shared by all its keys."""

    __slots__ = ("bucket", "id", "policies")

    def __init__(self, project_id: int, policies: Policies) -> None:
        self.id = project_id
        self.policies = policies
        self.bucket: TokenBucket | None = None
        self.apply(policies)

    def apply(self, policies: Policies) -> None:
        """Apply changed policies; the bucket is kept while its rate stays the same."""
        rate = policies.event_ingest_limit_per_second
        if rate is None:
            self.bucket = None
        elif self.bucket is None or self.bucket.rate != rate:
            self.bucket = TokenBucket(rate)
        self.policies = policies


class Principal:
    """A verified key and its project."""

    __slots__ = ("key", "key_id", "project", "used")

    def __init__(self, key: ApiKey, project: ProjectAccess) -> None:
        self.key = key
        self.key_id = key.public_id
        self.project = project
        #: Set by each request, cleared when the use has been noted (`AccessCache.take_uses`).
        self.used = True

    def may(self, scope: Scope) -> bool:
        """Whether the key has `scope`, or one that includes it."""
        return allows(self.key.scopes, scope)


class AccessCache:
    """Authenticates keys without touching the store.

    Args:
        clock_us: microseconds since 1970, for expiry.
        monotonic_s: measures the age of the cached data.
    """

    def __init__(
        self,
        projects: Projects,
        clock_us: Callable[[], int],
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = projects
        self._clock_us = clock_us
        self._monotonic_s = monotonic_s
        #: When the last successful refresh began, by `monotonic_s`.
        self._confirmed_s = monotonic_s()
        self._access = Access(version=-1, keys={}, policies={})
        self._projects: dict[int, ProjectAccess] = {}
        self._verified: dict[bytes, Principal] = {}
        self.look_ups = LookUps(self.refresh, lambda public_id: public_id in self._access.keys)
        #: Used keys whose principals are no longer cached.
        self._uses: set[str] = set()

    def authenticate_header(self, header: bytes) -> Principal | None:
        """The principal of an `Authorization` header, None without a usable key.

        A verified header is found by its whole text. An unknown id costs the same
        comparison as a wrong secret, so timing reveals neither.
        """
        principal = self._verified.get(header)
        if principal is None:
            scheme, _, key_text = header.partition(b" ")
            if scheme.lower() != b"bearer":
                return None
            principal = self._verify(key_text)
            if principal is None:
                return None
            if len(self._verified) < VERIFIED_MAX:
                self._verified[header] = principal
            else:
                self._uses.add(principal.key_id)
        if principal.key.expires_us is not None and not principal.key.usable_at(self._clock_us()):
            return None
        principal.used = True
        return principal

    def authenticate(self, key_text: bytes) -> Principal | None:
        """The principal of a key's text."""
        return self.authenticate_header(b"Bearer " + key_text)

    def new_id(self, key_text: bytes) -> str | None:
        """Public id of a key that may have been made since the last refresh."""
        parts = split_key(key_text)
        if parts is None or not self.look_ups.is_worthwhile(parts[0]):
            return None
        return parts[0]

    def problem(self, key_text: bytes) -> KeyProblem:
        """Why a key is rejected.

        Only a caller with the right secret learns that it is revoked or expired: to all others a
        wrong secret looks like a key that does not exist.
        """
        if not key_text:
            return KeyProblem.MISSING
        parts = split_key(key_text)
        if parts is None:
            return KeyProblem.MALFORMED
        public_id, secret = parts
        key = self._access.keys.get(public_id)
        matches = secret_matches(secret, _NOBODY_HASH if key is None else key.secret_hash)
        if key is None or not matches:
            return KeyProblem.UNKNOWN
        return KeyProblem.EXPIRED if key.revoked_us is None else KeyProblem.REVOKED

    def confirmed(self, principal: Principal, scope: Scope) -> float | None:
        """When the store last confirmed that a key, once verified, still has `scope`.

        Returns:
            Seconds of `monotonic_s`; None when the key is no longer valid or lacks the scope.
        """
        key = self._access.keys.get(principal.key_id)
        if key is None or key.secret_hash != principal.key.secret_hash:
            return None
        if not allows(key.scopes, scope) or not key.usable_at(self._clock_us()):
            return None
        return self._confirmed_s

    def take_uses(self) -> set[str]:
        """Public ids of the keys used since the last call."""
        uses, self._uses = self._uses, set()
        for principal in self._verified.values():
            if principal.used:
                principal.used = False
                uses.add(principal.key_id)
        return uses

    def _verify(self, key_text: bytes) -> Principal | None:
        parts = split_key(key_text)
        if parts is None:
            return None
        public_id, secret = parts
        key = self._access.keys.get(public_id)
        matches = secret_matches(secret, _NOBODY_HASH if key is None else key.secret_hash)
        if key is None or not matches or not key.usable_at(self._clock_us()):
            return None
        return Principal(key, self.project(key.project_id))

    def project(self, project_id: int) -> ProjectAccess:
        """Policies and rate of a project."""
        found = self._projects.get(project_id)
        if found is None:
            policies = self._access.policies.get(project_id, DEFAULTS)
            found = self._projects[project_id] = ProjectAccess(project_id, policies)
        return found

    async def refresh(self) -> None:
        """Read keys and policies again if anything changed.

        Raises:
            StoreError: the store cannot be read; the cached data stays in force.
        """
        began_s = self._monotonic_s()
        if await self._store.access_version() == self._access.version:
            self._confirmed_s = began_s
            return
        access = await self._store.access()
        self._access = access
        self._confirmed_s = began_s
        self._uses = self.take_uses()
        self._verified.clear()
        for project_id, policies in access.policies.items():
            self.project(project_id).apply(policies)

    async def run(self) -> None:
        """Refresh until cancelled."""
        options = LoopOptions(
            name="access", pause_s=REFRESH_SECONDS, pause_first=True, failures=FAILURES
        )
        await Loop(self.look_ups.refresh, options).run()

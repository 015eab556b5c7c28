"""Who may use the operator API: held in memory, never older than a few seconds."""

from __future__ import annotations

from headrace.domain.access.api_keys import hash_secret, secret_matches
from headrace.domain.access.operators import Operator, split_token
from headrace.pipeline.access.look_up import LookUps
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.access.operators import Operators

REFRESH_SECONDS = 1.0
_NOBODY_HASH = hash_secret(b"")


class OperatorCache:
    """Authenticates operator tokens without touching the store."""

    def __init__(self, operators: Operators) -> None:
        self._store = operators
        self._by_id: dict[str, Operator] = {}
        self.look_ups = LookUps(self.refresh, lambda public_id: public_id in self._by_id)

    def authenticate(self, token: bytes) -> Operator | None:
        """The operator of a token, None without a usable one.

        An unknown id costs the same comparison as a wrong secret, so timing reveals neither.
        """
        parts = split_token(token)
        if parts is None:
            return None
        public_id, secret = parts
        operator = self._by_id.get(public_id)
        matches = secret_matches(secret, _NOBODY_HASH if operator is None else operator.token_hash)
        if operator is None or not matches or operator.revoked_us is not None:
            return None
        return operator if operator.is_owner else None

    def new_id(self, token: bytes) -> str | None:
        """Public id of a token that may have been made since the last refresh."""
        parts = split_token(token)
        if parts is None or not self.look_ups.is_worthwhile(parts[0]):
            return None
        return parts[0]

    async def refresh(self) -> None:
        """Read all operators again: they are few.

        Raises:
            StoreError: the store cannot be read; the cached data stays in force.
        """
        self._by_id = {operator.id: operator for operator in await self._store.list()}

    async def run(self) -> None:
        """Refresh until cancelled."""
        options = LoopOptions(name="operators", pause_s=REFRESH_SECONDS, pause_first=True)
        await Loop(self.look_ups.refresh, options).run()

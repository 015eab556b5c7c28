"""Who may use the operator API: held in memory, never older than a few seconds."""

from __future__ import annotations

import asyncio

import structlog

from headrace.domain.access.api_keys import hash_secret, secret_matches
from headrace.domain.access.operators import Operator, split_token
from headrace.observability.events import STORE_UNAVAILABLE
from headrace.pipeline.access.look_up import LookUps
from headrace.store.access.operators import Operators
from headrace.store.contract.events import StoreError

REFRESH_SECONDS = 1.0

_log = structlog.get_logger()
_NOBODY_HASH = hash_secret(b"")


class OperatorCache:
    """Authenticates operator tokens without touching the store."""

    def __init__(self, operators: Operators) -> None:
        self._store = operators
        self._by_id: dict[str, Operator] = {}
        self.look_ups = LookUps(self.refresh, lambda public_id: public_id in self._by_id)

    def authenticate(self, token: bytes) -> Operator | None:
        """The operator of a token, None for whatever is not a usable one.

        An unknown id costs the same comparison as a wrong secret, so timing tells neither.
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
            StoreError: the store cannot be read; what is held stays in force.
        """
        self._by_id = {operator.id: operator for operator in await self._store.list()}

    async def run(self) -> None:
        """Refresh for ever; the loop's only end is its cancellation."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.look_ups.refresh()
            except StoreError as error:
                _log.warning(STORE_UNAVAILABLE, loop="operators", error=str(error))

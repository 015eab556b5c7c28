"""The keys of tokens and of address hashes, from a secret of the store."""

from __future__ import annotations

from headrace.domain.messages.tokens import MessageKeys
from headrace.store.access.store_secrets import store_secret
from headrace.store.engine.transaction import Database

#: Name of the secret. Replacing it would break every link in sent mail.
SECRET = "messages"  # noqa: S105 - a name


class StoredKeys:
    """Reads the secret once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: MessageKeys | None = None

    async def get(self) -> MessageKeys:
        """The keys, created at first use."""
        if self._keys is None:
            self._keys = MessageKeys(await store_secret(self._database, SECRET))
        return self._keys

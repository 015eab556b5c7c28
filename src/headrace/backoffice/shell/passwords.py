"""Argon2 in threads, with a limit on concurrency: each hash takes 64 MiB and 100 ms."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import argon2

AT_ONCE_MAX = 2
#: Above this many waiting callers, further ones are asked to retry.
WAITING_MAX = 32

#: Verified when the account does not exist, so that timing does not reveal its absence. A hash of
#: an unknown password, with the parameters below.
NOBODY_HASH = (
    "$argon2id$v=19$m=65536,t=3,p=1$xT1uq3S0C8a5o0gqN2Y0nA"
    "$Zt0m6H2bq7m8oJk5dGq0Cw3m8Q6cWb1dJYw0pYyqB5E"
)


class TooManyAtOnceError(Exception):
    """Too many passwords are being verified; the caller has to retry."""


class Passwords:
    """Hashes and verifies."""

    def __init__(self) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=1)
        self._executor = ThreadPoolExecutor(AT_ONCE_MAX, thread_name_prefix="headrace-password")
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """Hash a new password.

        Raises:
            TooManyAtOnceError: try again in a moment.
        """
        return str(await self._run(self._hasher.hash, password))

    async def matches(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is correct; takes as long when there is no hash.

        Raises:
            TooManyAtOnceError: try again in a moment.
        """
        right = await self._run(self._verify, password_hash or NOBODY_HASH, password)
        return bool(right) and password_hash is not None

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async def _run(self, work: object, *values: str) -> object:
        if self._waiting >= WAITING_MAX:
            raise TooManyAtOnceError
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, work, *values)  # type: ignore[arg-type]
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Wait for running hashes to finish."""
        self._executor.shutdown(wait=False, cancel_futures=True)

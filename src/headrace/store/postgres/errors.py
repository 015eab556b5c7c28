"""What an error of PostgreSQL, or of the way to it, means for the caller. Decided here alone."""

from __future__ import annotations

import asyncpg

from headrace.store.contract import StoreBusyError, StoreError, StoreFullError, StoreRowError

#: A transaction that lost against another one and may simply be run again.
RETRIED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)

#: Errors that are about one row and its values, not about the server.
ROW_ERRORS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    UnicodeError,
)

#: What the way to the server raises: refused, reset, closed, not in time.
_UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)


def is_error(error: BaseException) -> bool:
    """Whether the error is the database's, so that `store_error` can say what it means."""
    return isinstance(error, (asyncpg.PostgresError, *_UNREACHABLE, *ROW_ERRORS))


def store_error(error: BaseException) -> StoreError:
    """What the error means for the caller."""
    if isinstance(error, StoreError):
        return error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, (asyncpg.QueryCanceledError, TimeoutError)):
        return StoreBusyError("The query took too long; narrow it down.")
    if isinstance(error, asyncpg.DiskFullError):
        return StoreFullError("The disk of the database is full.")
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return StoreBusyError("The database takes no more connections.")
    # Before the row errors: asyncpg gives misuse and bad values a class that is both.
    if isinstance(error, ROW_ERRORS):
        return StoreRowError(text)
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return StoreError("The database is a standby or read-only now.")
    if isinstance(error, _UNREACHABLE):
        return StoreError(f"The database is out of reach: {text}")
    return StoreError(text)

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

#: The first that fits counts. Row errors come before what is out of reach: asyncpg gives bad values
#: a class that is both.
_MEANINGS: tuple[tuple[tuple[type[BaseException], ...], type[StoreError], str], ...] = (
    (
        (asyncpg.QueryCanceledError, TimeoutError),
        StoreBusyError,
        "The query took too long; narrow it down.",
    ),
    ((asyncpg.DiskFullError,), StoreFullError, "The disk of the database is full."),
    (
        (asyncpg.TooManyConnectionsError,),
        StoreBusyError,
        "The database takes no more connections.",
    ),
    (ROW_ERRORS, StoreRowError, "{}"),
    (
        (asyncpg.ReadOnlySQLTransactionError,),
        StoreError,
        "The database is a standby or read-only now.",
    ),
    (_UNREACHABLE, StoreError, "The database is out of reach: {}"),
)


def is_error(error: BaseException) -> bool:
    """Whether the error is the database's, so that `store_error` can say what it means."""
    return isinstance(error, (asyncpg.PostgresError, *_UNREACHABLE, *ROW_ERRORS))


def store_error(error: BaseException) -> StoreError:
    """What the error means for the caller."""
    if isinstance(error, StoreError):
        return error
    for kinds, kind, text in _MEANINGS:
        if isinstance(error, kinds):
            return kind(text.format(f"{type(error).__name__}: {error}"))
    return StoreError(f"{type(error).__name__}: {error}")

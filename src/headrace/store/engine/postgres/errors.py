"""What an error of PostgreSQL, or of the way to it, means for the caller. Decided here alone."""

from __future__ import annotations

import re

import asyncpg

from headrace.store.contract.events import StoreBusyError, StoreError, StoreFullError, StoreRowError

#: A transaction that lost against another one and may simply be run again.
RETRIED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)

#: Errors that are about one row and its values, not about the server.
ROW_ERRORS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    UnicodeError,
)

#: How a cluster words a violation that one of its nodes met while rows were copied to it; the class
#: of the error then says no more than that something went wrong inside.
_VIOLATION = re.compile(r"violates (unique|check|not-null|exclusion) constraint")

#: What the way to the server raises: refused, reset, closed, not in time.
_UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)

#: The first that fits counts, after the row errors: asyncpg gives bad values a class that is also
#: one of a broken way.
_MEANINGS: tuple[tuple[tuple[type[BaseException], ...], type[StoreError], str], ...] = (
    (
        (asyncpg.QueryCanceledError,),
        StoreBusyError,
        "The database has cancelled the statement: {}",
    ),
    ((TimeoutError,), StoreBusyError, "The database has not answered in time."),
    ((asyncpg.DiskFullError,), StoreFullError, "The disk of the database is full."),
    (
        (asyncpg.TooManyConnectionsError,),
        StoreBusyError,
        "The database takes no more connections.",
    ),
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


def is_row_error(error: BaseException) -> bool:
    """Whether the error is about one row and its values."""
    if isinstance(error, asyncpg.InternalServerError):
        return _VIOLATION.search(str(error)) is not None
    return isinstance(error, ROW_ERRORS)


def store_error(error: BaseException) -> StoreError:
    """What the error means for the caller."""
    if isinstance(error, StoreError):
        return error
    if is_row_error(error):
        return StoreRowError(f"{type(error).__name__}: {error}")
    for kinds, kind, text in _MEANINGS:
        if isinstance(error, kinds):
            return kind(text.format(f"{type(error).__name__}: {error}"))
    return StoreError(f"{type(error).__name__}: {error}")

"""Maps errors of PostgreSQL and of the network to store errors. Decided only here."""

from __future__ import annotations

import re

import asyncpg

from headrace.store.contract.errors import StoreBusyError, StoreError, StoreFullError, StoreRowError

#: Conflicts with another transaction; the transaction can be retried.
RETRIED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)

#: Errors that are about one row and its values, not about the server.
ROW_ERRORS = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    UnicodeError,
)

#: How a cluster words a violation on one of its nodes while rows are copied to it; the class of the
#: error is then only a generic internal error.
_VIOLATION = re.compile(r"violates (unique|check|not-null|exclusion) constraint")

#: Errors of the network: refused, reset, closed, timed out.
_UNREACHABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)

#: The first match counts, after the row errors: asyncpg gives bad values a class that is also used
#: for a broken connection.
_MEANINGS: tuple[tuple[tuple[type[BaseException], ...], type[StoreError], str], ...] = (
    (
        (asyncpg.QueryCanceledError,),
        StoreBusyError,
        "The database has cancelled the statement: {}",
    ),
    ((TimeoutError,), StoreBusyError, "The database did not respond in time."),
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
    """Whether the error is the database's, so that `store_error` can map it."""
    return isinstance(error, (asyncpg.PostgresError, *_UNREACHABLE, *ROW_ERRORS))


def is_row_error(error: BaseException) -> bool:
    """Whether the error is about one row and its values."""
    if isinstance(error, asyncpg.InternalServerError):
        return _VIOLATION.search(str(error)) is not None
    return isinstance(error, ROW_ERRORS)


def store_error(error: BaseException) -> StoreError:
    """The store error for an error of the database."""
    if isinstance(error, StoreError):
        return error
    if is_row_error(error):
        return StoreRowError(f"{type(error).__name__}: {error}")
    for kinds, kind, text in _MEANINGS:
        if isinstance(error, kinds):
            return kind(text.format(f"{type(error).__name__}: {error}"))
    return StoreError(f"{type(error).__name__}: {error}")

"""Errors of stores."""

from __future__ import annotations


class StoreError(Exception):
    """The store is unavailable; the caller may retry."""


class StoreBusyError(StoreError):
    """Too many reads at once, or one that took too long."""


class StoreRowError(StoreError):
    """The store rejects a row for its content; a retry will not help."""


class StoreFullError(StoreError):
    """The disk is full; reads continue, and writes work again once there is space."""


class StoreFailedError(StoreError):
    """The disk failed (such as a failed fsync). Nothing more may be written: stop and restart."""


class StoreSetupError(StoreError):
    """The store cannot be opened as it is; the message says what to do."""


class LeadershipLostError(StoreError):
    """Another worker is the leader; nothing was written."""


class SubscribersChangedError(StoreError):
    """The batch was planned for outdated subscribers; nothing was written."""


class StoreConflictError(Exception):
    """Something of that name exists; `args[0]` is the field."""

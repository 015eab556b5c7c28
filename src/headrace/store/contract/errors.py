"""What a store says when it cannot do what it is asked."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot do it now; the caller may try again."""


class StoreBusyError(StoreError):
    """Too many reads at once, or one that took too long."""


class StoreRowError(StoreError):
    """The store refuses a row for what is in it; trying again will not help."""


class StoreFullError(StoreError):
    """No room on the disk; reads go on, and writes work again once there is room."""


class StoreFailedError(StoreError):
    """The disk lied or died (a failed fsync). Nothing may be written any more: stop and restart."""


class StoreSetupError(StoreError):
    """The store cannot be opened as it is; the message says what to do."""


class LeadershipLostError(StoreError):
    """Another worker processes now; nothing was written."""


class SubscribersChangedError(StoreError):
    """The batch was planned for subscribers as they are no more; nothing was written."""


class StoreConflictError(Exception):
    """Something of that name is there already; `args[0]` is the field."""

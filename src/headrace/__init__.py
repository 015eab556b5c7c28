"""Headrace: accept events durably, once, and see each one through to its end.

For handlers: `from headrace import on, Permanent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.version import VERSION

if TYPE_CHECKING:
    from headrace.delivery.handlers import Event, Permanent, on

__all__ = ["Event", "Permanent", "__version__", "on"]

__version__ = VERSION


def __getattr__(name: str) -> Any:
    # Imported on first use: only handlers need it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from headrace.delivery import handlers  # noqa: PLC0415

    return getattr(handlers, name)

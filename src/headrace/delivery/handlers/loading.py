"""Imports the modules that register handlers (`--handlers your.module`)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from headrace.delivery.handlers.registry import HandlerRegistry, registered


class HandlersNotLoadedError(Exception):
    """A module of handlers cannot be used; the message names it and the reason."""


def load_handlers(
    modules: Sequence[str],
    directory: Path | None = None,
    registry: HandlerRegistry = registered,
) -> HandlerRegistry:
    """Import modules by their dotted names, in order.

    Args:
        modules: such as `shop.handlers`.
        directory: added first to the import path, as `python -m` does with the current one.
        registry: where their handlers are expected.

    Returns:
        The registry.

    Raises:
        HandlersNotLoadedError: a module is absent, fails, or registers nothing.
    """
    if directory is not None and str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    for name in modules:
        already = name in sys.modules
        before = len(registry)
        try:
            importlib.import_module(name)
        # A module that calls `sys.exit` must not end the worker without an error.
        except (Exception, SystemExit) as error:
            message = f"--handlers {name}: {type(error).__name__}: {error}"
            raise HandlersNotLoadedError(message) from error
        if not already and len(registry) == before:
            message = f'--handlers {name}: registers no handler; decorate one with @on("…")'
            raise HandlersNotLoadedError(message)
    return registry

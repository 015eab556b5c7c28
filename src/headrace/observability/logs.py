"""Structured logs: one line a happening, its name from `observability.events`, and fields."""

from __future__ import annotations

import logging
import sys

import structlog

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logs(level: str, style: str) -> None:
    """Write to standard error, as JSON or for a terminal.

    Raises:
        ValueError: unknown level or style.
    """
    if level not in _LEVELS:
        message = f"HEADRACE_LOG_LEVEL must be one of {', '.join(_LEVELS)}, got {level!r}"
        raise ValueError(message)
    if style not in ("auto", "json", "console"):
        message = f"HEADRACE_LOG_FORMAT must be auto, json or console, got {style!r}"
        raise ValueError(message)
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    # JSON escapes line ends, so no field of a caller can start a line of its own.
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )

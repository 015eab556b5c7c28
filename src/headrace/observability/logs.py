"""Structured logs: each line is an event name from `observability.events`, and fields."""

from __future__ import annotations

import logging
import sys

import structlog

from headrace.observability.events import LIBRARY_WARNED
from headrace.observability.repeats import Repeats

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
    # JSON escapes line ends, so no field of a caller can start a new line.
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            Repeats(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries(logging.WARNING)], force=True)


class _Libraries(logging.Handler):
    """Logs messages of libraries as events, without a stack trace: each is one line."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._log = structlog.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        words = record.getMessage().partition("\n")[0]
        if error is not None:
            words = f"{words}: {type(error).__name__}: {error}"
        self._log.warning(LIBRARY_WARNED, library=record.name, error=words)

"""Ends a process that was told to stop and does not come to its end."""

from __future__ import annotations

import os
import threading

from headrace.cli.shared.failure import ExitCode

#: What the end of the process itself may take of the time for a stop.
_EXIT_SECONDS = 0.5


def limit_the_stop(seconds_max: float) -> None:
    """End the process `seconds_max` from now, whatever it waits for by then.

    A disk or a database that never answers must not keep it: nothing unanswered was promised.
    """
    timer = threading.Timer(seconds_max - _EXIT_SECONDS, os._exit, (ExitCode.FAILED,))
    timer.daemon = True
    timer.start()

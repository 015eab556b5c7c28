"""Ends a process that does not finish stopping in time."""

from __future__ import annotations

import os
import threading

from headrace.cli.shared.failure import ExitCode

#: Part of the stop's time limit reserved for the exit of the process itself.
_EXIT_SECONDS = 0.5


def limit_the_stop(seconds_max: float) -> None:
    """End the process `seconds_max` from now, whatever it is waiting for.

    A disk or database that never responds must not block it: nothing unacknowledged is promised.
    """
    timer = threading.Timer(seconds_max - _EXIT_SECONDS, os._exit, (ExitCode.FAILED,))
    timer.daemon = True
    timer.start()

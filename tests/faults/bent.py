"""Headrace in a process that something is wrong with, or whose leases are short.

`TEST_CLOCK_OFF_S`: how far the clock of this node is off. `TEST_DUTY_SECONDS`: for how long a
worker may be silent.
"""

from __future__ import annotations

import os
import time

from headrace.cli import main
from headrace.pipeline.processing import processor

if __name__ == "__main__":
    off_ns = int(os.environ.get("TEST_CLOCK_OFF_S", "0")) * 1_000_000_000
    true_ns = time.time_ns
    vars(time)["time_ns"] = lambda: true_ns() + off_ns
    vars(processor)["LEADERSHIP_SECONDS"] = float(os.environ.get("TEST_DUTY_SECONDS", "15"))
    main()

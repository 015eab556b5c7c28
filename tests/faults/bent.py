"""Headrace in a process with a wrong clock or short leases.

`TEST_CLOCK_OFF_S`: offset of this node's clock. `TEST_LEADERSHIP_SECONDS`: lease of leadership.
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
    vars(processor)["LEADERSHIP_SECONDS"] = float(os.environ.get("TEST_LEADERSHIP_SECONDS", "15"))
    main()

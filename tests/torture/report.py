"""What a run of kills found, for people and machines."""

from __future__ import annotations

import msgspec

from tests.torture.check import Findings


class Report(msgspec.Struct, kw_only=True):
    """One run, for people and machines."""

    seed: int
    kills: int
    kills_while_starting: int
    seconds: float
    events_acknowledged: int
    requests_unanswered: int
    restart_seconds_p50: float
    restart_seconds_max: float
    findings: Findings

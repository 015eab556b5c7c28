"""Alerts for operators: what counts as bad, and when an alert starts and ends.

Each reading is `bad`, `good` or between the two. An alert starts after its readings have been bad
for a while and ends after they have been good for a while; a reading between the limits does
neither. So a value that moves around a limit starts one alert, not many.

quiet --(bad)--> pending --(bad for `start_s`)--> open --(good for `end_s`)--> ended
pending --(good)--> quiet
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

_SECOND_US = 1_000_000
#: Of a detail.
DETAIL_CHARACTERS_MAX = 500


class Level(StrEnum):
    """What a reading says."""

    GOOD = "good"
    BETWEEN = "between"
    BAD = "bad"


class AlertState(StrEnum):
    """State of an alert as it is stored."""

    PENDING = "pending"
    OPEN = "open"
    ENDED = "ended"


class Edge(StrEnum):
    """What operators are notified of."""

    STARTED = "started"
    ENDED = "ended"


class AlertKind(StrEnum):
    """What can go wrong; a closed list."""

    BOUNCE_RATE = "bounce_rate"
    COMPLAINT_RATE = "complaint_rate"
    SENDER_REJECTED = "sender_rejected"
    RELAY_FAILING = "relay_failing"
    MAIL_QUEUE_AGE = "mail_queue_age"
    UNKNOWN_OUTCOMES = "unknown_outcomes"
    SUBSCRIBER_FAILING = "subscriber_failing"
    SUBSCRIBER_DISABLED = "subscriber_disabled"
    DEAD_LETTERS_GROWING = "dead_letters_growing"
    EVENT_QUEUE_AGE = "event_queue_age"
    DISK_LOW = "disk_low"
    WORKER_GONE = "worker_gone"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of alert."""

    title: str
    #: What to do, in a sentence.
    fix: str
    #: Seconds that readings are bad before it starts, and good before it ends.
    start_s: int = 120
    end_s: int = 600
    #: Values from which a reading is bad, and up to which it is good. Reversed: a low value is bad.
    bad_from: float = 1
    good_to: float = 0

    def level(self, value: float) -> Level:
        """What a value says."""
        if self.bad_from >= self.good_to:
            bad, good = value >= self.bad_from, value <= self.good_to
        else:
            bad, good = value <= self.bad_from, value >= self.good_to
        return Level.BAD if bad else Level.GOOD if good else Level.BETWEEN


RULES: dict[AlertKind, Rule] = {
    AlertKind.BOUNCE_RATE: Rule(
        title="Many mails bounce",
        fix="Pause marketing mail of the domain and find out where the addresses come from.",
        end_s=3600,
        bad_from=0.05,
        good_to=0.03,
    ),
    AlertKind.COMPLAINT_RATE: Rule(
        title="Many recipients complain",
        fix="Pause marketing mail of the domain; send only to people who asked for it.",
        end_s=3600,
        bad_from=0.003,
        good_to=0.001,
    ),
    AlertKind.SENDER_REJECTED: Rule(
        title="A receiver rejects a sending domain",
        fix="Open the page of the domain: it shows the response and what to do about it.",
        start_s=0,
        end_s=0,
    ),
    AlertKind.RELAY_FAILING: Rule(
        title="The mail relay does not accept mail",
        fix="Check the relay, and its user and password in HEADRACE_MAIL_RELAY; mail waits.",
        end_s=60,
    ),
    AlertKind.MAIL_QUEUE_AGE: Rule(
        title="Mail waits too long",
        fix="Check that a worker runs and the relay accepts mail; mail that waits is not lost.",
        bad_from=900,
        good_to=300,
    ),
    AlertKind.UNKNOWN_OUTCOMES: Rule(
        title="Messages with an unknown outcome wait",
        fix="Filter the messages by status unknown and settle them: sent, failed or retry.",
        end_s=0,
    ),
    AlertKind.SUBSCRIBER_FAILING: Rule(
        title="A subscriber fails",
        fix="Open the subscriber for its last responses; deliveries are retried meanwhile.",
        start_s=300,
        end_s=300,
    ),
    AlertKind.SUBSCRIBER_DISABLED: Rule(
        title="A subscriber was disabled",
        fix="Fix the cause and enable it; its deliveries become dead letters after 72 hours.",
        start_s=0,
        end_s=0,
    ),
    AlertKind.DEAD_LETTERS_GROWING: Rule(
        title="Dead letters grow",
        fix="Fix the cause that the dead letters name, then replay them.",
        start_s=0,
        end_s=900,
        bad_from=10,
        good_to=2,
    ),
    AlertKind.EVENT_QUEUE_AGE: Rule(
        title="Events wait too long",
        fix="Check that a worker runs and keeps up; add workers on PostgreSQL.",
        bad_from=300,
        good_to=60,
    ),
    AlertKind.DISK_LOW: Rule(
        title="The disk is nearly full",
        fix="Free space or enlarge the disk; ingest is rejected before it is full.",
        # Multiples of HEADRACE_DISK_FREE_MIN_BYTES.
        bad_from=2,
        good_to=3,
    ),
    AlertKind.WORKER_GONE: Rule(
        title="No worker runs",
        fix="Start headrace serve or headrace worker; events are accepted and wait meanwhile.",
        start_s=60,
        end_s=30,
    ),
}


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What is known now about one subject."""

    #: 0: the whole instance.
    project_id: int
    kind: AlertKind
    #: A domain, the id of a subscriber, a relay; empty where there is only one.
    subject: str = ""
    level: Level
    #: One sentence without personal data.
    detail: str = ""

    @property
    def key(self) -> tuple[int, str, str]:
        """What an alert is about; one alert at a time is current for it."""
        return self.project_id, self.kind.value, self.subject


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that is pending or open."""

    state: AlertState
    #: Pending: since when readings are bad. Open: since when they are good; None: they are not.
    since_us: int | None


def step(
    current: Current | None, level: Level, now_us: int, rule: Rule
) -> tuple[Current | None, Edge | None]:
    """What follows from a reading.

    Args:
        current: None while all is quiet.
        level: of the reading; `good` where the subject is gone.

    Returns:
        The alert after it (None: quiet again), and whether it has just started or ended.
    """
    if current is None:
        if level is not Level.BAD:
            return None, None
        current = Current(state=AlertState.PENDING, since_us=now_us)
    # A clock that was set back must not prolong a wait.
    since_us = None if current.since_us is None else min(current.since_us, now_us)
    if current.state is AlertState.PENDING:
        return _pending(since_us or now_us, level, now_us, rule)
    if level is not Level.GOOD:
        return Current(state=AlertState.OPEN, since_us=None), None
    since_us = now_us if since_us is None else since_us
    if now_us - since_us >= rule.end_s * _SECOND_US:
        return None, Edge.ENDED
    return Current(state=AlertState.OPEN, since_us=since_us), None


def _pending(
    since_us: int, level: Level, now_us: int, rule: Rule
) -> tuple[Current | None, Edge | None]:
    if level is Level.GOOD:
        return None, None
    if level is Level.BAD and now_us - since_us >= rule.start_s * _SECOND_US:
        return Current(state=AlertState.OPEN, since_us=None), Edge.STARTED
    return Current(state=AlertState.PENDING, since_us=since_us), None

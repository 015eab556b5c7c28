"""Circuit breakers shared by all workers, stored as text with the subscriber."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from headrace.delivery.contract import AttemptOutcome, Delivered, FailureCause
from headrace.domain.deliveries.breaker import Breaker, BreakerPolicy, BreakerState, Permit

#: The subscriber responded, but did not accept the event.
_RESPONDED = frozenset(
    {
        FailureCause.REJECTED,
        FailureCause.GONE,
        FailureCause.REDIRECTED,
        FailureCause.HANDLER_RAISED,
        FailureCause.HANDLER_PERMANENT,
    }
)

#: The text holds the state of a breaker, whatever the policy is.
_ANY_POLICY = BreakerPolicy()


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    state: BreakerState
    generation: int
    failures: int = 0
    openings: int = 0
    pause_until_us: int = 0
    probe_successes: int = 0
    probes_begun_us: tuple[int, ...] = ()


def breaker_of(text: str | None, policy: BreakerPolicy) -> Breaker:
    """Decode a breaker; None and unknown text give a closed one."""
    if text is None:
        return Breaker(policy=policy)
    try:
        stored = msgspec.json.decode(text, type=_Stored)
    except msgspec.MsgspecError:
        return Breaker(policy=policy)
    return Breaker(policy=policy, **msgspec.structs.asdict(stored))


def pauses(text: str) -> bool:
    """Whether a breaker is not closed: it lets nothing through, or only probes."""
    return breaker_of(text, _ANY_POLICY).state is not BreakerState.CLOSED


def breaker_text(breaker: Breaker) -> str | None:
    """Encode a breaker; None for one that is closed without a failure."""
    if breaker.state is BreakerState.CLOSED and not breaker.failures:
        return None
    stored = _Stored(
        state=breaker.state,
        generation=breaker.generation,
        failures=breaker.failures,
        openings=breaker.openings,
        pause_until_us=breaker.pause_until_us,
        probe_successes=breaker.probe_successes,
        probes_begun_us=breaker.probes_begun_us,
    )
    return msgspec.json.encode(stored).decode()


def after_attempts(
    breaker: Breaker,
    attempts: Iterable[tuple[Permit, AttemptOutcome | None]],
    now_us: int,
    jitter: float,
) -> Breaker:
    """Report ended attempts to a breaker; None: cut short, which says nothing."""
    for permit, outcome in attempts:
        if isinstance(outcome, Delivered) or (outcome and outcome.cause in _RESPONDED):
            breaker = breaker.succeeded(permit)
        elif outcome is not None and outcome.cause.subscriber_down:
            breaker = breaker.failed(permit, now_us, jitter, outcome.retry_after_s)
        else:
            breaker = breaker.cancelled(permit)
    return breaker

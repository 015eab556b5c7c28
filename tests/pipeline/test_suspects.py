"""Which subscribers are kept out of the worker, and the consequences of a crash."""

from __future__ import annotations

import pytest

from headrace.delivery.contract import (
    AttemptOutcome,
    Delivered,
    Failed,
    FailureCause,
    HandlerTarget,
    Isolation,
)
from headrace.domain.access.policies import DEFAULTS
from headrace.domain.deliveries.breaker import Permit
from headrace.domain.deliveries.retry import RetryPolicy, delivery_retry
from headrace.pipeline.delivering.results import Ended, record_of
from headrace.pipeline.delivering.suspects import KEPT_OUT_US, Suspects
from headrace.store.contract.deliveries import AttemptFailure, ClaimedDelivery
from headrace.store.contract.processing import CRASHES_MAX
from tests.delivery.samples import EVENT
from tests.support.deliveries import Clock

WELL = Delivered(duration_us=1)


def failed(cause: FailureCause) -> Failed:
    return Failed(cause=cause, message="it", duration_us=1)


def claimed(crashes: int = 0, *, subscriber: str = "a", attempt: int = 1) -> ClaimedDelivery:
    return ClaimedDelivery(
        number=1,
        id="d",
        project_id=1,
        subscriber_id=subscriber,
        attempt=attempt,
        claim=1,
        crashes=crashes,
        event=EVENT,
        target=HandlerTarget(name=subscriber),
    )


def test_a_suspect_leaves_the_worker_and_the_last_try_has_a_process_for_itself() -> None:
    found = [Suspects(Clock()).isolation(claimed(crashes)) for crashes in range(CRASHES_MAX)]
    assert found == [Isolation.NONE, *[Isolation.SHARED] * (CRASHES_MAX - 2), Isolation.NEW]


def test_a_handler_stays_out_of_the_worker_until_a_suspect_ended_well() -> None:
    suspects = Suspects(Clock())
    suspects.add(["a"])
    assert suspects.isolation(claimed()) is Isolation.SHARED
    assert suspects.isolation(claimed(subscriber="b")) is Isolation.NONE
    suspects.ended(claimed(), failed(FailureCause.INTERNAL))
    assert suspects.isolation(claimed()) is Isolation.SHARED
    suspects.ended(claimed(), failed(FailureCause.HANDLER_RAISED))
    assert suspects.isolation(claimed()) is Isolation.NONE
    assert suspects.isolation(claimed(1)) is Isolation.SHARED
    assert suspects.isolation(claimed()) is Isolation.SHARED


def test_a_handler_that_ended_its_process_stays_out_for_a_while() -> None:
    clock = Clock()
    suspects = Suspects(clock)
    suspects.ended(claimed(), failed(FailureCause.HANDLER_DIED))
    suspects.add(["a"])
    suspects.ended(claimed(), WELL)
    assert suspects.isolation(claimed()) is Isolation.SHARED
    clock.now_us += KEPT_OUT_US
    suspects.ended(claimed(), WELL)
    assert suspects.isolation(claimed()) is Isolation.NONE


def failure_of(
    outcome: AttemptOutcome, crashes: int, *, attempt: int = 1, policy: RetryPolicy | None = None
) -> AttemptFailure | None:
    permit = Permit(generation=0, probe=False)
    ended = Ended(claimed(crashes, attempt=attempt), permit, 0, outcome)
    return record_of(ended, policy or delivery_retry(DEFAULTS), 0.5).failure


@pytest.mark.parametrize("crashes", range(CRASHES_MAX - 1))
def test_a_crash_is_counted_and_retried_at_once(crashes: int) -> None:
    failure = failure_of(failed(FailureCause.HANDLER_DIED), crashes)
    assert failure is not None
    assert (failure.cause, failure.retry_in_us, failure.crashes) == ("handler_died", 0, crashes + 1)


def test_the_third_crash_is_poison() -> None:
    failure = failure_of(failed(FailureCause.HANDLER_DIED), CRASHES_MAX - 1)
    assert failure is not None
    assert (failure.cause, failure.retry_in_us) == ("poison", None)
    assert failure.error == "it; that happened 3 times"


def test_a_crash_at_the_last_attempt_is_the_end() -> None:
    policy = delivery_retry(DEFAULTS)
    failure = failure_of(
        failed(FailureCause.HANDLER_DIED), 0, attempt=policy.max_attempts, policy=policy
    )
    assert failure is not None
    assert (failure.cause, failure.retry_in_us) == ("handler_died", None)


def test_result_clears_a_suspect_and_an_internal_error_does_not() -> None:
    raised = failure_of(failed(FailureCause.HANDLER_RAISED), 2)
    internal = failure_of(failed(FailureCause.INTERNAL), 2)
    assert raised is not None
    assert internal is not None
    assert (raised.crashes, internal.crashes) == (0, 2)
    assert failure_of(WELL, 2) is None

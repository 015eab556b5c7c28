"""What a response of a push service means, and what follows."""

from __future__ import annotations

import pytest

from headrace.domain.deliveries.retry import RetryPolicy
from headrace.domain.messages.kinds import MessageKind, MessageStatus
from headrace.domain.messages.settlement import Progress, Settlement
from headrace.domain.push.outcomes import PushAnswer, PushResult, result_of_status, settle_push
from headrace.pipeline.push.service_pacing import (
    FAILURES_MAX,
    FIRST_PAUSE_US,
    PAUSE_MAX_US,
    ServicePacing,
)

POLICY = RetryPolicy(base_s=5, factor=4, cap_s=43_200, max_attempts=14)
HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    ("status", "result"),
    [
        *((200, PushResult.SENT), (201, PushResult.SENT), (202, PushResult.SENT)),
        *((404, PushResult.GONE), (410, PushResult.GONE), (413, PushResult.TOO_LARGE)),
        *((401, PushResult.SENDER_REFUSED), (403, PushResult.SENDER_REFUSED)),
        *((400, PushResult.REQUEST_REFUSED), (405, PushResult.REQUEST_REFUSED)),
        *((301, PushResult.REQUEST_REFUSED), (429, PushResult.THROTTLED)),
        *((500, PushResult.SERVICE_UNAVAILABLE), (503, PushResult.SERVICE_UNAVAILABLE)),
        (408, PushResult.SERVICE_UNAVAILABLE),
    ],
)
def test_a_status_is_read_as_the_services_mean_it(status: int, result: PushResult) -> None:
    assert result_of_status(status) is result


def settled(
    result: PushResult, *, after_us: int = 0, retry_after_s: float | None = None
) -> Settlement:
    progress = Progress(kind=MessageKind.TRANSACTIONAL, attempt=1, first_due_us=0)
    answer = PushAnswer(result=result, retry_after_s=retry_after_s)
    return settle_push(answer, progress, now_us=after_us, policy=POLICY, jitter=0.5)


@pytest.mark.parametrize(
    "result",
    [
        *(PushResult.THROTTLED, PushResult.SERVICE_UNAVAILABLE, PushResult.UNREACHABLE),
        *(PushResult.KEY_UNUSABLE, PushResult.UNKNOWN),
    ],
)
def test_a_temporary_outcome_is_retried_until_the_horizon(result: PushResult) -> None:
    early = settled(result)
    assert early.status is MessageStatus.DEFERRED
    assert early.retry_at_us is not None
    assert early.retry_at_us > 0
    late = settled(result, after_us=24 * HOUR_US)
    assert (late.status, late.retry_at_us) == (MessageStatus.EXPIRED, None)


def test_a_service_is_called_when_it_asked_to_be() -> None:
    assert settled(PushResult.THROTTLED, retry_after_s=90).retry_at_us == 90_000_000
    assert settled(PushResult.SERVICE_UNAVAILABLE, retry_after_s=1).retry_at_us == 5_000_000


@pytest.mark.parametrize("result", [each for each in PushResult if each.unsubscribes])
def test_a_subscription_that_ended_is_never_used_again(result: PushResult) -> None:
    assert settled(result) == Settlement(status=MessageStatus.BOUNCED)


def test_every_result_is_settled() -> None:
    assert {settled(each).status for each in PushResult} == {
        *(MessageStatus.SENT, MessageStatus.BOUNCED, MessageStatus.FAILED),
        *(MessageStatus.BLOCKED, MessageStatus.DEFERRED),
    }


def test_a_service_that_fails_in_a_row_is_left_alone_for_longer_and_longer() -> None:
    pacing, now_us = ServicePacing(), 1_000_000_000
    down = PushResult.UNREACHABLE
    closed = [pacing.ended("push.example", down, None, now_us) for _ in range(FAILURES_MAX)]
    assert closed == [False] * (FAILURES_MAX - 1) + [True]
    assert pacing.free_us("push.example") == now_us + FIRST_PAUSE_US
    assert pacing.free_us("other.example") == 0
    # Attempts that began before do not count.
    assert not pacing.ended("push.example", down, None, now_us)
    assert pacing.free_us("push.example") == now_us + FIRST_PAUSE_US
    for _ in range(20):
        now_us = pacing.free_us("push.example")
        assert not pacing.ended("push.example", down, None, now_us)
    assert pacing.free_us("push.example") == now_us + PAUSE_MAX_US
    now_us = pacing.free_us("push.example")
    pacing.ended("push.example", PushResult.SENT, None, now_us)
    pacing.ended("push.example", down, None, now_us)
    assert pacing.free_us("push.example") <= now_us


def test_a_slower_pace_holds_for_as_long_as_the_service_says() -> None:
    pacing = ServicePacing()
    pacing.ended("push.example", PushResult.THROTTLED, 30.0, 0)
    assert pacing.free_us("push.example") == 30_000_000
    assert not pacing.ended("push.example", PushResult.GONE, None, 0)
    assert pacing.free_us("push.example") == 30_000_000

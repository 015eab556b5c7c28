from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from headrace.domain.deliveries.breaker import Breaker, BreakerPolicy, BreakerState, Permit

SECOND = 1_000_000
POLICY = BreakerPolicy(
    failures_to_open=3,
    pause_base_s=10,
    pause_cap_s=60,
    pause_min_s=1,
    probes_max=1,
    probes_to_close=2,
    probe_timeout_s=30,
)


def granted(breaker: Breaker, now_us: int) -> tuple[Breaker, Permit]:
    breaker, permit = breaker.request(now_us)
    assert permit is not None
    return breaker, permit


def opened(now_us: int = 0, jitter: float = 0.5) -> Breaker:
    breaker = Breaker(policy=POLICY)
    for _ in range(3):
        breaker, permit = granted(breaker, now_us)
        breaker = breaker.failed(permit, now_us, jitter)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker(policy=POLICY)
    for succeeds in (False, False, True, False, False):
        breaker, permit = granted(breaker, 0)
        breaker = breaker.succeeded(permit) if succeeds else breaker.failed(permit, 0, 0.5)
    assert breaker.state is BreakerState.CLOSED
    breaker = breaker.failed(granted(breaker, 0)[1], 0, 0.5)
    assert breaker.state is BreakerState.OPEN
    assert breaker.request(0) == (breaker, None)


def test_the_pause_is_drawn_with_full_jitter_and_grows_to_its_cap() -> None:
    breaker, now_us = opened(jitter=1.0), 0
    pauses_s = []
    for _ in range(5):
        pauses_s.append((breaker.next_chance_us() - now_us) / SECOND)
        now_us = breaker.next_chance_us()
        breaker, probe = granted(breaker, now_us)
        assert probe.probe
        breaker = breaker.failed(probe, now_us, 1.0)
    assert pauses_s == [10, 20, 40, 60, 60]
    assert opened(jitter=0.0).next_chance_us() == SECOND
    assert opened(jitter=0.25).next_chance_us() == 2.5 * SECOND


def test_one_probe_at_a_time_until_enough_succeed() -> None:
    breaker = opened()
    now_us = breaker.next_chance_us()
    assert breaker.request(now_us - 1)[1] is None
    breaker, first = granted(breaker, now_us)
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.request(now_us)[1] is None
    breaker = breaker.succeeded(first)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker, second = granted(breaker, now_us)
    breaker = breaker.succeeded(second)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.openings == 0
    assert not granted(breaker, now_us)[1].probe


def test_unreported_probe_expires() -> None:
    breaker = opened()
    now_us = breaker.next_chance_us()
    breaker, _ = granted(breaker, now_us)
    again_us = breaker.next_chance_us()
    assert again_us == now_us + 30 * SECOND
    assert breaker.request(again_us - 1)[1] is None
    breaker, probe = granted(breaker, again_us)
    assert probe.probe


def test_unused_probe_is_returned() -> None:
    breaker = opened()
    now_us = breaker.next_chance_us()
    breaker, probe = granted(breaker, now_us)
    assert granted(breaker.cancelled(probe), now_us)[1].probe


def test_results_from_before_it_opened_change_nothing() -> None:
    breaker = Breaker(policy=POLICY)
    breaker, late = granted(breaker, 0)
    breaker = opened()
    for result in (breaker.succeeded(late), breaker.failed(late, 5, 0.9), breaker.cancelled(late)):
        assert result == breaker


@pytest.mark.parametrize(("asked_s", "pause_s"), [(0.0, 5), (30.0, 30), (86_400.0, 60)])
def test_a_subscriber_that_asks_to_wait_is_paused_at_once(asked_s: float, pause_s: float) -> None:
    breaker, permit = granted(Breaker(policy=POLICY), 0)
    breaker = breaker.failed(permit, 0, 0.5, retry_after_s=asked_s)
    assert breaker.state is BreakerState.OPEN
    assert breaker.next_chance_us() == pause_s * SECOND


@pytest.mark.parametrize(
    "wrong",
    [
        {"failures_to_open": 0},
        {"probes_max": 0},
        {"probes_to_close": 0},
        {"pause_min_s": 0},
        {"pause_base_s": 0.5},
        {"pause_cap_s": 5},
    ],
)
def test_a_policy_that_contradicts_itself_is_rejected(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="breaker"):
        BreakerPolicy(**wrong)  # type: ignore[arg-type]


class BreakerMachine(RuleBasedStateMachine):
    """Attempts start, end, end late or never end, while time advances."""

    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(policy=POLICY)
        self.now_us = 0

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now_us += round(seconds * SECOND)

    @rule(target=permits)
    def request(self) -> Permit:
        chance_us = self.breaker.next_chance_us()
        self.breaker, permit = self.breaker.request(self.now_us)
        assert (permit is not None) == (self.now_us >= chance_us)
        if permit is None:
            # Whatever happened, the breaker never stays open for good.
            self.now_us = self.breaker.next_chance_us()
            self.breaker, permit = granted(self.breaker, self.now_us)
        return permit

    @rule(permit=consumes(permits))
    def succeed(self, permit: Permit) -> None:
        self.breaker = self.breaker.succeeded(permit)

    @rule(permit=consumes(permits), jitter=st.floats(0, 1), asked_s=st.none() | st.floats(0, 1e6))
    def fail(self, permit: Permit, jitter: float, asked_s: float | None) -> None:
        self.breaker = self.breaker.failed(permit, self.now_us, jitter, asked_s)

    @rule(permit=consumes(permits))
    def cancel(self, permit: Permit) -> None:
        self.breaker = self.breaker.cancelled(permit)

    @invariant()
    def pauses_and_probes_are_bounded(self) -> None:
        breaker = self.breaker
        assert breaker.next_chance_us() <= self.now_us + POLICY.pause_cap_s * SECOND
        assert len(breaker.probes_begun_us) <= POLICY.probes_max
        assert breaker.failures < POLICY.failures_to_open
        assert breaker.probe_successes < POLICY.probes_to_close


TestBreakerMachine = BreakerMachine.TestCase

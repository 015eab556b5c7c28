"""The warm-up plan of a domain: a daily limit that doubles, for marketing mail alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.messages.guardrails import SPREAD_US, Decision, Facts, Reason, judge
from headrace.domain.messages.kinds import Channel, MessageKind
from headrace.domain.messages.sending_policies import SendingPolicies
from headrace.domain.messages.warm_up import DAYS_MAX, WarmUp, WarmUpChange

BEGIN = date(2026, 2, 26)
PLANS = st.builds(
    lambda start, days: WarmUp(
        daily_start=start, days=days, started_on=str(BEGIN), day=str(BEGIN), sent=0
    ),
    st.integers(1, 1_000_000),
    st.integers(1, DAYS_MAX),
)


def verdict(plan: WarmUp | None, kind: MessageKind) -> tuple[Decision, Reason | None]:
    facts = Facts(message_id="m", channel=Channel.MAIL, kind=kind, topic_id="t", warm_up=plan)
    now_us = 0 if plan is None else plan.next_day_us - 3_600_000_000
    found = judge(facts, SendingPolicies(), now_us)
    return found.decision, found.reason


@given(PLANS, st.integers(0, DAYS_MAX + 3))
def test_the_limit_doubles_each_day_until_the_plan_is_over(plan: WarmUp, passed: int) -> None:
    today = plan.on(str(BEGIN + timedelta(days=passed)))
    assert today.number == passed + 1
    expected = plan.daily_start * 2**passed if passed < plan.days else None
    assert today.ceiling == expected


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=80),
)
def test_marketing_mail_never_exceeds_the_limit_and_other_mail_always_passes(
    start: int, days: int, mails: list[tuple[int, bool]]
) -> None:
    """Each mail comes some days after the first one, and is marketing or not."""
    plan = WarmUp(daily_start=start, days=days, started_on=str(BEGIN), day=str(BEGIN))
    marketing: dict[str, int] = {}
    handed: dict[str, int] = {}
    for passed, is_marketing in sorted(mails, key=lambda one: one[0]):
        plan = plan.on(str(BEGIN + timedelta(days=passed)))
        kind = MessageKind.MARKETING if is_marketing else MessageKind.TRANSACTIONAL
        decision, reason = verdict(plan, kind)
        is_full = plan.ceiling is not None and handed.get(plan.day, 0) >= plan.ceiling
        assert (decision is Decision.PASS) == (not is_marketing or not is_full)
        if decision is Decision.PASS:
            plan = plan.counted()
            handed[plan.day] = handed.get(plan.day, 0) + 1
            marketing[plan.day] = marketing.get(plan.day, 0) + is_marketing
        else:
            assert reason is Reason.WARM_UP
        assert plan.sent == handed.get(plan.day, 0)
        assert plan.ceiling is None or marketing.get(plan.day, 0) <= plan.ceiling


def test_what_waits_is_due_at_the_beginning_of_the_next_day() -> None:
    plan = WarmUp(daily_start=1, days=3, started_on="2026-12-30", day="2026-12-31", sent=2)
    facts = Facts(
        message_id="m", channel=Channel.MAIL, kind=MessageKind.MARKETING, topic_id="t", warm_up=plan
    )
    now_us = round(datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp()) * 1_000_000
    found = judge(facts, SendingPolicies(), now_us)
    next_day_us = round(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert found.until_us is not None
    assert 0 <= found.until_us - next_day_us < SPREAD_US
    assert found.rule == "2 on day 2 of 3"


def test_a_clock_that_goes_back_does_not_begin_a_day_again() -> None:
    plan = WarmUp(daily_start=1, days=3, started_on="2026-01-01", day="2026-01-02", sent=2)
    assert plan.on("2026-01-01") == plan
    assert plan.on("2026-01-03").sent == 0


def test_a_change_keeps_the_first_day_and_the_count() -> None:
    begun = WarmUpChange(daily_start=10).applied(None, "2026-01-01")
    assert begun == WarmUp(daily_start=10, started_on="2026-01-01", day="2026-01-01")
    assert begun is not None
    held = begun.counted()
    longer = WarmUpChange(days=30).applied(held, "2026-01-01")
    assert longer == WarmUp(
        daily_start=10, days=30, started_on="2026-01-01", day="2026-01-01", sent=1
    )
    assert WarmUpChange(enabled=False).applied(longer, "2026-01-02") is None

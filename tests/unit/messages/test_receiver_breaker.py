"""The breaker of a receiver: it opens after a run of rejections, and only an acceptance closes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.messages.receiver_breaker import (
    ACCEPTED_CLOSED,
    PAUSE_FIRST_US,
    PAUSE_MAX_US,
    Acceptance,
    ReceiverBreaker,
    Rejection,
    advice_on,
    after,
)
from headrace.domain.messages.settlement import SENDER_REJECTIONS_MAX

NOW = 1_800_000_000_000_000


def rejection(message_id: str = "m") -> Rejection:
    return Rejection(message_id=message_id, code=550, status="5.7.1")


def answer(message_id: str, *, rejected: bool) -> Rejection | Acceptance:
    return rejection(message_id) if rejected else Acceptance(message_id=message_id)


def report(message_id: str = "m") -> Rejection:
    return Rejection(message_id=message_id, status="5.7.1", reported=True)


def opened_by_reports() -> ReceiverBreaker:
    """Each mail was accepted by the relay, and its rejection reported later."""
    breaker: ReceiverBreaker | None = None
    for number in range(SENDER_REJECTIONS_MAX):
        name = f"m{number}"
        assert breaker is None or breaker.opened_us is None
        breaker = after(breaker, [Acceptance(message_id=name), report(name)], NOW)
    assert breaker is not None
    assert breaker.is_open_by_reports
    return breaker


@given(st.lists(st.booleans(), max_size=40))
def test_it_is_open_exactly_after_a_run_of_rejections(results: list[bool]) -> None:
    """True: rejected; False: accepted."""
    breaker: ReceiverBreaker | None = None
    run = 0
    for number, rejected in enumerate(results):
        run = run + 1 if rejected else 0
        breaker = after(breaker, [answer(f"m{number}", rejected=rejected)], NOW + number)
        assert (breaker is not None and breaker.opened_us is not None) == (
            run >= SENDER_REJECTIONS_MAX
        )
    answers = [answer(f"m{n}", rejected=one) for n, one in enumerate(results)]
    in_one = after(None, answers, NOW)
    assert (in_one is None) == (breaker is None)


@given(st.integers(1, 30))
def test_rejected_probes_pause_longer_up_to_a_limit(probes: int) -> None:
    breaker = after(None, [rejection()] * SENDER_REJECTIONS_MAX, NOW)
    assert breaker is not None
    at_us, pauses = NOW, [breaker.until_us - NOW]
    for number in range(probes):
        at_us = breaker.until_us
        breaker = after(breaker.probed_by(f"p{number}", at_us), [rejection(f"p{number}")], at_us)
        assert breaker is not None
        pauses.append(breaker.until_us - at_us)
    assert pauses == sorted(pauses)
    assert max(pauses) <= PAUSE_MAX_US
    assert breaker.opened_us == NOW


def test_a_mail_from_before_the_opening_does_not_prolong_the_pause() -> None:
    breaker = after(None, [rejection()] * SENDER_REJECTIONS_MAX, NOW)
    assert breaker is not None
    late = after(breaker, [rejection("late")], NOW + 5)
    assert late is not None
    assert (late.until_us, late.rejections) == (breaker.until_us, SENDER_REJECTIONS_MAX + 1)


def test_reports_open_although_the_relay_accepts_the_mail() -> None:
    breaker = opened_by_reports()
    assert breaker.until_us == NOW + PAUSE_FIRST_US
    late = after(breaker, [Acceptance(message_id="m9")] * 50, NOW)
    assert late == breaker


def test_one_accepted_probe_does_not_close_after_reports_and_a_rejected_one_pauses_longer() -> None:
    breaker = opened_by_reports().probed_by("p1", NOW)
    once = after(breaker, [Acceptance(message_id="p1")], NOW)
    assert once is not None
    assert once.is_open_by_reports
    rejected = after(once, [report("p1")], NOW)
    assert rejected is not None
    assert (rejected.until_us, rejected.accepted) == (NOW + 2 * PAUSE_FIRST_US, 0)


def test_two_accepted_probes_without_a_report_close() -> None:
    breaker = opened_by_reports().probed_by("p1", NOW)
    once = after(breaker, [Acceptance(message_id="p1")], NOW)
    assert once is not None
    assert after(once.probed_by("p2", NOW), [Acceptance(message_id="p2")], NOW) is None


def test_a_delivery_report_ends_a_run_of_reports_and_of_a_probe_closes() -> None:
    some = after(None, [report()] * (SENDER_REJECTIONS_MAX - 1), NOW)
    assert after(some, [Acceptance(message_id="m", reported=True)], NOW) is None
    probed = opened_by_reports().probed_by("p1", NOW)
    assert after(probed, [Acceptance(message_id="p1", reported=True)], NOW) is None
    # Another mail was handed over before.
    assert after(probed, [Acceptance(message_id="m", reported=True)], NOW) == probed


def test_a_delivery_report_does_not_end_a_run_of_responses() -> None:
    some = after(None, [rejection()] * 4, NOW)
    assert after(some, [Acceptance(message_id="m", reported=True)], NOW) == some
    opened = after(None, [rejection()] * SENDER_REJECTIONS_MAX, NOW)
    assert after(opened, [Acceptance(message_id="m", reported=True)], NOW) == opened


def test_rare_reports_do_not_open() -> None:
    breaker: ReceiverBreaker | None = None
    for number in range(3 * SENDER_REJECTIONS_MAX):
        accepted = [Acceptance(message_id=f"a{n}") for n in range(ACCEPTED_CLOSED)]
        breaker = after(breaker, [report(f"m{number}"), *accepted], NOW)
        assert breaker is None


@given(st.lists(st.sampled_from(["response", "report", "accepted", "delivered"]), max_size=60))
def test_a_breaker_is_open_only_after_enough_rejections(results: list[str]) -> None:
    breaker: ReceiverBreaker | None = None
    for number, result in enumerate(results):
        name = f"m{number}"
        kinds: dict[str, Rejection | Acceptance] = {
            "response": rejection(name),
            "report": report(name),
            "accepted": Acceptance(message_id=name),
            "delivered": Acceptance(message_id=name, reported=True),
        }
        breaker = after(breaker, [kinds[result]], NOW + number)
        if breaker is not None:
            most = max(breaker.rejections, breaker.reported)
            assert (breaker.opened_us is not None) == (most >= SENDER_REJECTIONS_MAX)
            assert breaker.rejections + breaker.reported > 0


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        ("5.7.26", "", "Gmail"),
        ("5.7.515", "", "Microsoft"),
        ("5.7.9", "", "Yahoo"),
        ("5.7.1", "listed by Spamhaus", "block list"),
        ("5.7.1", "SPF check failed", "not authenticated"),
        ("5.7.1", "looks like spam", "taken for spam"),
        ("5.7.1", "relaying denied", "this sender"),
        (None, "", "this sender"),
    ],
)
def test_a_rejection_is_explained_with_what_to_do(
    status: str | None, text: str, words: str
) -> None:
    advice = advice_on(Rejection(message_id="m", code=550, status=status, diagnostic=text))
    assert words in advice.meaning
    assert advice.fix

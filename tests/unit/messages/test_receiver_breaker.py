"""The breaker of a receiver: it opens after a run of rejections, and only an acceptance closes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.messages.receiver_breaker import (
    PAUSE_MAX_US,
    ReceiverBreaker,
    Rejection,
    advice_on,
    after,
)
from headrace.domain.messages.settlement import SENDER_REJECTIONS_MAX

NOW = 1_800_000_000_000_000


def rejection(message_id: str = "m") -> Rejection:
    return Rejection(message_id=message_id, code=550, status="5.7.1")


@given(st.lists(st.booleans(), max_size=40))
def test_it_is_open_exactly_after_a_run_of_rejections(results: list[bool]) -> None:
    """True: rejected; False: accepted."""
    breaker: ReceiverBreaker | None = None
    run = 0
    for number, rejected in enumerate(results):
        run = run + 1 if rejected else 0
        breaker = after(breaker, [rejection(f"m{number}") if rejected else None], NOW + number)
        assert (breaker is not None and breaker.opened_us is not None) == (
            run >= SENDER_REJECTIONS_MAX
        )
    in_one = after(
        None, [rejection(f"m{n}") if one else None for n, one in enumerate(results)], NOW
    )
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

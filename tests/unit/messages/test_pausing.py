"""The emergency stop: the effect of each change on each value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.messages.kinds import Channel
from headrace.domain.messages.pausing import (
    Pause,
    PauseError,
    pause_all,
    pause_domain,
    resume_all,
    resume_domain,
    stops_of,
    value_of,
)
from headrace.domain.messages.sending_policies import parse_sending_paused


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ("none", pause_all("mail"), "mail"),
        ("push", pause_all("mail"), "all"),
        (["a.example"], pause_all("mail"), ["mail", "a.example"]),
        (["a.example"], pause_all("push"), ["push", "a.example"]),
        (["a.example"], pause_all("all"), ["mail", "push", "a.example"]),
        (["push", "a.example"], pause_all("mail"), ["mail", "push", "a.example"]),
        (["mail", "a.example"], resume_all("mail"), ["a.example"]),
        (["mail", "push", "a.example"], resume_all("push"), ["mail", "a.example"]),
        (["mail", "a.example"], resume_domain("a.example"), "mail"),
        (["mail", "push", "a.example"], resume_domain("a.example"), "all"),
        (["mail", "a.example"], resume_all("all"), "none"),
        ("push", pause_domain("a.example"), ["push", "a.example"]),
        ("all", resume_domain("a.example"), "all"),
        ("all", resume_all("mail"), "push"),
        ("all", resume_all("all"), "none"),
        ("none", resume_all("mail"), "none"),
        (["a.example"], resume_all("mail"), ["a.example"]),
        (["a.example"], resume_all("push"), ["a.example"]),
        ("none", pause_domain("a.example"), ["a.example"]),
        (["b.example"], pause_domain("a.example"), ["a.example", "b.example"]),
        (["a.example"], pause_domain("a.example"), ["a.example"]),
        ("mail", pause_domain("a.example"), ["mail", "a.example"]),
        (["a.example", "b.example"], resume_domain("a.example"), ["b.example"]),
        (["a.example"], resume_domain("a.example"), "none"),
        ("none", resume_domain("a.example"), "none"),
    ],
)
def test_a_change_pauses_or_resumes(before: Any, change: Pause, after: Any) -> None:
    assert change(before) == after


VALUES = st.builds(
    value_of,
    st.sets(st.sampled_from(Channel)),
    st.sets(st.sampled_from(["a.example", "b.example", "c.example"])),
)
CHANGES = st.sampled_from(
    [
        *((pause_all(each), resume_all(each), each) for each in Channel),
        *((pause_domain(each), resume_domain(each), each) for each in ("a.example", "b.example")),
    ]
)


@given(VALUES, CHANGES)
def test_one_stop_changes_and_all_others_stay(value: Any, change: tuple[Pause, Pause, str]) -> None:
    pause, resume, name = change
    others = set(stops_of(parse_sending_paused(value))) - {name}
    paused, resumed = (parse_sending_paused(each(value)) for each in (pause, resume))
    assert set(stops_of(paused)) == others | {name}
    assert set(stops_of(resumed)) == others


def test_a_domain_too_many_is_refused() -> None:
    domains = [f"d{n}.example" for n in range(100)]
    with pytest.raises(PauseError):
        pause_domain("a.example")(["mail", "push", *domains])
    assert pause_domain("d7.example")(["mail", *domains]) == ["mail", *sorted(domains)]

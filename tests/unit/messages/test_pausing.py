"""The emergency stop: the effect of each change on each value."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.domain.messages.pausing import (
    Pause,
    PauseError,
    pause_all,
    pause_domain,
    resume_all,
    resume_domain,
)


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ("none", pause_all("mail"), "mail"),
        ("push", pause_all("mail"), "all"),
        (["a.example"], pause_all("mail"), "mail"),
        (["a.example"], pause_all("all"), "all"),
        ("all", resume_all("mail"), "push"),
        ("all", resume_all("all"), "none"),
        ("none", resume_all("mail"), "none"),
        (["a.example"], resume_all("mail"), "none"),
        (["a.example"], resume_all("push"), ["a.example"]),
        ("none", pause_domain("a.example"), ["a.example"]),
        (["b.example"], pause_domain("a.example"), ["a.example", "b.example"]),
        (["a.example"], pause_domain("a.example"), ["a.example"]),
        ("mail", pause_domain("a.example"), "mail"),
        (["a.example", "b.example"], resume_domain("a.example"), ["b.example"]),
        (["a.example"], resume_domain("a.example"), "none"),
        ("none", resume_domain("a.example"), "none"),
    ],
)
def test_a_change_pauses_or_resumes(before: Any, change: Pause, after: Any) -> None:
    assert change(before) == after


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (["a.example"], pause_all("push")),
        ("push", pause_domain("a.example")),
        ("all", resume_domain("a.example")),
        ([f"d{n}.example" for n in range(100)], pause_domain("a.example")),
    ],
)
def test_changes_that_the_policy_cannot_express_are_rejected(before: Any, change: Pause) -> None:
    with pytest.raises(PauseError):
        change(before)

"""Bounds, types and messages of the policies."""

from __future__ import annotations

import math
from typing import Any

import pytest

from headrace.domain.access.policies import (
    BOUNDS,
    DEFAULTS,
    NAMES,
    UNITS,
    IdempotencyConflict,
    check_policy,
)

NUMBERS = sorted(BOUNDS)


def test_every_policy_has_a_unit_and_a_default_within_its_bounds() -> None:
    assert set(UNITS) == set(NAMES)
    assert set(BOUNDS) <= set(NAMES)
    for name in NAMES:
        assert check_policy(name, getattr(DEFAULTS, name)) == getattr(DEFAULTS, name)


@pytest.mark.parametrize("name", NUMBERS)
def test_bounds_are_inclusive(name: str) -> None:
    low, high = BOUNDS[name]
    whole = isinstance(getattr(DEFAULTS, name) or 1, int) and name not in (
        "retry_base_seconds",
        "retry_factor",
        "retry_cap_seconds",
    )
    step: float = 1 if whole else 0.01
    for allowed in (low, high):
        value = int(allowed) if whole else allowed
        assert check_policy(name, value) == value
        assert check_policy(name, str(value)) == value
    for refused in (low - step, high + step, -high):
        with pytest.raises(ValueError, match=UNITS[name]):
            check_policy(name, int(refused) if whole else refused)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, True, [], {}, "many", "", "1e400", "١"])
def test_non_numbers_are_rejected(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        check_policy(name, value)


@pytest.mark.parametrize("name", NUMBERS)
def test_only_a_limit_can_be_none(name: str) -> None:
    if getattr(DEFAULTS, name) is None:
        assert check_policy(name, None) is None
        assert check_policy(name, "null") is None
    else:
        with pytest.raises(ValueError, match="must be"):
            check_policy(name, None)


@pytest.mark.parametrize(("value", "found"), [(True, True), (False, False), ("true", True)])
def test_a_switch(value: Any, found: bool) -> None:
    assert check_policy("create_contacts", value) is found


@pytest.mark.parametrize("value", [2, "perhaps", None, [True]])
def test_a_switch_is_true_or_false(value: Any) -> None:
    with pytest.raises(ValueError, match="true or false"):
        check_policy("create_contacts", value)


def test_a_choice() -> None:
    assert check_policy("idempotency_conflict", "reject") is IdempotencyConflict.REJECT
    with pytest.raises(ValueError, match="return_existing or reject"):
        check_policy("idempotency_conflict", "explode")


@pytest.mark.parametrize("name", ["", "retention", "__class__", "EVENT_RETENTION_DAYS"])
def test_an_unknown_policy(name: str) -> None:
    with pytest.raises(KeyError):
        check_policy(name, 1)

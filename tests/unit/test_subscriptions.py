from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.deliveries.subscriptions import (
    PATTERNS_MAX,
    SubscriptionIndex,
    check_pattern,
    check_patterns,
    pattern_wants,
)


@pytest.mark.parametrize(
    ("pattern", "name", "is_wanted"),
    [
        ("order.completed", "order.completed", True),
        ("order.completed", "order.completed.late", False),
        ("order.completed", "order", False),
        ("order.*", "order.completed", True),
        ("order.*", "order.item.added", True),
        ("order.*", "order", False),
        ("order.*", "orders.completed", False),
        ("order.item.*", "order.item.added", True),
        ("order.item.*", "order.completed", False),
        ("*", "order.completed", True),
        ("*", "sendrealm.contact.created", True),
        ("sendrealm.*", "sendrealm.contact.created", True),
    ],
)
def test_pattern_matching(pattern: str, name: str, is_wanted: bool) -> None:
    assert check_pattern(pattern) == pattern
    assert pattern_wants(pattern, name) == is_wanted
    assert bool(SubscriptionIndex([("it", [pattern])]).match(name)) == is_wanted


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        ".",
        ".*",
        "**",
        "*.*",
        "*.completed",
        "order*",
        "order.*.added",
        "order.**",
        "order..*",
        "order.",
        "Order.*",
        "order completed",
        "order.*\n",
        "a" * 201,
        "a" * 201 + ".*",
    ],
)
def test_a_malformed_pattern_is_rejected(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"must|may"):
        check_pattern(pattern)


def test_every_problem_is_listed_with_its_place() -> None:
    patterns, problems = check_patterns(["order.*", "Order", "*", "a*"])
    assert [problem.field for problem in problems] == ["events[1]", "events[3]"]
    assert patterns == ("order.*", "Order", "*", "a*")


def test_duplicates_are_dropped_and_order_is_kept() -> None:
    assert check_patterns(["b", "a.*", "b"]) == (("b", "a.*"), [])


@pytest.mark.parametrize("count", [0, PATTERNS_MAX + 1])
def test_the_number_of_patterns_is_bounded(count: int) -> None:
    _, problems = check_patterns(["a"] * count)
    assert [problem.field for problem in problems] == ["events"]


def test_each_subscriber_matches_once_by_its_most_exact_pattern() -> None:
    index = SubscriptionIndex(
        [
            ("all", ["*"]),
            ("none", ["invoice.*"]),
            ("both", ["*", "order.*", "order.item.added"]),
            ("prefix", ["order.*", "order.item.*"]),
            ("nothing", []),
        ]
    )
    matches = index.match("order.item.added")
    assert [(match.subscriber, match.pattern) for match in matches] == [
        ("all", "*"),
        ("both", "order.item.added"),
        ("prefix", "order.item.*"),
    ]
    assert index.match("order.item.added") is matches


def test_many_names_do_not_grow_the_memory_of_an_index() -> None:
    index = SubscriptionIndex([("all", ["*"])])
    for number in range(10_000):
        assert len(index.match(f"name.{number}")) == 1
    assert len(index._remembered) <= 4096


WORDS = st.sampled_from(["a", "b", "ab", "a_", "0"])
NAMES = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
PATTERNS = st.one_of(st.just("*"), NAMES, NAMES.map(lambda name: f"{name}.*"))


@given(st.lists(st.lists(PATTERNS, max_size=4), max_size=8), st.lists(NAMES, max_size=8))
def test_the_index_agrees_with_asking_each_pattern(
    subscribers: list[list[str]], names: list[str]
) -> None:
    index = SubscriptionIndex(enumerate(subscribers))
    for name in names:
        wanted = [
            number
            for number, patterns in enumerate(subscribers)
            if any(pattern_wants(pattern, name) for pattern in patterns)
        ]
        matches = index.match(name)
        assert [match.subscriber for match in matches] == wanted
        for match in matches:
            assert match.pattern in subscribers[match.subscriber]
            assert pattern_wants(match.pattern, name)


@given(PATTERNS)
def test_every_pattern_of_the_grammar_is_accepted(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@given(st.text(max_size=20))
def test_any_text_is_accepted_or_rejected(text: str) -> None:
    _, problems = check_patterns([text])
    assert all(problem.message for problem in problems)

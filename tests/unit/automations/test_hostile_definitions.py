"""Any body sent as a definition gets a clear problem in response, at little cost."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.automations.definition.graph import Graph
from headrace.domain.automations.definition.parsing import parse_document
from headrace.domain.automations.definition.publish_checks import check_for_publish
from headrace.domain.automations.limits import PROBLEMS_MAX
from tests.support.definitions import chain, read, report_on, step


def calls_of(work: Callable[[], object]) -> int:
    """Number of function calls: a measure of work that does not depend on the machine's load."""
    count = 0

    def on_event(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(on_event)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def check(text: bytes) -> None:
    document = parse_document(text)
    if document.definition is not None:
        check_for_publish(document.definition, document.field, document.problems)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "not_json"),
        (b"  ", "not_json"),
        (b"null", "wrong_type"),
        (b"[]", "wrong_type"),
        (b'"x"', "wrong_type"),
        (b"1", "wrong_type"),
        (b"{} {}", "not_json"),
        (b'{"a": NaN}', "not_json"),
        (b'{"a": -Infinity}', "not_json"),
        (b"\xff{}", "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b"[" * 1_000_000, "too_deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "too_deep"),
        (b'{"steps": [' + b"{}," * 1_000_000 + b"{}]}", "too_large"),
        (b'{"trigger": {"event_name": "a", "event_name": "b"}}', "duplicate_member"),
        (b'{"trigger": {"event_name": "\\ud800"}}', "invalid_value"),
        (b'{"\\udc00": 1}', "invalid_value"),
        (b'{"trigger": {"event_name": "a\\u0000"}}', "invalid_value"),
        (b'{"definition": {"trigger": "' + b"x" * 300_000 + b'"}}', "too_large"),
        (b'{"definition": {}, "editor_layout": ["' + b"x" * 300_000 + b'"]}', "wrong_type"),
        (b'{"definition": {}, "editor_layout": {"a": "' + b"x" * 300_000 + b'"}}', "too_large"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_values_that_are_no_definition_are_rejected(text: bytes, code: str) -> None:
    assert code in [each.code for each in parse_document(text).problems.found]


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "9" * 5000, "1e999999999999999999999", "9007199254740993", "-0.0"]
)
def test_huge_numbers_are_read_or_rejected_and_never_changed(number: str) -> None:
    value = chain(step("one", "delay", seconds="@"), trigger={"event_name": "a"})
    value["trigger"]["filters"] = {"amount_gte": "@"}
    text = json.dumps(value, separators=(",", ":")).replace('"@"', number)
    document = parse_document(text.encode())
    fields = [each.field for each in document.problems.found]
    assert "steps[0].config.seconds" in fields
    if "trigger.filters.amount_gte" not in fields:
        assert f'"amount_gte":{number}' in document.text


def test_problems_are_listed_up_to_a_limit_and_counted() -> None:
    steps = [{"key": f"s{index}", "type": "delay", "config": {}} for index in range(200)]
    document = read(chain(*steps))
    assert len(document.problems.found) == PROBLEMS_MAX
    assert document.problems.left_out == 200 - PROBLEMS_MAX


def deep_filter(levels: int) -> dict[str, Any]:
    filters: dict[str, Any] = {"x": 1}
    for _ in range(levels - 1):
        filters = {"not": filters}
    return filters


@pytest.mark.parametrize(("levels", "fits"), [(5, True), (6, False), (12, False)])
def test_filters_nest_five_levels(levels: int, fits: bool) -> None:
    value = chain(step("one", "delay"), trigger={"event_name": "a", "filters": deep_filter(levels)})
    assert (not read(value).problems.found) is fits


@pytest.mark.parametrize(("count", "fits"), [(100, True), (101, False), (5000, False)])
def test_filters_have_a_hundred_comparisons(count: int, fits: bool) -> None:
    filters = {f"x{index}": 1 for index in range(count)}
    value = chain(step("one", "delay"), trigger={"event_name": "a", "filters": filters})
    codes = [each.code for each in read(value).problems.found]
    assert codes == ([] if fits else ["too_many"])


def test_a_chain_of_all_steps_is_checked_in_time_that_grows_with_its_length() -> None:
    def work(steps: int) -> int:
        value = chain(*(step(f"s{index}", "condition") for index in range(steps)))
        for each in value["connections"][1:]:
            each["branch"] = "true"
        text = json.dumps(value).encode()
        return calls_of(lambda: check(text))

    # The sets of previous steps are bit masks, so only a small part grows quadratically.
    assert work(200) < 3 * work(100)


def test_a_lattice_with_very_many_paths_is_checked_step_by_step() -> None:
    """There are 2^99 paths through it."""
    steps = [step(f"s{index}", "condition") for index in range(100)]
    value = chain(*steps)
    value["connections"] = [{"from": "trigger", "to": "s0"}] + [
        {"from": f"s{index}", "to": f"s{index + 1}", "branch": branch}
        for index in range(99)
        for branch in ("true", "false")
    ]
    assert not report_on(value).problems
    definition = read(value).definition
    assert definition is not None
    assert len(Graph(definition).upstream()["s99"]) == 99


def test_unknown_members_cost_no_more_than_their_number() -> None:
    def work(members: int) -> int:
        text = json.dumps({f"member{index}": 1 for index in range(members)}).encode()
        return calls_of(lambda: check(text))

    assert work(4000) < 3 * work(2000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("trigger", "steps", "connections", "exit_on", "event_name", "filters", "key"),
                    *(
                        "type",
                        "config",
                        "from",
                        "to",
                        "branch",
                        "events",
                        "cases",
                        "correlate",
                        "until",
                    ),
                    *(
                        "set",
                        "variables",
                        "all",
                        "any",
                        "not",
                        "field",
                        "op",
                        "value",
                        "definition",
                    ),
                ]
            )
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@given(JSON)
def test_no_json_value_raises(value: Any) -> None:
    check(json.dumps(value).encode())


@given(st.binary(max_size=60))
def test_no_bytes_raise(text: bytes) -> None:
    check(text)


@settings(max_examples=60)
@given(st.sampled_from(["delay", "condition", "wait_for_event", "emit_event", "nothing"]), JSON)
def test_no_config_raises(kind: str, config: Any) -> None:
    check(json.dumps(chain({"key": "one", "type": kind, "config": config})).encode())

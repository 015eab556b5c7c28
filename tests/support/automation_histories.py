"""Definitions and histories of events, for comparisons with the naive interpreter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from headrace.domain.automations.running.runs import Event
from headrace.domain.json_text import Number
from tests.support.automation_runs import event

#: `make automation-histories` sets how many histories of each kind it runs.
HISTORIES = "AUTOMATION_HISTORIES"


def examples(few: int) -> int:
    """How many examples a test of histories has: few, unless more were asked for."""
    return int(os.environ.get(HISTORIES, few))


NAMES = st.sampled_from("aab")
VALUES = st.integers(0, 2)
CORRELATE = st.sampled_from([{}, {}, {"payload.k": "trigger.payload.k"}])


def filters(paths: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    one = st.builds(
        lambda path, operator, value: {f"{path}{operator}": value},
        st.sampled_from(paths),
        st.sampled_from(["", "_gte", "_ne"]),
        VALUES,
    )
    return st.one_of(
        st.just({}),
        st.just({}),
        one,
        st.lists(one, min_size=1, max_size=2).map(lambda parts: {"any": parts}),
        one.map(lambda part: {"not": part}),
    )


WAIT_FILTERS = filters(["v", "payload.k", "trigger.payload.v", "contact.properties.p"])
CONDITION_FILTERS = filters(["payload.v", "contact.properties.p", "steps.s0.event.payload.v"]) | (
    st.sampled_from([{"steps.s0.branch": "next"}, {"steps.s0.status": "completed"}])
)


@st.composite
def waits(draw: st.DrawFn) -> dict[str, Any]:
    config: dict[str, Any] = {
        "timeout_seconds": draw(st.integers(1, 40)),
        "look_back": draw(st.sampled_from(["run", "step", 5, 30])),
    }
    if draw(st.booleans()):
        return config | {
            "event_name": draw(NAMES),
            "filters": draw(WAIT_FILTERS),
            "correlate": draw(CORRELATE),
        }
    config["events"] = [
        {
            "event_name": draw(NAMES),
            "filters": draw(WAIT_FILTERS),
            "correlate": draw(CORRELATE),
            "branch": branch,
        }
        for branch in ("one", "two")
    ]
    return config


SOURCES = st.sampled_from(
    [1, 2, {"from": "trigger.payload.v"}, {"from": "steps.s0.event.payload.v"}]
)
CONFIGS = {
    "delay": st.builds(lambda seconds: {"seconds": seconds}, st.integers(1, 30)),
    "wait_for_event": waits(),
    "condition": st.builds(lambda holds: {"filters": holds}, CONDITION_FILTERS)
    | st.builds(
        lambda one, two: {
            "cases": [{"branch": "one", "filters": one}, {"branch": "two", "filters": two}]
        },
        CONDITION_FILTERS,
        CONDITION_FILTERS,
    ),
    "send_push_template": st.just({"template": "T", "app": "shop"}),
    "contact_update": st.builds(lambda value: {"set": {"properties.p": value}}, SOURCES),
    "emit_event": st.builds(lambda value: {"event_name": "d", "payload": {"x": value}}, SOURCES),
}


#: Most errors occur between delays and waits.
KINDS = [*sorted(CONFIGS), "delay", "delay", "wait_for_event", "wait_for_event", "wait_for_event"]


def branches(kind: str, config: dict[str, Any]) -> list[str]:
    match kind:
        case "wait_for_event":
            named = ["one", "two"] if "events" in config else ["received"]
            return [*named, "timed_out"]
        case "condition":
            return ["one", "two", "otherwise"] if "cases" in config else ["true", "false"]
        case "send_push_template":
            return ["next", "skipped", "failed"]
    return ["next"]


@st.composite
def definitions(draw: st.DrawFn, of: Sequence[str] = KINDS) -> dict[str, Any]:
    """Any graph whose connections lead forward; some of its steps may be unreachable."""
    kinds = draw(st.lists(st.sampled_from(of), min_size=2, max_size=7))
    keys = [f"s{index}" for index in range(len(kinds))]
    connections = [{"from": "trigger", "to": "s0", "branch": "next"}]
    steps = []
    for index, (key, kind) in enumerate(zip(keys, kinds, strict=True)):
        config = draw(CONFIGS[kind])
        steps.append({"key": key, "type": kind, "config": config})
        for branch in branches(kind, config):
            near = keys[index + 1 : index + 2]
            targets = [*near, *near, *near, *keys[index + 2 : index + 3], None]
            target = draw(st.sampled_from(targets)) if near else None
            if target is not None:
                connections.append({"from": key, "to": target, "branch": branch})
    rules = st.builds(
        lambda name, holds, same: {"event_name": name, "filters": holds, "correlate": same},
        NAMES,
        filters(["v", "payload.k"]),
        CORRELATE,
    )
    return {
        "trigger": {"event_name": "a"},
        "steps": steps,
        "connections": connections,
        "exit_on": draw(st.lists(rules, max_size=1)),
    }


PAYLOADS = st.fixed_dictionaries({}, optional={"k": VALUES, "v": VALUES})
GAPS = st.sampled_from([0, 0.001, 1, 2, 4, 8, 16])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], list[dict[str, Any]], int]:
    """Events in order of receipt, the same for the naive interpreter, and the run's trigger."""
    moment, number = 0.0, 0
    real: list[Event] = []
    naive: list[dict[str, Any]] = []
    count = draw(st.integers(2, 9))
    first = draw(st.integers(0, min(2, count - 1)))
    for index in range(count):
        gap = draw(GAPS)
        number = number + 1 if gap == 0 else 0
        moment += gap
        name = "a" if index == first else draw(NAMES)
        payload = draw(PAYLOADS)
        made = event(name, moment, as_numbers(payload), number=number)
        real.append(made)
        naive.append(
            {
                "sequence": made.sequence,
                "name": name,
                "payload": payload,
                "received": made.received_us,
            }
        )
    return real, naive, first


def as_numbers(payload: dict[str, Any]) -> dict[str, Any]:
    return {name: Number(value) for name, value in payload.items()}

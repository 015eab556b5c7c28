"""What prevents an automation from being published, reported all at once, and warnings."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.automations.definition.graph import Graph
from headrace.domain.automations.definition.model import (
    Connection,
    Definition,
    Step,
    StepType,
    Trigger,
)
from headrace.domain.automations.definition.parsing import parse_document
from headrace.domain.automations.definition.publish_checks import PublishRules
from headrace.domain.automations.definition.references import References, Referred, TemplateFacts
from headrace.domain.automations.running.resolving import resolve
from tests.support.definitions import (
    AN_ID,
    ANOTHER_ID,
    CONFIGS,
    chain,
    places,
    read,
    report_on,
    step,
)

EVERYTHING = References(
    templates={AN_ID: TemplateFacts(channel="email")},
    domains={AN_ID: True},
    topics=frozenset({AN_ID}),
    audiences=frozenset({AN_ID}),
    apps=frozenset({"shop"}),
    names={
        (Referred.TEMPLATE, "Hello"): AN_ID,
        (Referred.DOMAIN, "mail.example.com"): AN_ID,
        (Referred.TOPIC, "News"): AN_ID,
        (Referred.AUDIENCE, "VIP"): AN_ID,
    },
)

MAIL = CONFIGS["send_email_template"]


def connected(*connections: tuple[str, str, str], **kinds: str) -> dict[str, Any]:
    """A definition with these steps, by key and type, and connections `(from, branch, to)`."""
    value = chain(*(step(key, kind) for key, kind in kinds.items()))
    value["connections"] = [
        {"from": source, "branch": branch, "to": target} for source, branch, target in connections
    ]
    return value


def problems(value: dict[str, Any], **others: Any) -> list[tuple[str, str]]:
    return places(report_on(value, **others).problems)


def warnings(value: dict[str, Any], **others: Any) -> list[tuple[str, str]]:
    return places(report_on(value, **others).warnings)


def test_a_cycle_is_named_by_its_steps() -> None:
    value = connected(
        ("trigger", "next", "a"),
        ("a", "next", "b"),
        ("b", "next", "c"),
        ("c", "next", "b"),
        a="delay",
        b="delay",
        c="delay",
    )
    (problem,) = report_on(value).problems
    assert (problem.code, problem.field) == ("cycle", "connections")
    assert problem.message.endswith(("b -> c -> b", "c -> b -> c"))


def test_a_step_must_not_lead_to_itself() -> None:
    value = connected(("trigger", "next", "a"), ("a", "next", "a"), a="delay")
    assert problems(value) == [("cycle", "connections")]


def test_every_step_must_be_reached() -> None:
    value = connected(("trigger", "next", "a"), ("b", "next", "c"), a="delay", b="delay", c="delay")
    assert problems(value) == [("unreachable_step", "steps[1]"), ("unreachable_step", "steps[2]")]


def test_the_trigger_must_lead_somewhere() -> None:
    assert problems(connected(a="delay")) == [("trigger_not_connected", "connections")]


def test_connections_must_be_between_steps_and_by_their_branches() -> None:
    value = connected(
        ("trigger", "next", "a"),
        ("a", "true", "b"),
        ("b", "next", "c"),
        ("c", "next", "trigger"),
        ("trigger", "received", "a"),
        ("a", "next", "b"),
        ("a", "next", "c"),
        ("x", "next", "a"),
        a="delay",
        b="condition",
        c="delay",
    )
    assert problems(value) == [
        ("unknown_branch", "connections[1].branch"),
        ("unknown_branch", "connections[2].branch"),
        ("unknown_step", "connections[3].to"),
        ("unknown_branch", "connections[4].branch"),
        ("duplicate_branch", "connections[6].branch"),
        ("unknown_step", "connections[7].from"),
    ]


@pytest.mark.parametrize(
    ("on_skipped", "expected"), [("next", []), ("exit", ["branch_never_taken"])]
)
def test_the_branch_skipped_is_taken_only_by_runs_that_go_on(
    on_skipped: str, expected: list[str]
) -> None:
    config = CONFIGS["send_push_template"] | {"on_skipped": on_skipped}
    value = chain(
        step("push", "send_push_template", **config),
        step("end", "delay"),
        branches=("next", "skipped"),
    )
    assert [code for code, _ in problems(value)] == expected


def test_references_point_to_earlier_steps_on_every_path() -> None:
    filters = {"steps.left.branch": "next"}
    value = connected(
        ("trigger", "next", "fork"),
        ("fork", "true", "left"),
        ("left", "next", "join"),
        ("fork", "false", "join"),
        fork="condition",
        left="delay",
        join="condition",
    )
    value["steps"][2]["config"] = {"filters": filters}
    assert problems(value) == [("not_upstream", "steps[2].config")]
    value["connections"][3]["to"] = "left"
    assert problems(value) == []


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("steps.pause.event.payload.x", "invalid_path"),
        ("steps.pause.message.last_event", "invalid_path"),
        ("steps.nobody.status", "unknown_step"),
        ("steps.check.status", "not_upstream"),
    ],
)
def test_paths_to_steps_ask_for_what_they_have(path: str, code: str) -> None:
    check = step("check", "condition", filters={f"{path}_exists": True})
    assert problems(chain(step("pause", "delay"), check)) == [(code, "steps[1].config")]


def test_correlation_is_with_the_trigger_or_an_event_upstream() -> None:
    wait: dict[str, Any] = {"event_name": "a", "correlate": {"payload.x": "steps.first.status"}}
    value = chain(
        step("first", "wait_for_event"),
        step("wait", "wait_for_event", **wait),
        branches=("next", "received"),
    )
    assert problems(value) == [("invalid_path", "steps[1].config.correlate")]
    wait["correlate"] = {"payload.x": "steps.first.event.payload.x"}
    value["steps"][1]["config"] = wait
    assert problems(value) == []
    value["exit_on"] = [wait]
    assert problems(value) == [("not_upstream", "exit_on[0].correlate")]


def test_exit_rules_cannot_ask_about_steps() -> None:
    value = chain(
        step("a", "delay"),
        exit_on=[{"event_name": "b", "filters": {"steps.a.status": "completed"}}],
    )
    assert [code for code, _ in problems(value)] == ["invalid_path"]


def test_the_message_of_a_wait_comes_from_a_step_before_it() -> None:
    mail, wait = step("mail", "send_email_template"), {"event_name": "sendrealm.mail.click"}
    value = chain(
        mail, step("wait", "wait_for_event", **wait, message_from="mail", timeout_seconds=9)
    )
    assert problems(value) == []
    for name, code in (("other", "unknown_step"), ("wait", "wrong_channel")):
        value["steps"][1]["config"]["message_from"] = name
        assert problems(value) == [(code, "steps[1].config.message_from")]


def test_policies_limit_what_is_published() -> None:
    value = chain(step("wait", "wait_for_event", event_name="a", timeout_seconds=86_401))
    assert problems(value) == []
    assert problems(value, rules=PublishRules(wait_max_days=1)) == [
        ("wait_too_long", "steps[0].config.timeout_seconds")
    ]
    config = {
        name: value for name, value in CONFIGS["send_email_template"].items() if name != "topic_id"
    }
    mail = chain(step("mail", "send_email_template", **config))
    assert problems(mail) == [("topic_required", "steps[0].config.topic_id")]
    assert problems(mail, rules=PublishRules(topicless_marketing=True)) == []
    config["kind"] = "transactional"
    assert problems(chain(step("mail", "send_email_template", **config))) == []


def test_references_must_exist() -> None:
    kinds = (
        "send_email_template",
        "send_push_template",
        "add_to_audience",
        "set_topic_subscription",
    )
    value = chain(*(step(f"s{index}", kind) for index, kind in enumerate(kinds)))
    assert [code for code, _ in problems(value, references=References())] == ["not_found"] * 7
    assert problems(value, references=EVERYTHING) == [
        ("wrong_channel", "steps[1].config.template_version_id")
    ]


def test_templates_are_published_and_get_their_variables_and_domains_are_verified() -> None:
    facts = TemplateFacts(channel="email", published=False, variables=frozenset({"url", "name"}))
    references = References(
        templates={AN_ID: facts}, domains={AN_ID: False}, topics=frozenset({AN_ID})
    )
    config = CONFIGS["send_email_template"] | {"variables": {"url": "trigger.payload.url"}}
    value = chain(step("mail", "send_email_template", **config))
    assert problems(value, references=references) == [
        ("not_published", "steps[0].config.template_version_id"),
        ("variable_without_source", "steps[0].config.variables"),
        ("not_verified", "steps[0].config.domain_id"),
    ]


def test_names_become_ids_when_published() -> None:
    filters = {
        "contact.in_audience": "VIP",
        "any": [
            {"contact.subscribed_to_in": ["News", AN_ID]},
            {"not": {"contact.in_audience_ne": "VIP"}},
        ],
        "all": [{"field": "contact.in_audience", "op": "eq", "value": "VIP"}],
    }
    value = chain(
        step("check", "condition", filters=filters),
        step(
            "mail", "send_email_template", template="Hello", domain="mail.example.com", topic="News"
        ),
        step("vip", "add_to_audience", audience="VIP"),
        branches=("next", "true"),
        trigger={"event_name": "a", "filters": {"contact.in_audience_ne": "VIP", "amount": 1.50}},
    )
    assert problems(value, references=EVERYTHING) == []
    published = resolve(read(value).text, EVERYTHING)
    assert "VIP" not in published
    assert "News" not in published
    assert '"template_version_id"' in published
    assert '"amount":1.5' in published
    assert not parse_document(published.encode()).problems.found
    unknown = resolve(read(value).text, References())
    assert json.loads(unknown)["steps"][2]["config"] == {"audience": "VIP"}


def test_memberships_in_filters_have_to_exist() -> None:
    value = chain(step("check", "condition", filters={"contact.in_audience": ANOTHER_ID}))
    assert [code for code, _ in problems(value, references=EVERYTHING)] == ["not_found"]


def test_warnings_do_not_stop_a_publish() -> None:
    value = chain(
        step("night", "delay", until={"time": "23:30"}),
        step("score", "emit_event", event_name="checkout.started"),
        step("mail", "send_email_template", **MAIL, unknown_outcome="retry"),
        step("open", "wait_for_event", event_name="sendrealm.mail.open", look_back=700_000),
        step("push", "wait_for_event", event_name="sendrealm.push.open", timeout_seconds=60),
        branches=("next", "next", "next", "next", "received"),
    )
    assert problems(value) == []
    assert sorted(code for code, _ in warnings(value)) == [
        "any_message",
        "causes_itself",
        "long_look_back",
        "may_send_twice",
        "night_time",
        "open_as_decision",
        "unconnected_branch",
        "unconnected_branch",
        "unconnected_branch",
        "wait_without_timeout",
    ]


@pytest.mark.parametrize(
    "config", [{"unknown_outcome": "hold"}, {"unknown_outcome": "retry", "kind": "transactional"}]
)
def test_only_marketing_that_is_repeated_draws_a_warning(config: dict[str, Any]) -> None:
    assert warnings(chain(step("mail", "send_email_template", **(MAIL | config)))) == []


def test_the_catalog_says_what_was_never_seen() -> None:
    value = chain(
        step("wait", "wait_for_event", event_name="order.done", timeout_seconds=60),
        trigger={"event_name": "checkout.started", "filters": {"amuont": 1, "amount_gt": 0}},
    )
    references = References(catalog={"checkout.started": frozenset({"amount"})})
    found = warnings(value, references=references)
    assert ("event_never_seen", "steps[0].config.event_name") in found
    assert ("path_never_seen", "trigger.filters") in found
    assert [code for code, _ in found].count("path_never_seen") == 1


@st.composite
def graphs(draw: st.DrawFn) -> Definition:
    count = draw(st.integers(1, 6))
    keys = [f"s{index}" for index in range(count)]
    steps = [Step(key=key, type=StepType.DELAY, config=None, index=0) for key in keys]
    pairs = st.tuples(st.sampled_from(["trigger", *keys]), st.sampled_from(keys))
    chosen = draw(st.lists(pairs, max_size=12))
    connections = [
        Connection(
            source=source, target=target, branch="next" if source == "trigger" else str(n), index=n
        )
        for n, (source, target) in enumerate(chosen)
    ]
    return Definition(
        trigger=Trigger(event_name="a"), steps=tuple(steps), connections=tuple(connections)
    )


def ways(graph: Graph, at: str, walked: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every path from a step, up to the first repeated step."""
    found = [(*walked, at)]
    for target in graph.following(at):
        if target not in walked and target != at:
            found += ways(graph, target, (*walked, at))
    return found


@given(graphs())
def test_graph_matches_walking_every_path(definition: Definition) -> None:
    graph = Graph(definition)
    every = ways(graph, "trigger")
    assert graph.reachable() == {key for way in every for key in way} - {"trigger"}
    cycle = graph.cycle()
    circular = any(key in graph.reachable(key) for key in graph.steps)
    assert bool(cycle) is circular
    for source, target in pairwise(cycle):
        assert target in graph.following(source)
    if cycle:
        assert cycle[0] == cycle[-1]
        return
    upstream = graph.upstream()
    for key in graph.steps:
        before = [set(way[1:-1]) for way in every if way[-1] == key]
        assert upstream[key] == (set.intersection(*before) if before else set())

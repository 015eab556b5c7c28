"""Definitions are parsed strictly: each problem has a code, a path, and the allowed values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.automations.definition.model import (
    ConditionConfig,
    DelayConfig,
    EmailConfig,
    StepType,
    WaitConfig,
)
from headrace.domain.automations.definition.parsing import parse_document
from headrace.domain.automations.problems import UNFINISHED, Code
from tests.support.definitions import AN_ID, CONFIGS, chain, definition_of, places, read, step

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.json"))


@pytest.mark.parametrize("kind", StepType)
def test_every_type_of_step_is_read(kind: StepType) -> None:
    document = read(chain(step("one", kind)))
    assert not document.problems.found
    assert document.definition is not None
    assert document.definition.steps[0].config is not None


@pytest.mark.parametrize("kind", StepType)
def test_unknown_members_are_rejected_with_what_is_allowed(kind: StepType) -> None:
    config = CONFIGS[kind] | {"sekonds": 3}
    (problem,) = read(chain({"key": "one", "type": kind, "config": config})).problems.found
    assert (problem.code, problem.field) == (Code.UNKNOWN_MEMBER, "steps[0].config.sekonds")
    assert problem.step == "one"
    assert "allowed are" in problem.message


def test_the_example_of_the_contract_is_read() -> None:
    text = (
        '{"trigger": {"event_name": "checkout.started", "filters": {"amount_gte": 1000},'
        '"reentry": {"mode": "one_active", "key": "payload.checkout_id"},'
        '"max_age_seconds": 86400}, "steps": ['
        '{"key": "hour", "type": "delay", "config": {"seconds": 3600}},'
        '{"key": "mail", "type": "send_email_template", "config": {"template_version_id": "ID",'
        '"domain_id": "ID", "topic_id": "ID", "kind": "marketing",'
        '"variables": {"cart_url": "trigger.payload.url"}}},'
        '{"key": "done", "type": "wait_for_event", "config": {"event_name": "order.completed",'
        '"timeout_seconds": 86400,'
        '"correlate": {"payload.checkout_id": "trigger.payload.checkout_id"}}},'
        '{"key": "late", "type": "add_to_audience", "config": {"audience_id": "ID"}}],'
        '"connections": [{"from": "trigger", "to": "hour", "branch": "next"},'
        '{"from": "hour", "to": "mail", "branch": "next"},'
        '{"from": "mail", "to": "done", "branch": "next"},'
        '{"from": "done", "to": "late", "branch": "timed_out"}],'
        '"exit_on": [{"event_name": "order.completed",'
        '"correlate": {"payload.checkout_id": "trigger.payload.checkout_id"}}]}'
    )
    definition = definition_of(json.loads(text.replace('"ID"', f'"{AN_ID}"')))
    mail, done = definition.steps[1].config, definition.steps[2].config
    assert isinstance(mail, EmailConfig)
    assert mail.template.id == AN_ID
    assert isinstance(done, WaitConfig)
    assert done.alternatives[0].correlate[0][1].text == "trigger.payload.checkout_id"
    assert definition.exit_on[0].event_name == "order.completed"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_can_be_published(path: Path) -> None:
    assert len(EXAMPLES) == 5
    document = json.loads(path.read_text("utf-8"))
    assert definition_of(document).steps
    assert read(document).name


@pytest.mark.parametrize(
    ("kind", "config", "code", "member"),
    [
        ("delay", {}, "missing", ""),
        ("delay", {"seconds": 1, "duration": "1 day"}, "exclusive", ""),
        ("delay", {"seconds": 0}, "out_of_range", ".seconds"),
        ("delay", {"seconds": 31_536_001}, "out_of_range", ".seconds"),
        ("delay", {"seconds": 1.5}, "out_of_range", ".seconds"),
        ("delay", {"seconds": "60"}, "wrong_type", ".seconds"),
        ("delay", {"seconds": True}, "wrong_type", ".seconds"),
        ("delay", {"duration": "3 fortnights"}, "invalid_value", ".duration"),
        ("delay", {"duration": "P"}, "invalid_value", ".duration"),
        ("delay", {"duration": "PT"}, "invalid_value", ".duration"),
        ("delay", {"duration": "366 days"}, "invalid_value", ".duration"),
        ("delay", {"until": {}}, "missing", ".until.time"),
        ("delay", {"until": {"time": "24:00"}}, "invalid_value", ".until.time"),
        (
            "delay",
            {"until": {"time": "09:00", "timezone": "Mars/Base"}},
            "invalid_value",
            ".until.timezone",
        ),
        (
            "delay",
            {"until": {"time": "09:00", "weekdays": ["monday"]}},
            "invalid_value",
            ".until.weekdays",
        ),
        ("delay", {"until": {"time": "09:00", "weekdays": []}}, "missing", ".until.weekdays"),
        ("delay", {"until_field": {"field": "payload.x"}}, "invalid_path", ".until_field.field"),
        (
            "delay",
            {"until_field": {"field": "contact.in_audience"}},
            "invalid_path",
            ".until_field.field",
        ),
        ("condition", {}, "missing", ""),
        ("condition", {"filters": {"x": 1}}, "invalid_path", ".filters.x"),
        (
            "condition",
            {"cases": [{"branch": "otherwise", "filters": {}}]},
            "duplicate_branch",
            ".cases[0].branch",
        ),
        ("condition", {"cases": [{"branch": "a"}]}, "missing", ".cases[0].filters"),
        ("wait_for_event", {"event_name": "Order"}, "invalid_value", ".event_name"),
        ("wait_for_event", {"event_name": "a", "events": [{"event_name": "b"}]}, "exclusive", ""),
        (
            "wait_for_event",
            {"events": [{"event_name": "a", "branch": "timed_out"}]},
            "duplicate_branch",
            ".events[0].branch",
        ),
        (
            "wait_for_event",
            {"event_name": "a", "look_back": 2_592_001},
            "invalid_value",
            ".look_back",
        ),
        ("wait_for_event", {"event_name": "a", "timeout": "soon"}, "invalid_value", ".timeout"),
        (
            "wait_for_event",
            {"event_name": "a", "correlate": {"payload.x": "contact.email"}},
            "invalid_path",
            ".correlate.payload.x",
        ),
        (
            "send_email_template",
            CONFIGS["send_email_template"] | {"from": "a@b\r\nBcc: c@d.example"},
            "invalid_value",
            ".from",
        ),
        (
            "send_email_template",
            CONFIGS["send_email_template"] | {"topic": "News"},
            "exclusive",
            ".topic_id",
        ),
        (
            "send_email_template",
            CONFIGS["send_email_template"] | {"domain_id": "mail"},
            "invalid_value",
            ".domain_id",
        ),
        (
            "send_email_template",
            CONFIGS["send_email_template"] | {"variables": {"1a": "trigger.name"}},
            "invalid_value",
            ".variables.1a",
        ),
        (
            "send_email_template",
            CONFIGS["send_email_template"] | {"variables": {"a": "url"}},
            "invalid_path",
            ".variables.a",
        ),
        ("contact_update", {"set": {}}, "missing", ""),
        ("contact_update", {"set": {"created_at": "x"}}, "invalid_value", ".set.created_at"),
        ("contact_update", {"set": {"email": "nobody"}}, "invalid_value", ".set.email"),
        ("contact_update", {"set": {"properties.x": {"y": 1}}}, "wrong_type", ".set.properties.x"),
        (
            "contact_update",
            {"set": {"email": "a@b.example"}, "unset": ["email"]},
            "exclusive",
            ".unset[0]",
        ),
        ("set_topic_subscription", {"topic_id": AN_ID}, "missing", ".is_subscribed"),
        ("add_to_audience", {"audience": " "}, "invalid_value", ".audience"),
        ("emit_event", {"event_name": "sendrealm.mail.open"}, "reserved_event_name", ".event_name"),
        (
            "emit_event",
            {"event_name": "a", "payload": {"x": {"from": "payload.y"}}},
            "invalid_path",
            ".payload.x",
        ),
    ],
)
def test_a_wrong_config_is_named(kind: str, config: dict[str, Any], code: str, member: str) -> None:
    document = read(chain({"key": "one", "type": kind, "config": config}))
    assert places(tuple(document.problems.found)) == [(code, f"steps[0].config{member}")]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"trigger": None}, "missing", "trigger"),
        ({"trigger": {}}, "missing", "trigger.event_name"),
        ({"trigger": {"event_name": "a.*"}}, "invalid_value", "trigger.event_name"),
        ({"trigger": {"event_name": "a", "reentry": {}}}, "missing", "trigger.reentry.mode"),
        (
            {"trigger": {"event_name": "a", "reentry": {"mode": "once_per"}}},
            "missing",
            "trigger.reentry.seconds",
        ),
        (
            {"trigger": {"event_name": "a", "reentry": {"mode": "once", "seconds": 5}}},
            "exclusive",
            "trigger.reentry.seconds",
        ),
        (
            {"trigger": {"event_name": "a", "reentry": {"mode": "once", "key": "x"}}},
            "invalid_path",
            "trigger.reentry.key",
        ),
        ({"steps": []}, "missing", "steps"),
        ({"steps": {}}, "wrong_type", "steps"),
        ({"steps": [{}] * 201}, "too_many", "steps"),
        ({"connections": [{}] * 401}, "too_many", "connections"),
        ({"exit_on": [{"event_name": "a"}] * 11}, "too_many", "exit_on"),
        ({"exit_on": [{"event_name": "a", "branch": "b"}]}, "unknown_member", "exit_on[0].branch"),
        ({"start": 1}, "unknown_member", "start"),
    ],
)
def test_a_wrong_definition_is_named(change: dict[str, Any], code: str, field: str) -> None:
    document = read(chain(step("one", "delay")) | change)
    assert (code, field) in places(tuple(document.problems.found))
    assert len(document.problems) == 1


@pytest.mark.parametrize("key", ["", "A", "a-b", "a" * 65, "trigger", "é"])
def test_keys_of_steps_are_plain(key: str) -> None:
    document = read(chain({"key": key, "type": "delay", "config": {"seconds": 1}}))
    assert places(tuple(document.problems.found)) == [("invalid_value", "steps[0].key")]


def test_two_steps_cannot_have_one_key() -> None:
    document = read(chain(step("one", "delay"), step("one", "delay")))
    assert ("duplicate_key", "steps[1].key") in places(tuple(document.problems.found))


def test_problems_of_a_document_name_the_path_from_its_root() -> None:
    document = read({"name": "A", "definition": chain(step("one", "delay", seconds=0))})
    assert places(tuple(document.problems.found)) == [
        ("out_of_range", "definition.steps[0].config.seconds")
    ]


def test_words_of_related_products_are_rewritten_and_listed() -> None:
    value = chain(
        step("pause", "delay", duration_seconds=60),
        step("check", "condition", filter_rule={"contact.email_exists": True}),
        step("wait", "wait_for_event", event_name="a", timeout="3 days", filter_rule={"x": 1}),
        step("end", "delay"),
        branches=("next", "next", "yes", "timeout"),
    )
    document = read(value)
    assert not document.problems.found
    assert [(each.was, each.now) for each in document.rewritten] == [
        ("duration_seconds", "seconds"),
        ("filter_rule", "filters"),
        ("filter_rule", "filters"),
        ("timeout", "timeout_seconds"),
        ("yes", "true"),
        ("timeout", "timed_out"),
    ]
    assert '"timeout_seconds":259200' in document.text
    again = parse_document(document.text.encode())
    assert again.rewritten == ()
    assert again.definition == document.definition
    assert again.sha256 == document.sha256


def test_a_branch_that_the_author_named_is_no_alias() -> None:
    cases: list[dict[str, Any]] = [{"branch": "yes", "filters": {}}]
    value = chain(
        step("check", "condition", cases=cases), step("end", "delay"), branches=("next", "yes")
    )
    assert definition_of(value).connections[1].branch == "yes"


def test_the_fingerprint_does_not_depend_on_the_order_of_members() -> None:
    value = chain(step("a", "wait_for_event"), exit_on=[{"event_name": "b", "filters": {"x": 1}}])
    turned = {name: value[name] for name in reversed(value)}
    assert read(turned).text != read(value).text
    assert read(turned).sha256 == read(value).sha256
    assert read(value).sha256 != read(value | {"exit_on": []}).sha256


def test_null_means_absent() -> None:
    value = chain(step("one", "delay", seconds=60, until=None), exit_on=None)
    assert definition_of(value).steps[0].config == DelayConfig(seconds=60)


def test_cases_keep_their_order() -> None:
    cases: list[dict[str, Any]] = [{"branch": name, "filters": {}} for name in ("b", "a")]
    config = definition_of(chain(step("one", "condition", cases=cases))).steps[0].config
    assert isinstance(config, ConditionConfig)
    assert [case.branch for case in config.cases] == ["b", "a"]


def test_unfinished_definition_can_be_saved() -> None:
    document = read(chain({"key": "one", "type": "send_push_template", "config": {}}))
    assert {each.code for each in document.problems.found} <= UNFINISHED
    document = read(chain(step("one", "delay", seconds="x")))
    assert not {each.code for each in document.problems.found} <= UNFINISHED

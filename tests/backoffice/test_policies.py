"""Policies: shown with default and bounds, changed, audited."""

from __future__ import annotations

import html

import pytest

from headrace.backoffice.access.policy_words import GROUPS, MEANINGS
from headrace.pipeline.access.policies import POLICY_NAMES
from headrace.store.contract.access import Project
from tests.backoffice.cast import Person, project_path


def test_every_policy_is_explained_and_has_a_place() -> None:
    assert set(MEANINGS) == set(POLICY_NAMES)
    assert sorted(name for _, names in GROUPS for name in names) == sorted(POLICY_NAMES)


def test_a_change_is_shown_with_who_and_what_was_before(owner: Person, project: Project) -> None:
    path = f"{project_path(project)}/policies"
    assert "every policy has its default" in owner.get(path).text
    answer = owner.post(f"{path}/event_retention_days", {"value": "30"})
    assert answer.status_code == 303
    page = owner.get(path).text
    assert "Event retention days changed" in page
    assert 'value="30"' in page
    assert "event retention days: 90 → <strong>30</strong>" in page
    assert owner.email in page


def test_a_reset_goes_back_to_the_default(owner: Person, project: Project) -> None:
    path = f"{project_path(project)}/policies"
    owner.post(f"{path}/create_contacts", {"value": "false"})
    assert 'name="reset"' in owner.get(path).text
    owner.post(f"{path}/create_contacts", {"value": "false", "reset": "yes"})
    assert 'name="reset"' not in owner.get(path).text


def test_a_limit_is_set_and_lifted(owner: Person, project: Project) -> None:
    path = f"{project_path(project)}/policies"
    owner.post(f"{path}/event_ingest_limit_per_second", {"value": "500"})
    assert 'value="500"' in owner.get(path).text
    owner.post(f"{path}/event_ingest_limit_per_second", {"value": ""})
    assert 'value="500"' not in owner.get(path).text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("event_retention_days", "0"),
        ("event_retention_days", "1e400"),
        ("event_retention_days", "many"),
        ("event_retention_days", ""),
        ("retry_factor", "nan"),
        ("retry_factor", "inf"),
        ("create_contacts", "perhaps"),
        ("idempotency_conflict", "explode"),
        ("event_ingest_limit_per_second", "-1"),
    ],
)
def test_a_wrong_value_is_reported_and_changes_nothing(
    owner: Person, project: Project, name: str, value: str
) -> None:
    path = f"{project_path(project)}/policies"
    answer = owner.post(f"{path}/{name}", {"value": value})
    assert answer.status_code == 422
    assert "It must be" in answer.text
    assert "every policy has its default" in owner.get(path).text


def test_an_unknown_policy_is_absent(owner: Person, project: Project) -> None:
    assert owner.post(f"{project_path(project)}/policies/other", {"value": "1"}).status_code == 404


def test_a_policy_of_messages_is_set_as_json(owner: Person, project: Project) -> None:
    path = f"{project_path(project)}/policies"
    hours = '{"start": "22:00", "end": "07:00"}'
    assert owner.post(f"{path}/quiet_hours", {"value": hours}).status_code == 303
    text = html.unescape(owner.get(path).text)
    assert '{"start":"22:00","end":"07:00"}' in text
    wrong = owner.post(f"{path}/quiet_hours", {"value": '{"start": "25:00"}'})
    assert wrong.status_code == 422
    owner.post(f"{path}/sending_paused", {"value": '["mail", "example.org"]'})
    assert '["mail","example.org"]' in html.unescape(owner.get(path).text)
    for name in ("quiet_hours", "sending_paused"):
        owner.post(f"{path}/{name}", {"value": "", "reset": "yes"})
    assert 'name="reset"' not in owner.get(path).text

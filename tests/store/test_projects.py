"""Projects, keys, policies and their audit."""

from __future__ import annotations

import asyncio
import json

import pytest

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.access.policies import DEFAULTS, IdempotencyConflict
from headrace.domain.messages.pausing import PauseError, pause_domain
from headrace.domain.messages.sending_policies import PAUSED_DOMAINS_MAX
from headrace.store.contract.errors import StoreConflictError
from tests.support.events import START_US, new_event
from tests.support.places import Place
from tests.support.session import StoreSession


def audited(place: Place) -> list[tuple[object, ...]]:
    rows = place.run_sql("SELECT at_us, actor, project_id, action, detail FROM audit ORDER BY id")
    return [(*row[:4], json.loads(row[4])) for row in rows]


def test_projects_are_listed_by_name(session: StoreSession) -> None:
    projects = session.store.projects
    made = [session.run(projects.create(name, START_US, actor="cli")) for name in ("b", "a", "Ä")]
    assert {project.id for project in made} == {1, 2, 3}
    assert len({project.uuid for project in made}) == 3
    assert all(len(project.uuid) == 16 for project in made)
    found = session.run(projects.list())
    assert [project.name for project in found] == ["a", "b", "Ä"]
    assert sorted(found, key=lambda project: project.id) == made


def test_name_is_unique(session: StoreSession) -> None:
    projects = session.store.projects
    session.run(projects.create("shop", START_US, actor="cli"))
    with pytest.raises(StoreConflictError) as raised:
        session.run(projects.create("shop", START_US, actor="cli"))
    assert raised.value.args == ("name",)
    assert len(session.run(projects.list())) == 1
    assert len(audited(session.place)) == 1


def test_key_is_read_as_it_was_issued(session: StoreSession) -> None:
    projects = session.store.projects
    project = session.run(projects.create("shop", START_US, actor="cli"))
    first = issue_key(project.id, frozenset(Scope), name="all", now_us=START_US).key
    second = issue_key(
        project.id,
        frozenset({Scope.INGEST}),
        name="till",
        now_us=START_US + 1,
        expires_us=START_US + 9,
    ).key
    for key in (first, second):
        session.run(projects.add_key(key, actor="cli"))
    assert list(session.run(projects.list_keys(project.id))) == [second, first]
    assert session.run(projects.list_keys(project.id + 1)) == []
    access = session.run(projects.access())
    assert access.keys == {key.public_id: key for key in (first, second)}


def test_a_stored_key_does_not_hold_its_secret(session: StoreSession) -> None:
    project = session.run(session.store.projects.create("shop", START_US, actor="cli"))
    issued = issue_key(project.id, frozenset(Scope), name="all", now_us=START_US)
    session.run(session.store.projects.add_key(issued.key, actor="cli"))
    secret = issued.text.rpartition("_")[2]
    rows = [
        *session.place.run_sql("SELECT * FROM api_keys"),
        *session.place.run_sql("SELECT * FROM audit"),
    ]
    assert secret not in repr(rows)


def test_a_key_is_revoked_once(session: StoreSession) -> None:
    projects = session.store.projects
    project = session.run(projects.create("shop", START_US, actor="cli"))
    key = issue_key(project.id, frozenset(Scope), name="all", now_us=START_US).key
    session.run(projects.add_key(key, actor="cli"))
    assert session.run(projects.revoke_key(key.public_id, START_US + 5, actor="ann"))
    assert not session.run(projects.revoke_key(key.public_id, START_US + 6, actor="bob"))
    assert not session.run(projects.revoke_key("0" * 16, START_US + 6, actor="bob"))
    (found,) = session.run(projects.list_keys(project.id))
    assert found.revoked_us == START_US + 5
    assert not found.usable_at(START_US + 5)
    assert [row[1] for row in audited(session.place)] == ["cli", "cli", "ann"]


def test_a_policy_is_set_read_and_audited(session: StoreSession) -> None:
    projects = session.store.projects
    shop = session.run(projects.create("shop", START_US, actor="cli"))
    other = session.run(projects.create("other", START_US, actor="cli"))
    for value, before in ((1000, None), (2000, 1000), (None, 2000)):
        read = session.run(
            projects.set_policy(
                shop.id, "event_ingest_limit_per_second", value, START_US, actor="ann"
            )
        )
        assert read == before
        policies = session.run(projects.access()).policies
        assert policies[shop.id].event_ingest_limit_per_second == value
        assert policies[other.id] == DEFAULTS
    changes = [row[4] for row in audited(session.place) if row[3] == "policy.set"]
    assert changes == [
        {"policy": "event_ingest_limit_per_second", "from": None, "to": 1000},
        {"policy": "event_ingest_limit_per_second", "from": 1000, "to": 2000},
        {"policy": "event_ingest_limit_per_second", "from": 2000, "to": None},
    ]


def test_policies_of_every_type_survive(session: StoreSession) -> None:
    projects = session.store.projects
    shop = session.run(projects.create("shop", START_US, actor="cli"))
    wanted = {
        "create_contacts": False,
        "idempotency_conflict": IdempotencyConflict.REJECT,
        "retry_factor": 2.5,
        "event_retention_days": 3650,
    }
    for name, value in wanted.items():
        session.run(projects.set_policy(shop.id, name, value, START_US, actor="ann"))
    policies = session.run(projects.access()).policies[shop.id]
    assert {name: getattr(policies, name) for name in wanted} == wanted


def test_every_change_increments_the_version(session: StoreSession) -> None:
    """Authentication's cache is read again if and only if it changed."""
    projects = session.store.projects
    versions = [session.run(projects.access_version())]

    def moved() -> None:
        versions.append(session.run(projects.access_version()))
        assert versions[-1] > versions[-2]
        assert session.run(projects.access()).version == versions[-1]

    shop = session.run(projects.create("shop", START_US, actor="cli"))
    moved()
    key = issue_key(shop.id, frozenset(Scope), name="all", now_us=START_US).key
    session.run(projects.add_key(key, actor="cli"))
    moved()
    session.run(projects.set_policy(shop.id, "create_contacts", value=False, now_us=1, actor="c"))
    moved()
    session.run(projects.revoke_key(key.public_id, START_US, actor="cli"))
    moved()
    session.accept(new_event())
    assert session.run(projects.access_version()) == versions[-1]


def test_key_without_a_project_is_rejected_and_the_store_continues(session: StoreSession) -> None:
    projects = session.store.projects
    version = session.run(projects.access_version())
    key = issue_key(77, frozenset(Scope), name="all", now_us=START_US).key
    with pytest.raises(Exception, match=r"(?i)constraint"):
        session.run(projects.add_key(key, actor="cli"))
    assert session.run(projects.access_version()) == version
    assert audited(session.place) == []
    assert session.run(projects.create("shop", START_US, actor="cli")).name == "shop"


def test_two_changes_of_one_policy_at_once_both_count(session: StoreSession) -> None:
    projects = session.store.projects
    project = session.run(projects.create("shop", START_US, actor="cli"))
    names = [f"d{number}.example" for number in range(8)]

    async def pause_all() -> None:
        changes = (
            projects.change_policy(
                project.id, "sending_paused", pause_domain(name), START_US, actor="cli"
            )
            for name in names
        )
        await asyncio.gather(*changes)

    session.run(pause_all())
    values = session.run(projects.policy_values(project.id))
    assert values["sending_paused"] == names
    assert values["event_retention_days"] == DEFAULTS.event_retention_days


def test_a_change_that_is_rejected_changes_nothing(session: StoreSession) -> None:
    projects = session.store.projects
    project = session.run(projects.create("shop", START_US, actor="cli"))
    key = (project.id, "sending_paused")
    full = sorted(f"d{number}.example" for number in range(PAUSED_DOMAINS_MAX))
    session.run(projects.set_policy(*key, full, START_US, actor="cli"))
    before = audited(session.place)
    with pytest.raises(PauseError):
        session.run(projects.change_policy(*key, pause_domain("a.example"), START_US, actor="cli"))
    assert session.run(projects.policy_values(project.id))["sending_paused"] == full
    assert audited(session.place) == before

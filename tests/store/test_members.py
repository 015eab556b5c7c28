"""Operators, members of projects, the audit log, last uses of keys."""

from __future__ import annotations

import pytest

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.access.sign_in import Role, issue
from headrace.store.contract.access import Project
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.sign_in import AuditFilter, Member
from tests.support.events import START_US
from tests.support.session import StoreSession

ANN, BOB = "ann@example.org", "bob@example.org"


def invite(session: StoreSession, email: str, *, is_owner: bool = False) -> bool:
    members = session.store.members
    made = members.invite(email, issue().token_hash, START_US, is_owner=is_owner, actor="test")
    return session.run(made)


def project(session: StoreSession, name: str = "shop") -> Project:
    return session.run(session.store.projects.create(name, START_US, actor="test"))


def put(session: StoreSession, project: Project, email: str, role: Role) -> bool:
    member = Member(email=email, role=role, added_us=START_US)
    return session.run(session.store.members.set_member(project.id, member, START_US, actor="test"))


def test_an_operator_is_invited_once(session: StoreSession) -> None:
    assert invite(session, BOB, is_owner=True)
    assert invite(session, ANN)
    assert not invite(session, ANN)
    accounts = session.run(session.store.members.accounts(START_US))
    assert [(a.email, a.is_owner, a.has_password, a.seen_us) for a in accounts] == [
        (ANN, False, False, None),
        (BOB, True, False, None),
    ]


def test_an_invited_operator_has_no_token_of_the_operator_api(session: StoreSession) -> None:
    invite(session, ANN)
    (operator,) = session.run(session.store.operators.list())
    assert (operator.email, operator.is_owner) == (ANN, False)


def test_the_last_owner_stays(session: StoreSession) -> None:
    invite(session, ANN, is_owner=True)
    invite(session, BOB)
    members = session.store.members
    for change in (
        members.set_owner(ANN, START_US, is_owner=False, actor="test"),
        members.remove(ANN, START_US, actor="test"),
    ):
        with pytest.raises(StoreConflictError) as raised:
            session.run(change)
        assert raised.value.args == ("last_owner",)
    assert session.run(members.set_owner(BOB, START_US, is_owner=True, actor="test"))
    assert not session.run(members.set_owner(BOB, START_US, is_owner=True, actor="test"))
    assert session.run(members.set_owner(ANN, START_US, is_owner=False, actor="test"))


def test_removed_operator_is_restored_without_rights(session: StoreSession) -> None:
    invite(session, BOB, is_owner=True)
    invite(session, ANN, is_owner=True)
    shop = project(session)
    put(session, shop, ANN, Role.OWNER)
    members = session.store.members
    assert session.run(members.remove(ANN, START_US, actor="test"))
    assert not session.run(members.remove(ANN, START_US, actor="test"))
    assert [a.email for a in session.run(members.accounts(START_US))] == [BOB]
    assert session.run(members.members(shop.id)) == []
    assert not put(session, shop, ANN, Role.VIEWER)
    assert invite(session, ANN)
    found = session.run(members.accounts(START_US))[0]
    assert (found.email, found.is_owner, found.has_password, found.projects) == (
        (ANN, False, False, 0)
    )


def test_members_have_one_role_each(session: StoreSession) -> None:
    invite(session, ANN)
    invite(session, BOB)
    shop, other = project(session), project(session, "other")
    assert put(session, shop, BOB, Role.VIEWER)
    assert put(session, shop, ANN, Role.VIEWER)
    assert put(session, shop, ANN, Role.OWNER)
    members = session.store.members
    found = session.run(members.members(shop.id))
    assert [(member.email, member.role) for member in found] == [
        (ANN, Role.OWNER),
        (BOB, Role.VIEWER),
    ]
    assert session.run(members.members(other.id)) == []
    assert session.run(members.remove_member(shop.id, ANN, START_US, actor="test"))
    assert not session.run(members.remove_member(shop.id, ANN, START_US, actor="test"))
    assert not put(session, shop, "nobody@example.org", Role.VIEWER)


def test_setting_a_role_again_is_not_audited(session: StoreSession) -> None:
    invite(session, ANN)
    shop = project(session)
    for _ in range(2):
        put(session, shop, ANN, Role.VIEWER)
    wanted = AuditFilter(project_id=shop.id, action="member.")
    assert len(session.run(session.store.members.audit(wanted, before=None, limit=9))) == 1


def test_the_audit_is_filtered_and_paged(session: StoreSession) -> None:
    shop, other = project(session), project(session, "other")
    members = session.store.members
    invite(session, ANN)
    put(session, shop, ANN, Role.VIEWER)
    session.run(members.remove_member(shop.id, ANN, START_US + 50, actor="operator Bob@x.org"))

    def found(wanted: AuditFilter, *, before: int | None = None, limit: int = 50) -> list[str]:
        rows = session.run(members.audit(wanted, before=before, limit=limit))
        return [row.entry.action for row in rows]

    everything = ["member.remove", "member.set", "operator.create"]
    everything += ["project.create", "project.create"]
    assert found(AuditFilter()) == everything
    assert found(AuditFilter(project_id=other.id)) == ["project.create"]
    assert found(AuditFilter(action="member.")) == everything[:2]
    assert found(AuditFilter(action="member.set")) == ["member.set"]
    assert found(AuditFilter(action="member")) == []
    assert found(AuditFilter(actor="bob@X")) == ["member.remove"]
    assert found(AuditFilter(actor="%")) == []
    assert found(AuditFilter(after_us=START_US + 1)) == ["member.remove"]
    assert found(AuditFilter(before_us=START_US)) == []
    (newest,) = session.run(members.audit(AuditFilter(), before=None, limit=1))
    assert newest.project_id == shop.id
    assert found(AuditFilter(), before=newest.entry.id, limit=2) == everything[1:3]


def test_the_newest_use_of_a_key_is_kept(session: StoreSession) -> None:
    shop, other = project(session), project(session, "other")
    keys = [
        issue_key(owner.id, frozenset(Scope), name="", now_us=START_US).key
        for owner in (shop, other)
    ]
    for key in keys:
        session.run(session.store.projects.add_key(key, actor="test"))
    members = session.store.members
    assert session.run(members.key_uses(shop.id)) == {}
    first, second = (key.public_id for key in keys)
    session.run(members.note_key_uses({first: START_US + 5, second: START_US + 6}))
    session.run(members.note_key_uses({first: START_US + 1}))
    assert session.run(members.key_uses(shop.id)) == {first: START_US + 5}
    assert session.run(members.key_uses(other.id)) == {second: START_US + 6}

"""Links, passwords, sessions and limits on attempts."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from headrace.domain.access.sign_in import (
    LINK_US,
    SESSION_IDLE_US,
    SESSION_US,
    SESSIONS_OF_OPERATOR_MAX,
    TRIES_OF_ACCOUNT_MAX,
    TRIES_OF_ADDRESS_MAX,
    TRIES_WINDOW_US,
    Role,
    Session,
    Throttle,
    issue,
    issue_link,
    issue_session,
    throttles,
    token_hash,
)
from headrace.store.contract.sign_in import Member
from tests.support.events import START_US
from tests.support.session import StoreSession

ANN, BOB = "ann@example.org", "bob@example.org"


def operator(session: StoreSession, email: str = ANN, *, is_owner: bool = False) -> None:
    members = session.store.members
    made = members.invite(email, issue().token_hash, START_US, is_owner=is_owner, actor="test")
    assert session.run(made)


def opened(session: StoreSession, email: str = ANN, at_us: int = START_US) -> Session:
    """A session opened with a password."""
    _, fresh = issue_session(email, at_us, address="192.0.2.1", browser="Firefox")
    assert session.run(session.store.sign_in.open_session(fresh, ()))
    return fresh


def use(session: StoreSession, token: str, email: str, at_us: int = START_US) -> bool:
    _, fresh = issue_session(email, at_us, address="192.0.2.1", browser="Firefox")
    sign_in = session.store.sign_in
    return session.run(sign_in.use_link(token_hash(token), "hash", fresh, issue().token_hash))


def alive(session: StoreSession, one: Session, at_us: int) -> bool:
    return session.run(session.store.sign_in.signed_in(one.token_hash, at_us)) is not None


def actions(session: StoreSession) -> list[tuple[str, str]]:
    rows = session.place.run_sql("SELECT actor, action FROM audit ORDER BY id")
    return [(str(actor), str(action)) for actor, action in rows]


def test_the_first_link_makes_its_user_an_owner(session: StoreSession) -> None:
    token, link = issue_link(None, START_US)
    sign_in = session.store.sign_in
    assert session.run(sign_in.add_link(link, actor="first start"))
    assert session.run(sign_in.link(link.token_hash, START_US)) == link
    assert use(session, token, ANN)
    (account,) = session.run(session.store.members.accounts(START_US))
    assert (account.email, account.is_owner, account.has_password) == (ANN, True, True)
    assert account.seen_us == START_US
    assert session.run(sign_in.password_hash(ANN)) == "hash"
    assert ("sign-in link", "operator.create") in actions(session)


def test_a_link_works_once_and_for_a_day(session: StoreSession) -> None:
    operator(session)
    sign_in = session.store.sign_in
    token, link = issue_link(ANN, START_US)
    assert session.run(sign_in.add_link(link, actor="cli"))
    assert not use(session, token, ANN, START_US + LINK_US)
    assert session.run(sign_in.link(link.token_hash, START_US + LINK_US)) is None
    assert use(session, token, ANN, START_US + LINK_US - 1)
    assert not use(session, token, ANN)


def test_one_of_two_concurrent_uses_of_a_link_wins(session: StoreSession) -> None:
    token, link = issue_link(None, START_US)
    sign_in = session.store.sign_in
    session.run(sign_in.add_link(link, actor="first start"))

    async def both() -> list[bool]:
        people = [issue_session(email, START_US, address="", browser="")[1] for email in (ANN, BOB)]
        uses = [
            sign_in.use_link(token_hash(token), "hash", each, issue().token_hash) for each in people
        ]
        return await asyncio.gather(*uses)

    assert sorted(session.run(both())) == [False, True]
    assert len(session.run(session.store.members.accounts(START_US))) == 1


def test_link_of_one_operator_does_not_work_for_another(session: StoreSession) -> None:
    operator(session, ANN)
    operator(session, BOB)
    token, link = issue_link(ANN, START_US)
    session.run(session.store.sign_in.add_link(link, actor="cli"))
    assert not use(session, token, BOB)
    assert session.run(session.store.sign_in.password_hash(BOB)) is None


def test_expired_links_do_not_count(session: StoreSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.store.access.sign_in.LINKS_MAX", 2)
    add_link = session.store.sign_in.add_link
    (old, kept), (_, short), (_, last) = [issue_link(None, START_US + n) for n in range(3)]
    short = msgspec.structs.replace(short, expires_us=START_US + 2)
    for link in (kept, short, last):
        assert session.run(add_link(link, actor="test"))
    assert session.run(session.store.sign_in.link(token_hash(old), START_US + 3)) == kept
    assert session.run(add_link(issue_link(None, START_US + 4)[1], actor="test"))
    assert session.run(session.store.sign_in.link(token_hash(old), START_US + 4)) is None


def test_only_operators_get_links(session: StoreSession) -> None:
    _, link = issue_link(ANN, START_US)
    assert not session.run(session.store.sign_in.add_link(link, actor="cli"))
    operator(session, BOB, is_owner=True)
    operator(session)
    assert session.run(session.store.members.remove(ANN, START_US, actor="cli"))
    assert not session.run(session.store.sign_in.add_link(link, actor="cli"))


def test_a_used_link_ends_other_sessions_and_links(session: StoreSession) -> None:
    operator(session)
    before = opened(session)
    tokens = []
    for _ in range(2):
        token, link = issue_link(ANN, START_US)
        session.run(session.store.sign_in.add_link(link, actor="cli"))
        tokens.append(token)
    assert use(session, tokens[0], ANN)
    assert not alive(session, before, START_US)
    assert not use(session, tokens[1], ANN)


def test_a_session_ends_when_idle_and_in_any_case(session: StoreSession) -> None:
    operator(session)
    one = opened(session)
    sign_in = session.store.sign_in
    assert alive(session, one, START_US + SESSION_IDLE_US - 1)
    assert not alive(session, one, START_US + SESSION_IDLE_US)
    at_us = START_US
    while at_us + SESSION_IDLE_US - 1 < START_US + SESSION_US:
        at_us += SESSION_IDLE_US - 1
        session.run(sign_in.seen(one.token_hash, at_us))
    assert alive(session, one, START_US + SESSION_US - 1)
    assert not alive(session, one, START_US + SESSION_US)
    assert session.run(sign_in.sessions(ANN, START_US + SESSION_US)) == []


def test_earlier_use_does_not_shorten_a_session(session: StoreSession) -> None:
    operator(session)
    one = opened(session)
    session.run(session.store.sign_in.seen(one.token_hash, START_US + 10))
    session.run(session.store.sign_in.seen(one.token_hash, START_US + 5))
    (found,) = session.run(session.store.sign_in.sessions(ANN, START_US + 10))
    assert found.seen_us == START_US + 10


def test_a_new_password_ends_all_other_sessions(session: StoreSession) -> None:
    operator(session)
    kept, other = opened(session), opened(session)
    sign_in = session.store.sign_in
    assert session.run(sign_in.set_password(ANN, "new", kept.token_hash, START_US))
    assert alive(session, kept, START_US)
    assert not alive(session, other, START_US)
    assert session.run(sign_in.password_hash(ANN)) == "new"
    assert ("operator ann@example.org", "operator.set_password") in actions(session)


def test_only_its_owner_ends_a_session(session: StoreSession) -> None:
    operator(session, ANN)
    operator(session, BOB)
    one = opened(session)
    end = session.store.sign_in.end_session
    assert not session.run(end(BOB, one.id, START_US, action="session.revoke"))
    assert session.run(end(ANN, one.id, START_US, action="session.revoke"))
    assert not session.run(end(ANN, one.id, START_US, action="session.revoke"))
    assert not alive(session, one, START_US)


def test_too_many_sessions_end_the_oldest(session: StoreSession) -> None:
    operator(session)
    first = opened(session)
    rest = [opened(session, at_us=START_US + n + 1) for n in range(SESSIONS_OF_OPERATOR_MAX)]
    assert not alive(session, first, START_US)
    assert all(alive(session, one, START_US) for one in rest)


def test_revoked_operator_is_signed_out_at_once(session: StoreSession) -> None:
    operator(session, BOB, is_owner=True)
    operator(session)
    one = opened(session)
    assert session.run(session.store.members.remove(ANN, START_US, actor="cli"))
    assert not alive(session, one, START_US)
    assert session.run(session.store.sign_in.password_hash(ANN)) is None
    _, late = issue_session(ANN, START_US, address="", browser="")
    assert not session.run(session.store.sign_in.open_session(late, ()))


def test_roles_come_with_the_session(session: StoreSession) -> None:
    operator(session)
    one = opened(session)
    project = session.run(session.store.projects.create("shop", START_US, actor="test"))
    member = Member(email=ANN, role=Role.VIEWER, added_us=START_US)
    session.run(session.store.members.set_member(project.id, member, START_US, actor="test"))
    found = session.run(session.store.sign_in.signed_in(one.token_hash, START_US))
    assert found is not None
    assert found.role_in(project.id) is Role.VIEWER
    assert found.role_in(project.id + 1) is None
    assert not found.is_owner


@pytest.mark.parametrize(
    ("which", "tries_max"), [(0, TRIES_OF_ACCOUNT_MAX), (1, TRIES_OF_ADDRESS_MAX)]
)
def test_attempts_are_counted_by_account_and_by_address(
    session: StoreSession, which: int, tries_max: int
) -> None:
    count = session.store.sign_in.count_try
    subject = throttles(ANN, "192.0.2.1")[which]
    assert all(session.run(count((subject,), START_US + n)) == 0 for n in range(tries_max))
    wait_us = session.run(count((subject,), START_US + 100))
    assert wait_us == TRIES_WINDOW_US - 100
    assert session.run(count((subject,), START_US + TRIES_WINDOW_US)) == 0


def test_concurrent_attempts_do_not_exceed_the_limit(session: StoreSession) -> None:
    subject = throttles(ANN, "")[0]

    async def many() -> list[int]:
        tries = [session.store.sign_in.count_try((subject,), START_US) for _ in range(30)]
        return await asyncio.gather(*tries)

    assert session.run(many()).count(0) == TRIES_OF_ACCOUNT_MAX


def test_throttled_attempt_is_not_counted(session: StoreSession) -> None:
    count = session.store.sign_in.count_try
    account, place = throttles(ANN, "192.0.2.1")
    for _ in range(TRIES_OF_ACCOUNT_MAX):
        session.run(count((account, place), START_US))
    for _ in range(TRIES_OF_ADDRESS_MAX):
        assert session.run(count((account, place), START_US)) > 0
    assert session.run(count((throttles(BOB, "")[0], place), START_US)) == 0


def test_throttled_attempt_leaves_no_row(session: StoreSession) -> None:
    """Otherwise one throttled address could fill the table with accounts."""
    count = session.store.sign_in.count_try
    place = throttles(ANN, "192.0.2.1")[1]
    for _ in range(TRIES_OF_ADDRESS_MAX):
        session.run(count((place,), START_US))
    assert session.run(count((throttles(BOB, "")[0], place), START_US + 1)) > 0
    assert session.place.run_sql("SELECT subject FROM sign_in_attempts") == [(place.subject,)]


def test_throttle_lasts_until_the_later_end(session: StoreSession) -> None:
    count = session.store.sign_in.count_try
    first, later = Throttle("a", 1), Throttle("b", 1)
    session.run(count((first,), START_US))
    session.run(count((later,), START_US + 500))
    assert session.run(count((first, later), START_US + 600)) == TRIES_WINDOW_US - 100


def test_signing_in_resets_the_account(session: StoreSession) -> None:
    operator(session)
    account = throttles(ANN, "")[0]
    for _ in range(TRIES_OF_ACCOUNT_MAX):
        session.run(session.store.sign_in.count_try((account,), START_US))
    _, fresh = issue_session(ANN, START_US, address="", browser="")
    assert session.run(session.store.sign_in.open_session(fresh, (account,)))
    assert session.run(session.store.sign_in.count_try((account,), START_US)) == 0


def test_failure_names_only_operators(session: StoreSession) -> None:
    operator(session)
    note = session.store.sign_in.note_failure
    session.run(note(ANN, "192.0.2.1", START_US))
    session.run(note("my password by mistake", "192.0.2.1", START_US))
    assert actions(session)[-2:] == [
        ("operator ann@example.org", "session.refused"),
        ("somebody", "session.refused"),
    ]
    assert "mistake" not in repr(session.place.run_sql("SELECT * FROM audit"))


def test_showing_personal_data_is_audited_and_hiding_is_not(session: StoreSession) -> None:
    operator(session)
    one = opened(session)
    sign_in = session.store.sign_in
    project = session.run(session.store.projects.create("shop", START_US, actor="test"))
    who = session.run(sign_in.signed_in(one.token_hash, START_US))
    assert who is not None
    session.run(sign_in.reveal(who, project.id, START_US + 9, START_US, "/contacts/1"))
    shown = session.run(sign_in.signed_in(one.token_hash, START_US))
    assert shown is not None
    assert shown.session.revealed_project_id == project.id
    assert shown.session.revealed_until_us == START_US + 9
    session.run(sign_in.reveal(who, project.id, 0, START_US, "/contacts/1"))
    assert [name for _, name in actions(session)].count("personal_data.reveal") == 1


def test_nothing_stored_opens_anything(session: StoreSession) -> None:
    """The tables hold hashes of tokens only."""
    operator(session)
    link_token, link = issue_link(ANN, START_US)
    session.run(session.store.sign_in.add_link(link, actor="cli"))
    token, fresh = issue_session(ANN, START_US, address="", browser="")
    session.run(session.store.sign_in.open_session(fresh, ()))
    tables = ("sign_in_links", "sessions", "audit")
    kept = repr([session.place.run_sql(f"SELECT * FROM {name}") for name in tables])
    assert link_token not in kept
    assert token not in kept

"""Finding messages by status, recipient, contact and sending domain, page by page."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.contract.messages import Message
from headrace.store.messages.sending import message_search
from headrace.store.messages.sending.message_search import MessageFilter, Place
from tests.support import mail
from tests.support.session import StoreSession


def found(
    session: StoreSession, project_id: int, limit: int = 3, **wanted: object
) -> Sequence[Message]:
    """All that a filter finds, read page by page; no page is longer than asked for."""
    messages: list[Message] = []
    before: Place | None = None
    while True:
        page = session.run(
            session.store.messages.search.find(
                project_id,
                MessageFilter(**wanted),  # type: ignore[arg-type]
                before=before,
                limit=limit,
            )
        )
        assert len(page.messages) <= limit
        messages += page.messages
        before = page.next_before
        if before is None:
            return messages


def addresses(messages: Sequence[Message]) -> list[str | None]:
    return [one.address for one in messages]


def test_all_are_found_newest_first_and_of_the_project_alone(session: StoreSession) -> None:
    project_id, other = mail.new_project(session), mail.new_project(session, "b", worker=False)
    made = [mail.send_one(session, project_id, to=f"p{n}@b.example") for n in range(8)]
    mail.send_one(session, other)

    shown = found(session, project_id)

    assert sorted(one.id for one in shown) == sorted(one.id for one in made)
    places = [(one.created_us, one.id) for one in shown]
    assert places == sorted(places, reverse=True)


def test_a_recipient_is_found_with_and_without_a_contact(session: StoreSession) -> None:
    project_id = mail.new_project(session)
    for to in ("ann@b.example", "bob@b.example", "ann@b.example"):
        mail.send_one(session, project_id, to=to)
    contact_id = found(session, project_id, recipient="ann@b.example")[0].contact_id
    assert contact_id is not None

    assert addresses(found(session, project_id, recipient="ann@b.example")) == ["ann@b.example"] * 2
    assert len(found(session, project_id, contact_id=contact_id)) == 2
    assert not found(session, project_id, recipient="nobody@b.example")


def test_status_and_domain_narrow_every_list(session: StoreSession) -> None:
    project_id = mail.new_project(session)
    mail.send_one(session, project_id)
    mail.deliver(session, ReplyClass.ADDRESS_BAD)
    sent = mail.send_one(session, project_id, to="bob@b.example", **{"from": "a@other.example"})
    mail.deliver(session)

    bounced = found(session, project_id, status=MessageStatus.BOUNCED)
    assert addresses(bounced) == ["ann@example.net"]
    assert [m.id for m in found(session, project_id, status=MessageStatus.SENT)] == [sent.id]
    assert [m.id for m in found(session, project_id, domain="other.example")] == [sent.id]
    assert not found(session, project_id, domain="example.org", recipient="bob@b.example")


@pytest.mark.parametrize("slice_", [1, 2])
def test_what_a_page_may_compare_is_bounded_and_nothing_is_left_out(
    session: StoreSession, monkeypatch: pytest.MonkeyPatch, slice_: int
) -> None:
    monkeypatch.setattr(message_search, "SLICE", slice_)
    monkeypatch.setattr(message_search, "COMPARED_MAX", 2)
    project_id = mail.new_project(session)
    oldest = mail.send_one(session, project_id, **{"from": "a@other.example"})
    for n in range(7):
        mail.send_one(session, project_id, to=f"p{n}@b.example")

    wanted = MessageFilter(domain="other.example")
    search = session.store.messages.search
    first = session.run(search.find(project_id, wanted, before=None, limit=3))
    assert (list(first.messages), first.next_before is None) == ([], False)
    assert [m.id for m in found(session, project_id, domain="other.example")] == [oldest.id]

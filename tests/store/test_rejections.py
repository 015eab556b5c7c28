"""Recent rejections, kept within limits."""

from __future__ import annotations

import msgspec

from headrace.store.contract.rejections import Rejection
from tests.support.events import START_US
from tests.support.session import StoreSession


def rejection(number: int, *, project_id: int = 1) -> Rejection:
    return Rejection(
        project_id=project_id,
        at_us=START_US + number,
        status=422,
        code="ValidationError",
        message=f"event: is required ({number})",
        details=[("event", "is required"), ("", 'quote " and é')],
        route="POST /events",
        api_key_id="0123456789abcdef" if number % 2 else None,
        request_id=f"r{number}",
        body_shape={"email": "string of 12", "payload": "object of 3"},
        body_bytes=number,
    )


def messages(session: StoreSession, project_id: int = 1, **options: int) -> list[str]:
    arguments = {"before": None, "limit": 200} | options
    found = session.run(session.store.rejections.list(project_id, **arguments))  # type: ignore[arg-type]
    return [each.message for each in found]


def message(number: int) -> str:
    return rejection(number).message


def prepare_projects(session: StoreSession, count: int = 2) -> None:
    for number in range(count):
        session.run(session.store.projects.create(f"p{number}", START_US, actor="test"))


def test_rejections_are_read_as_stored(session: StoreSession) -> None:
    session.run(session.store.rejections.add([rejection(1), rejection(2)]))
    found = session.run(session.store.rejections.list(1, before=None, limit=10))
    assert [each.request_id for each in found] == ["r2", "r1"]
    assert found[1] == msgspec.structs.replace(rejection(1), id=found[1].id)


def test_rejections_are_paged_newest_first_by_project(session: StoreSession) -> None:
    add = session.store.rejections.add
    session.run(add([rejection(n, project_id=1 + n % 2) for n in range(10)]))
    page = session.run(session.store.rejections.list(1, before=None, limit=3))
    assert [each.message for each in page] == [message(n) for n in (8, 6, 4)]
    assert messages(session, before=page[-1].id) == [message(2), message(0)]
    assert messages(session, project_id=3) == []


def test_prune_removes_old_rejections(session: StoreSession) -> None:
    prepare_projects(session)
    session.run(session.store.rejections.add([rejection(n) for n in range(10)]))
    assert session.run(session.store.rejections.prune(START_US + 4, 100, 1000)) == 4
    assert messages(session) == [message(n) for n in range(9, 3, -1)]


def test_prune_removes_the_excess_of_each_project(session: StoreSession) -> None:
    prepare_projects(session)
    add = session.store.rejections.add
    session.run(add([rejection(n, project_id=1) for n in range(10)]))
    session.run(add([rejection(n, project_id=2) for n in range(3)]))
    assert session.run(session.store.rejections.prune(0, 4, 1000)) == 6
    assert messages(session) == [message(n) for n in (9, 8, 7, 6)]
    assert len(messages(session, project_id=2)) == 3


def test_prune_works_in_slices(session: StoreSession) -> None:
    prepare_projects(session)
    session.run(session.store.rejections.add([rejection(n) for n in range(25)]))
    removed = []
    while count := session.run(session.store.rejections.prune(START_US + 20, 10, 7)):
        assert count <= 14
        removed.append(count)
    assert sum(removed) == 20
    assert messages(session) == [message(n) for n in range(24, 19, -1)]


def test_nothing_to_prune(session: StoreSession) -> None:
    assert session.run(session.store.rejections.prune(START_US, 10, 100)) == 0

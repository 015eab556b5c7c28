"""Suppressions from files: widened, kept without the address of an erased person, still applied."""

from __future__ import annotations

from headrace.domain.messages.kinds import SuppressionReason, SuppressionScope
from headrace.domain.messages.requests import SuppressionFields
from headrace.domain.messages.suppression_files import ImportRules
from headrace.pipeline.messages.suppression_lists import (
    ImportReport,
    export_suppressions,
    import_suppressions,
)
from tests.support import mail
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact

#: More than any wait of an erasure.
DAYS_US = 10 * 86_400_000_000


def bring(session: StoreSession, project: int, text: str) -> ImportReport:
    return session.run(
        import_suppressions(
            session.store.messages.suppressions,
            project,
            text.splitlines(keepends=True),
            ImportRules(),
            now_us=START_US,
            actor="test",
        )
    )


def exported(session: StoreSession, project: int) -> list[str]:
    async def read() -> str:
        pieces = export_suppressions(session.store.messages.suppressions, project)
        return "".join([piece async for piece in pieces])

    return session.run(read()).splitlines()


def listed(session: StoreSession, project: int, email: str) -> list[tuple[str, str]]:
    found = session.run(session.store.messages.suppressions.of_address(project, email))
    return [(one.reason.value, one.scope.value) for one in found]


def test_an_import_adds_widens_and_can_be_repeated(session: StoreSession) -> None:
    project = mail.new_project(session)
    fields = SuppressionFields(email="a@b.example", scope=SuppressionScope.MARKETING, note="asked")
    session.run(session.store.messages.suppressions.add(project, fields, START_US, actor="me"))
    lines = "".join(f"p{n}@b.example,bounce,\n" for n in range(450))
    text = f"email,reason,scope\na@b.example,manual,all\n{lines}nobody,,\n"

    report = bring(session, project, text)
    assert (report.added, report.already_listed, report.rejected) == (450, 1, 1)
    assert listed(session, project, "a@b.example") == [("manual", "all")]
    again = bring(session, project, text)
    assert (again.added, again.already_listed) == (0, 451)
    assert len(exported(session, project)) == 452


def test_what_was_exported_can_be_imported(session: StoreSession) -> None:
    first, second = mail.new_project(session), mail.new_project(session, "other", worker=False)
    text = (
        "email,reason,scope,evidence,created_at\n"
        "a@b.example,hard_bounce,all,550 5.1.1 unknown,2024-01-02T03:04:05Z\n"
        "c@b.example,complaint,all,,2024-01-02T03:04:04Z\n"
        "d@b.example,manual,marketing,,2024-01-02T03:04:03Z\n"
    )
    bring(session, first, text)
    lines = exported(session, first)
    assert lines[1].startswith("a@b.example,hard_bounce,all,,550 5.1.1 unknown,test,2024-01-02T03")
    bring(session, second, "\n".join(lines))
    assert exported(session, second) == lines


def test_an_imported_address_stays_suppressed_after_an_erasure(session: StoreSession) -> None:
    project = mail.new_project(session)
    text = "email,reason\nann@example.net,bounce\n"
    bring(session, project, text)
    contact = create_contact(session, project, email="ann@example.net")
    erasures = session.store.erasures
    begun = session.run(erasures.begin(project, contact.id, START_US, actor="test"))
    assert begun is not None
    while session.run(erasures.advance(begun.id, 10, START_US + DAYS_US)):
        pass

    assert listed(session, project, "ann@example.net") == [("hard_bounce", "all")]
    assert exported(session, project)[1:] == []
    # A file does not bring the address back.
    assert bring(session, project, text).already_listed == 1
    assert session.place.run_sql("SELECT email FROM suppressions") == [(None,)]
    mail.send_one(session, project)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "suppressed_hard_bounce"


def test_addresses_are_found_by_their_beginning(session: StoreSession) -> None:
    project = mail.new_project(session)
    bring(session, project, "email\nann@b.example\nanna@b.example\nANNE@b.example\nbob@b.example\n")
    found = session.run(session.store.messages.suppressions.starting(project, "ann", limit=10))
    assert [one.email for one in found] == ["ann@b.example", "anna@b.example", "anne@b.example"]
    assert {one.reason for one in found} == {SuppressionReason.MANUAL}
    assert session.run(session.store.messages.suppressions.starting(project, "%", limit=10)) == []

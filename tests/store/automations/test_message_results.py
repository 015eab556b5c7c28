"""A run continues when its message is settled, and a step says what an unknown outcome means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace.domain.automations.running.states import RunStatus
from headrace.domain.contacts.contact import Contact
from headrace.domain.messages.feedback.form import Feedback, FeedbackKind, Source
from headrace.domain.messages.feedback.notification import Intake, Received
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.contract.messages import Claimed
from tests.support.automation_mail import MailWorker, send_mail, set_up_mail
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, SECOND_US, StoredAutomations, chain, delay

#: A run that has waited so long looks at its message once in a minute.
LONG_SECONDS = 3600


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    shop = StoredAutomations(session)
    set_up_mail(shop)
    return shop


class Waiting:
    """A run that has waited long for its message, and the claim of this message."""

    def __init__(self, shop: StoredAutomations, worker: MailWorker, claimed: Claimed) -> None:
        self.shop = shop
        self.worker = worker
        self.claimed = claimed
        self.id = claimed.message.id

    def _lists(self, outcome: str) -> None:
        lists = self.shop.session.store.messages.lists
        work = lists.settle(PROJECT, self.id, outcome, self.shop.clock(), actor="tester")
        assert self.shop.session.run(work) is not None

    def _begun(self, outcome: ReplyClass) -> None:
        begun = self.worker.start(self.claimed)
        assert begun.attempt is not None
        self.worker.record(self.claimed, begun.attempt, outcome)

    def relay(self) -> None:
        self._begun(ReplyClass.SENT)

    def relay_rejects(self) -> None:
        self._begun(ReplyClass.ADDRESS_BAD)

    def person(self) -> None:
        self._begun(ReplyClass.UNKNOWN)
        self._lists("sent")

    def person_fails_it(self) -> None:
        self._begun(ReplyClass.UNKNOWN)
        self._lists("failed")

    def late_worker(self) -> None:
        """It was taken for dead, but was only paused."""
        begun = self.worker.start(self.claimed)
        place = self.shop.session.place
        place.run_sql("UPDATE messages SET lease_until_us = 1 WHERE id = ?", self.id)
        assert self.shop.session.run(self.worker.outbox.rescue(100)) == 1
        assert begun.attempt is not None
        self.worker.record(self.claimed, begun.attempt)

    def report(self) -> None:
        self._begun(ReplyClass.UNKNOWN)
        report = Feedback(
            kind=FeedbackKind.HARD,
            source=Source.DSN,
            message_id=self.id,
            address=self.claimed.message.address,
            reason=ReplyClass.ADDRESS_BAD,
        )
        got = Received(
            reports=(report,), intake=Intake.IMAP, digest=self.id.encode()[:32], raw="extract"
        )
        notifications = self.shop.session.store.messages.notifications
        self.shop.session.run(notifications.take(got, self.shop.clock()))

    def guardrail(self) -> None:
        self.shop.session.run(
            self.shop.session.store.topics.subscribe(
                PROJECT,
                self.claimed.message.contact_id or "",
                self.claimed.message.topic_id or "",
                self.shop.clock(),
                wanted=False,
            )
        )
        assert self.worker.start(self.claimed).state is MessageStatus.SKIPPED

    def not_composed(self) -> None:
        work = self.worker.outbox.end(
            self.worker.owner, self.claimed, MessageStatus.FAILED, "compose"
        )
        assert self.shop.session.run(work)

    def cancelled(self) -> None:
        self.shop.session.run(self.worker.outbox.release(self.worker.owner, [self.claimed]))
        lists = self.shop.session.store.messages.lists
        self.shop.session.run(lists.cancel(PROJECT, self.id, self.shop.clock()))


WAYS: tuple[Callable[[Waiting], None], ...] = (
    *(Waiting.relay, Waiting.relay_rejects, Waiting.person, Waiting.person_fails_it),
    *(Waiting.late_worker, Waiting.report, Waiting.guardrail, Waiting.not_composed),
    Waiting.cancelled,
)


def test_run_continues_as_soon_as_its_message_is_settled(shop: StoredAutomations) -> None:
    worker = MailWorker(shop)
    of = shop.start_with(chain(send_mail(), delay(86_400)))
    people = [person(shop, f"p{number}") for number in range(len(WAYS))]
    for each in people:
        shop.send(external_id=each.external_id)
    claims = {claim.message.contact_id: claim for claim in worker.claim()}
    shop.forward(LONG_SECONDS)
    shop.session.run(worker.outbox.renew(worker.owner, list(claims.values())))
    for way, each in zip(WAYS, people, strict=True):
        before = {row.contact_id: row for row in shop.runs(of)}
        assert (before[each.id].due_us or 0) > shop.clock() + 10 * SECOND_US
        way(Waiting(shop, worker, claims[each.id]))
        shop.settle()
        after = {row.contact_id: row for row in shop.runs(of)}
        moved = [row.contact_id for row in after.values() if row != before[row.contact_id]]
        assert moved == [each.id], way.__name__
        assert (after[each.id].at_step, after[each.id].status) in {
            ("s1", RunStatus.WAITING),
            ("s0", RunStatus.FAILED),
        }


def person(shop: StoredAutomations, name: str) -> Contact:
    return shop.contact(name, email=f"{name}@example.net")


def test_step_decides_about_an_unknown_outcome(shop: StoredAutomations) -> None:
    """`hold` never repeats the mail and `retry` once, whatever the policy of the project is."""
    worker = MailWorker(shop)
    person(shop, "ann")

    def attempts(**config: Any) -> list[tuple[str, int]]:
        """State and attempts after two unknown outcomes, ten minutes apart."""
        name = f"go{len(shop.events_named('go')) + shop.new_event().sequence}"
        shop.start_with(chain(send_mail(**config), event=name), name)
        shop.send(name, external_id="ann")
        worker.deliver(ReplyClass.UNKNOWN)
        shop.forward(601)
        worker.deliver(ReplyClass.UNKNOWN)
        shop.forward(LONG_SECONDS)
        assert worker.claim() == []
        rows = shop.session.place.run_sql(
            "SELECT state, attempt FROM messages ORDER BY created_us DESC LIMIT 1"
        )
        return [(state, attempt) for state, attempt in rows]

    held, retried = [("unknown", 1)], [("unknown", 2)]
    assert attempts(unknown_outcome="retry") == retried
    assert attempts() == held
    assert attempts(unknown_outcome="hold", kind="transactional") == held
    assert attempts(kind="transactional") == retried
    projects = shop.session.store.projects
    shop.session.run(
        projects.set_policy(
            PROJECT, "unknown_outcome_marketing", "retry", shop.clock(), actor="tester"
        )
    )
    assert attempts() == retried
    assert attempts(unknown_outcome="hold") == held

"""What steps that send mail need, and the messages that they queue."""

from __future__ import annotations

from typing import Any

from headrace.domain.contacts.topics import TopicFields
from headrace.domain.events.identity import LANES
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.requests import TemplateFields
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.contract.messages import (
    Claimed,
    Ended,
    EndResult,
    Start,
    StartResult,
    VersionContent,
)
from headrace.store.messages.sending.outbox import Outbox
from tests.support.stored_automations import PROJECT, StoredAutomations


def set_up_mail(shop: StoredAutomations) -> None:
    """A verified domain, a published template and a topic."""
    store, now_us = shop.session.store.messages, shop.clock()
    shop.session.run(
        store.domains.create(
            PROJECT, "mail.example.com", now_us, dkim=("s", ""), verified_by="t", actor="t"
        )
    )
    fields = TemplateFields(name="Hello", channel="email", subject_template="Hi", rendered_text="x")
    template = shop.session.run(store.templates.create(PROJECT, fields, now_us))
    content = VersionContent(subject="Hi", text="Hi {{ name }}")
    shop.session.run(store.templates.publish(template, content, now_us, actor="t"))
    topics = shop.session.store.topics
    shop.session.run(
        topics.create(PROJECT, TopicFields(name="News", default_subscribed=True), now_us)
    )


def send_mail(**config: Any) -> dict[str, Any]:
    """A step that sends mail."""
    named = {"template": "Hello", "domain": "mail.example.com", "topic": "News"}
    return {"type": "send_email_template", "config": named | config}


def messages(shop: StoredAutomations) -> list[tuple[Any, ...]]:
    """Columns: id, state, address, run_id, step_key, due_us; in the order of creation."""
    return list(
        shop.session.place.run_sql(
            "SELECT id, state, address, run_id, step_key, due_us FROM messages ORDER BY created_us"
        )
    )


def finish(shop: StoredAutomations, state: MessageStatus, reason: str | None = None) -> None:
    """Let the outbox finish all messages."""
    shop.session.place.run_sql(
        "UPDATE messages SET state = ?, reason = ?, due_us = NULL, finished_us = ?, sent_us = ?",
        *(state.value, reason, shop.clock(), shop.clock()),
    )


class MailWorker:
    """The store's outbox as a worker uses it, with the clock of the test; there is no relay."""

    def __init__(self, shop: StoredAutomations, owner: str = "somewhere/1:1:1") -> None:
        self.shop = shop
        self.owner = owner
        outbox = shop.session.store.messages.outbox
        self.outbox = Outbox(
            outbox._database,
            outbox._system_events,
            outbox._keys,
            shop.clock,
            lanes=lambda: range(LANES),
            is_alive=lambda _: True,
        )

    def claim(self, limit: int = 100) -> list[Claimed]:
        return list(self.shop.session.run(self.outbox.claim(self.owner, limit)))

    def start(self, claimed: Claimed) -> StartResult:
        begun = Start(claimed=claimed, relay="test", subject="Hi")
        results = self.shop.session.run(self.outbox.start(self.owner, [begun]))
        return results[claimed.message.id]

    def record(
        self, claimed: Claimed, attempt: int, outcome: ReplyClass = ReplyClass.SENT
    ) -> EndResult:
        ended = Ended(claimed=claimed, attempt=attempt, outcome=outcome, relay="test")
        results = self.shop.session.run(self.outbox.record(self.owner, [ended]))
        return results[claimed.message.id]

    def deliver(self, outcome: ReplyClass = ReplyClass.SENT) -> int:
        """Hand over all messages that are due, with this result; returns how many."""
        count = 0
        for claimed in self.claim():
            begun = self.start(claimed)
            if begun.attempt is not None:
                self.record(claimed, begun.attempt, outcome)
                count += 1
        return count

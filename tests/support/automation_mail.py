"""What steps that send mail need, and the messages that they queue."""

from __future__ import annotations

from typing import Any

from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.requests import TemplateFields
from headrace.store.contract.messages import VersionContent
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

"""The facts about contact and project that a decision reads."""

from __future__ import annotations

from headrace.domain.automations.definition.model import StepType
from headrace.domain.automations.running.runs import Run, stable_id
from headrace.domain.automations.running.version import Version
from headrace.domain.automations.running.view import RunPolicies, Subscription, View
from headrace.domain.contacts.contact import Contact
from headrace.domain.events.identity import contact_lane
from headrace.store.access.policies import policies_of
from headrace.store.access.sending_policies import (
    read_policy_rows,
    run_values_of,
    sending_policies_of,
)
from headrace.store.contacts.groups.subscriptions import subscription_states
from headrace.store.contacts.groups.topic_rows import COLUMNS as TOPIC
from headrace.store.contacts.groups.topic_rows import topic
from headrace.store.contacts.refs import ContactRef
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction
from headrace.store.messages.message_rows import find_message

_LIVE = "project_id = $1 AND id = ANY($2::text[]) AND deleted_us IS NULL"
AUDIENCES = sql(f"SELECT id FROM audiences WHERE {_LIVE}")
TOPICS = sql(f"SELECT {TOPIC} FROM topics WHERE {_LIVE}")
MEMBER_OF = sql(
    "SELECT audience_id FROM audience_members WHERE lane = $1 AND contact_id = $2 "
    "AND audience_id = ANY($3::text[])"
)
#: Types of the steps that send messages.
SENDS = frozenset({StepType.SEND_EMAIL, StepType.SEND_PUSH})


async def read_run_policies(tx: Transaction, project_id: int) -> RunPolicies:
    """Policies of a project that runs obey."""
    rows = await read_policy_rows(tx, project_id)
    return RunPolicies(
        default_timezone=sending_policies_of(rows).default_timezone,
        event_payload_limit_bytes=policies_of(rows).event_payload_limit_bytes,
        **run_values_of(rows),
    )


async def read_view(
    tx: Transaction, contact: Contact, of: Version, policies: RunPolicies, run: Run | None = None
) -> View:
    """What a decision about a contact may depend on.

    Args:
        run: None before it has begun.
    """
    wanted = of.needs
    return View(
        contact=contact,
        audiences=await _audiences(tx, contact, sorted(wanted.audiences)),
        topics=await _topics(tx, contact, sorted(wanted.topics)),
        last_message_events={} if run is None else await _message_events(tx, run),
        policies=policies,
    )


async def _audiences(tx: Transaction, contact: Contact, ids: list[str]) -> dict[str, bool]:
    if not ids:
        return {}
    live = [row[0] for row in await tx.rows(AUDIENCES, contact.project_id, ids)]
    lane = contact_lane(contact.project_id, contact.id)
    inside = {row[0] for row in await tx.rows(MEMBER_OF, lane, contact.id, ids)}
    return {each: each in inside for each in live}


async def _topics(tx: Transaction, contact: Contact, ids: list[str]) -> dict[str, Subscription]:
    """A stored choice counts as the contact's own, also if an operator stored it."""
    if not ids:
        return {}
    topics = [topic(row) for row in await tx.rows(TOPICS, contact.project_id, ids)]
    ref = ContactRef(0, contact.id, contact.project_id, contact.lane)
    return {
        held.topic.id: Subscription(held.is_subscribed, own_choice=held.changed_us is not None)
        for held in await subscription_states(tx, ref, topics)
    }


async def _message_events(tx: Transaction, run: Run) -> dict[str, str]:
    found: dict[str, str] = {}
    for step in run.steps:
        if step.type in SENDS:
            held = await find_message(tx, stable_id(run.id, step.key))
            if held is not None and held.last_event is not None:
                found[step.key] = held.last_event
    return found

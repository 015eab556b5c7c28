"""Merges from and to rows, with snapshots of both contacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.contacts.contact import Contact
from headrace.store.contract.merges import Merge

COLUMNS = (
    "number, id, project_id, contact_id, other_contact_id, actor, created_us, undone_us, undone_by"
)


class TopicChoice(msgspec.Struct, frozen=True):
    """A contact's choice about a topic."""

    topic_id: str
    is_subscribed: bool
    changed_us: int


class Memberships(msgspec.Struct, frozen=True, kw_only=True):
    """A contact's topic choices and audiences."""

    topics: list[TopicChoice] = []
    opted_out_us: int | None = None
    #: Audience -> when the contact entered it.
    audiences: dict[str, int] = {}


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One contact of a merge."""

    contact: Contact
    #: Its position in lists.
    number: int
    memberships: Memberships


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The data for undoing a merge."""

    own: Side
    other: Side
    #: The survivor right after the merge.
    after: Contact
    after_memberships: Memberships
    #: `(kind, value)` that led to the other contact before.
    aliases: list[tuple[str, str]]


class Undoable(msgspec.Struct, frozen=True):
    """A merge with the data for undoing it; None when it can no longer be undone."""

    merge: Merge
    snapshot: Snapshot | None


def merge(row: Sequence[Any]) -> Merge:
    """The merge of a row of `COLUMNS`."""
    number, merge_id, _, contact_id, other_id, actor, created_us, undone_us, undone_by = row
    return Merge(
        number=number,
        id=merge_id,
        contact_id=contact_id,
        other_contact_id=other_id,
        actor=actor,
        created_us=created_us,
        undone_us=undone_us,
        undone_by=undone_by,
    )


def undoable(row: Sequence[Any]) -> Undoable:
    """From a row of `COLUMNS` and `snapshot`."""
    *columns, text = row
    snapshot = None if text is None else msgspec.json.decode(text, type=Snapshot)
    return Undoable(merge(columns), snapshot)


def merged_memberships(own: Memberships, other: Memberships, now_us: int) -> Memberships:
    """Of each topic the newer choice, and all audiences.

    One of the two may have unsubscribed from everything: that overrides each earlier subscription
    of the other one, and applies to all other topics from then on.
    """
    topics = {choice.topic_id: choice for choice in _after_opt_out(own, other.opted_out_us)}
    for choice in _after_opt_out(other, own.opted_out_us):
        held = topics.get(choice.topic_id)
        if held is None or held.changed_us < choice.changed_us:
            topics[choice.topic_id] = choice
    entered = dict.fromkeys(other.audiences, now_us) | own.audiences
    outs = [of.opted_out_us for of in (own, other) if of.opted_out_us is not None]
    out_us = max(outs, default=None)
    return Memberships(topics=list(topics.values()), opted_out_us=out_us, audiences=entered)


def _after_opt_out(of: Memberships, out_us: int | None) -> list[TopicChoice]:
    """Choices of one contact after the other one unsubscribed from everything."""
    if out_us is None:
        return of.topics
    return [
        TopicChoice(choice.topic_id, is_subscribed=False, changed_us=out_us)
        if choice.is_subscribed and choice.changed_us < out_us
        else choice
        for choice in of.topics
    ]


def separated_memberships(
    current: Memberships, before: Memberships, after: Memberships
) -> Memberships:
    """The survivor's memberships without those gained by the merge; later choices stay."""
    was = {choice.topic_id: choice for choice in before.topics}
    came = {choice.topic_id: choice for choice in after.topics}
    topics = {choice.topic_id: choice for choice in current.topics}
    for topic_id, choice in came.items():
        if topics.get(topic_id) == choice:
            del topics[topic_id]
            if topic_id in was:
                topics[topic_id] = was[topic_id]
    audiences = {
        audience_id: entered_us
        for audience_id, entered_us in current.audiences.items()
        if audience_id in before.audiences or after.audiences.get(audience_id) != entered_us
    }
    out_us = current.opted_out_us
    if out_us == after.opted_out_us:
        out_us = before.opted_out_us
    return Memberships(topics=list(topics.values()), opted_out_us=out_us, audiences=audiences)

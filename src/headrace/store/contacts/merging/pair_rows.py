"""Pairs of contacts that events treat as one, from and to rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.ids import uuid_text
from headrace.store.contract.merges import ContactPair
from headrace.store.contract.processing import ConflictFound

PairFound = tuple[int, str, str, str, str, int, int, int, bytes]

COLUMNS = (
    "number, id, contact_id, other_contact_id, events, external_id_count, email_count, "
    "last_event_id, first_us, last_us, dismissed_us, dismissed_by, dismissed_reason"
)


def pairs_found(conflicts: Sequence[ConflictFound]) -> list[PairFound]:
    """What a batch adds to the pairs, each pair once, in the order of their ids.

    Returns:
        `project_id, low_id, high_id, contact_id, other_contact_id, events, external_id_count,
        email_count, last_event_id`.
    """
    found: dict[tuple[str, str], list[ConflictFound]] = {}
    for conflict in conflicts:
        low_id, high_id = sorted((conflict.contact_id, conflict.other_contact_id))
        found.setdefault((low_id, high_id), []).append(conflict)
    return [
        (
            last.project_id,
            low_id,
            high_id,
            last.contact_id,
            last.other_contact_id,
            len({conflict.sequence for conflict in of_pair}),
            sum(conflict.field == "external_id" for conflict in of_pair),
            sum(conflict.field == "email" for conflict in of_pair),
            last.event_id,
        )
        for (low_id, high_id), of_pair in sorted(found.items())
        for last in (max(of_pair, key=lambda conflict: conflict.sequence),)
    ]


def pair(row: Sequence[Any]) -> ContactPair:
    """The pair of a row of `COLUMNS`."""
    number, pair_id, contact_id, other_id, events, external_ids, emails, event_id, *others = row
    first_us, last_us, dismissed_us, dismissed_by, reason = others
    counts = {"external_id": external_ids, "email": emails}
    return ContactPair(
        number=number,
        id=pair_id,
        contact_id=contact_id,
        other_contact_id=other_id,
        fields=tuple(field for field, count in counts.items() if count),
        events=events,
        last_event_id=uuid_text(bytes(event_id)),
        first_us=first_us,
        last_us=last_us,
        dismissed_us=dismissed_us,
        dismissed_by=dismissed_by,
        dismissed_reason=reason,
    )

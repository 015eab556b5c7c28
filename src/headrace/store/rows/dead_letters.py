"""Dead letters, their groups and their replays from columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.store.contract_dead_letters import (
    GROUPS_MAX,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterGroup,
    DeadLetterKind,
    DeadLetterState,
    Replay,
    ReplayStatus,
)

REPLAY_COLUMNS = (
    "number, id, project_id, filter, per_second, total, done, status, actor, created_us, updated_us"
)


def dead_letter(row: Sequence[Any]) -> DeadLetter:
    """A dead letter.

    Columns: number, id, id and name of the event, kind, subscriber_id, cause, error, attempts,
    first_failed_us, dead_lettered_us, state.
    """
    number, dead_letter_id, event_id, event, kind, subscriber_id, cause, error, *rest = row
    attempts, first_failed_us, dead_lettered_us, state = rest
    return DeadLetter(
        number=number,
        id=dead_letter_id,
        event_id=event_id,
        event=event,
        kind=DeadLetterKind(kind),
        subscriber_id=subscriber_id,
        cause=cause,
        error=error,
        attempts=attempts,
        first_failed_us=first_failed_us,
        dead_lettered_us=dead_lettered_us,
        state=DeadLetterState(state),
    )


def wanted_values(wanted: DeadLetterFilter) -> dict[str, str]:
    """Column -> value, of the fields of a filter that are set."""
    values = {
        "event": wanted.event,
        "subscriber_id": wanted.subscriber_id,
        "cause": wanted.cause,
        "kind": None if wanted.kind is None else wanted.kind.value,
    }
    return {name: value for name, value in values.items() if value is not None}


class Groups:
    """Groups of one project, put together from steps; at most `GROUPS_MAX`."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], DeadLetterGroup] = {}

    def add(self, row: Sequence[Any]) -> None:
        """Columns: kind, subscriber_id, cause, event, count, first and last dead_lettered_us."""
        kind, subscriber_id, cause, event, count, first_us, last_us = row
        key = (kind, subscriber_id, cause, event)
        before = self._found.get(key)
        if before is None and len(self._found) >= GROUPS_MAX:
            return
        self._found[key] = DeadLetterGroup(
            kind=DeadLetterKind(kind),
            subscriber_id=subscriber_id,
            cause=cause,
            event=event,
            count=count + (before.count if before else 0),
            first_us=min(first_us, before.first_us) if before else first_us,
            last_us=max(last_us, before.last_us) if before else last_us,
        )

    def result(self) -> Sequence[DeadLetterGroup]:
        """The most frequent first."""
        return sorted(self._found.values(), key=lambda group: (-group.count, -group.last_us))


def replay(row: Sequence[Any]) -> Replay:
    """A replay from `REPLAY_COLUMNS`."""
    number, replay_id, project_id, wanted, per_second, total, done, status, *rest = row
    actor, created_us, updated_us = rest
    return Replay(
        number=number,
        id=replay_id,
        project_id=project_id,
        wanted=msgspec.json.decode(wanted, type=DeadLetterFilter),
        per_second=per_second,
        total=total,
        done=done,
        status=ReplayStatus(status),
        actor=actor,
        created_us=created_us,
        updated_us=updated_us,
    )

"""A store from before pairs of contacts were kept learns them from its conflicts."""

from __future__ import annotations

import apsw

from headrace.store.migrations import migrations


def test_conflicts_of_before_become_pairs() -> None:
    connection = apsw.Connection(":memory:")
    steps = migrations("sqlite")
    for step in steps[:3]:
        connection.execute(step.sql)
    for contact_id in "abc":
        connection.execute(
            "INSERT INTO contacts (id, project_id, created_us, updated_us) VALUES (?, 1, 0, 0)",
            (contact_id,),
        )
    for sequence in (1, 2, 3):
        connection.execute(
            "INSERT INTO events (sequence, id, project_id, lane, event, occurred_us, received_us, "
            "source, payload) VALUES (?, ?, 1, 0, 'a', 0, 0, 0, '{}')",
            (sequence, bytes([sequence])),
        )
    conflicts = [(1, "b", "a", "email"), (2, "a", "b", "email"), (2, "a", "b", "external_id")]
    # The other contact is gone since.
    conflicts.append((3, "a", "gone", "email"))
    for sequence, contact_id, other_id, field in conflicts:
        connection.execute(
            "INSERT INTO contact_conflicts (project_id, sequence, contact_id, other_contact_id, "
            "field, at_us) VALUES (1, ?, ?, ?, ?, ?)",
            (sequence, contact_id, other_id, field, sequence * 10),
        )

    connection.execute(steps[3].sql)

    rows = connection.execute(
        "SELECT low_id, high_id, contact_id, other_contact_id, events, external_id_count, "
        "email_count, last_event_id, first_us, last_us, resolved_by FROM contact_pairs"
    ).fetchall()
    assert rows == [("a", "b", "a", "b", 2, 1, 2, bytes([2]), 10, 20, None)]

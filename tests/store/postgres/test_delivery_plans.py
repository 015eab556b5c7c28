"""No statement about deliveries and dead letters scans a queue, a backlog or finished rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.events.identity import LANES
from headrace.store.deliveries import claim_ends, closings, unroutable
from headrace.store.engine.plans import BY_KEYS
from headrace.store.queues.postgres import delivery_claims, delivery_outcomes, due_scanner
from tests.support.places import PostgresPlace
from tests.support.postgres_plans import explain

EVENTS = 30_000
# Most are delivered; of the others most wait for one subscriber, and a few are claimed.
_FILL = f"""
INSERT INTO events (lane, sequence, id, project_id, event, occurred_us, received_us, source,
    payload)
SELECT i % {LANES}, i, md5(i::text)::uuid, 1 + i % 4, 'a.b', i, i, 0, '{{}}'
FROM generate_series(1, {EVENTS}) AS i;
INSERT INTO event_states (lane, sequence, project_id, status, attempts)
SELECT lane, sequence, project_id, 4, 1 FROM events;
INSERT INTO subscribers (id, project_id, kind, target, events, created_us, updated_us)
SELECT 's' || i, i, 'webhook', 'u', '[]', i, i FROM generate_series(0, 400) AS i;
INSERT INTO deliveries (lane, number, id, project_id, sequence, subscriber_id, state, due_us,
    created_us, owner, lease_until_us)
SELECT lane, sequence, 'd' || sequence, project_id, sequence,
    's' || CASE WHEN sequence % 9 = 0 THEN sequence % 400 ELSE 1 END,
    CASE WHEN sequence % 200 = 0 THEN 1 WHEN sequence % 3 = 0 THEN 2 ELSE 3 END, sequence, 0,
    CASE WHEN sequence % 200 = 0 THEN 'w' || sequence % 2 END, sequence
FROM events;
INSERT INTO delivery_attempts
SELECT lane, number, n, 0, 0, 'c' FROM deliveries, generate_series(1, 3) AS n;
INSERT INTO dead_letters (lane, number, id, project_id, sequence, event, kind, subscriber_id,
    delivery_number, cause, error, attempts, first_failed_us, dead_lettered_us, state)
SELECT lane, number, 'l' || number, project_id, sequence, 'a.b', 'delivery', 's1', number, 'c',
    'e', 1, 0, sequence, number % 2
FROM deliveries;
INSERT INTO event_queue (lane, sequence, project_id, queued_us)
SELECT lane, sequence, project_id, sequence FROM events
"""
MINE = "'{" + ",".join(str(lane) for lane in range(LANES // 2)) + "}'"
KEYS = "'{1,2,3,4,5,6,7,8}', '{1,2,3,4,5,6,7,8}'"
CLAIMS = f"{KEYS}, '{{1,1,1,1,1,1,1,1}}'"
ENDS = f"{CLAIMS}, '{{3}}', '{{NULL}}', '{{1}}', '{{e}}', '{{0}}'"
DEAD = f"{KEYS}, '{{11,12,13,14,15,16,17,18}}', '{{a}}', 'c', 9"
STATEMENTS = {
    "step": (due_scanner.STEP, f"{MINE}, 20000, 1, 1, 30000, 1000"),
    "step from the oldest": (due_scanner.STEP, f"{MINE}, -1, -1, -1, 30000, 1000"),
    "refill": (due_scanner.REFILL, f"{MINE}, 's9', 2, 0, 30000, 64"),
    "claim": (delivery_claims.CLAIM, f"{KEYS}, 'w', 9, 30000"),
    "events": (delivery_claims.EVENTS, KEYS),
    "renew": (delivery_claims.RENEW, f"{CLAIMS}, 'w', 9"),
    "give back": (delivery_claims.GIVE_BACK, f"{CLAIMS}, 'w', 9"),
    "finish": (delivery_outcomes.FINISH, f"{ENDS}, '{{w}}'"),
    "take back": (delivery_outcomes.TAKE_BACK, f"{ENDS}, '{{1}}'"),
    "forget attempts": (delivery_outcomes.FORGET_ATTEMPTS, CLAIMS),
    "add dead letters": (claim_ends.ADD_DEAD_LETTERS.postgres, DEAD),
    "expire_unroutable": (unroutable.EXPIRE.postgres, f"{KEYS}, 9, 'e'"),
    "drop": (claim_ends.DROP[1].postgres, "1, 1"),
    "dead letters: close": (closings.CLOSE.postgres, f"{KEYS}, 1, 9, 'a', 'r'"),
    "accept again": (closings.ACCEPT_AGAIN.postgres, KEYS),
    "deliver again": (closings.DELIVER_AGAIN.postgres, f"{KEYS}, 9"),
}
#: Found in the required order, so that a limit ends the scan.
ORDERED = {
    "step": "deliveries_waiting",
    "step from the oldest": "deliveries_waiting",
    "refill": "deliveries_due",
}
MODES = ["force_custom_plan", "force_generic_plan"]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPlace]:
    place = PostgresPlace(Path(tmp_path_factory.mktemp("place")))
    place.run_sql(_FILL)
    place.run_sql("VACUUM ANALYZE")
    yield place
    place.remove()


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("mode", MODES)
def test_rows_are_found_by_index(filled: PostgresPlace, name: str, mode: str) -> None:
    """With known values, and with the generic plan of a prepared statement."""
    steps = explain(filled.url, *STATEMENTS[name], mode)
    assert [step["Relation Name"] for step in steps if step["Node Type"] == "Seq Scan"] == []
    assert [step for step in steps if step.get("Index Name")]


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("mode", MODES)
def test_first_rows_are_found_without_sorting(filled: PostgresPlace, name: str, mode: str) -> None:
    steps = explain(filled.url, *STATEMENTS[name], mode)
    assert "Sort" not in {step["Node Type"] for step in steps}
    assert ORDERED[name] in {step.get("Index Name") for step in steps}


#: Statements of transactions that use keys, and the index that each one uses.
BY_KEY = {
    "claim": "deliveries_pkey",
    "events": "events_pkey",
    "renew": "deliveries_pkey",
    "give back": "deliveries_pkey",
    "finish": "deliveries_pkey",
    "take back": "deliveries_pkey",
    "forget attempts": "delivery_attempts_pkey",
    "add dead letters": "deliveries_pkey",
    "expire_unroutable": "deliveries_pkey",
    "drop": "deliveries_pkey",
    "dead letters: close": "dead_letters_pkey",
    "accept again": "event_states_pkey",
    "deliver again": "deliveries_pkey",
}


def test_plans_made_for_empty_tables_use_keys(tmp_path: Path) -> None:
    """They are kept until the statistics are renewed, when the tables may have grown."""
    place = PostgresPlace(tmp_path)
    mode = f"force_generic_plan; {BY_KEYS.postgres.replace('LOCAL ', '')}"
    plans = {name: explain(place.url, *STATEMENTS[name], mode) for name in BY_KEY}
    # A refill may then read what is due over all queues, which is correct but slower.
    searches = ORDERED.keys() - {"refill"}
    ordered = {name: explain(place.url, *STATEMENTS[name], MODES[1]) for name in searches}
    place.remove()
    for name, steps in (plans | ordered).items():
        assert [step["Relation Name"] for step in steps if step["Node Type"] == "Seq Scan"] == []
        used = {step["Index Name"] for step in steps if "Index Name" in step}
        assert used & {"deliveries_waiting", "deliveries_leased"} <= {ORDERED.get(name)}
        assert (BY_KEY | ORDERED)[name] in used

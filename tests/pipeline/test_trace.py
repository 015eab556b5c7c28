"""The history of an event in sentences: entries, order and omissions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace.domain.deliveries.attempt_requests import WebhookVersion
from headrace.domain.events.event import Source, Status, StoredEvent
from headrace.pipeline.trace.entry import EntryType, TraceEntry
from headrace.pipeline.trace.trace import ENTRIES_MAX, trace_of
from headrace.store.contract.dead_letters import DeadLetterKind, DeadLetterState
from headrace.store.contract.deliveries import (
    Attempt,
    DeliveryRecord,
    DeliveryState,
    SubscriberKind,
)
from headrace.store.contract.processing import LEASE_US
from headrace.store.contract.trace import (
    KeyUsed,
    ProcessingAttempt,
    TracedDeadLetter,
    TracedSubscriber,
    TraceFacts,
)
from tests.support.events import START_US, as_stored, new_event

SECOND = 1_000_000
DONE_US = START_US + 20 * SECOND


def event(**changes: Any) -> StoredEvent:
    return as_stored(new_event(), **changes)


def facts(**changes: Any) -> TraceFacts:
    values: dict[str, Any] = {
        "event": event(),
        "resolution": None,
        "processed_us": None,
        "lease_until_us": None,
        "leased_attempt": 0,
        "retry_due_us": None,
        "repeats": [],
        "attempts": [],
        "deliveries": [],
        "dead_letters": [],
        "subscribers": [],
    }
    return TraceFacts(**(values | changes))


def processed(**changes: Any) -> TraceFacts:
    note = '{"reason":"matched","by":"external_id","contact_id":"c1"}'
    done = {"processed_us": DONE_US, "resolution": note}
    values = {"event": event(status=Status.PROCESSED, attempts=1), **done}
    return facts(**(values | changes))


def subscriber(**changes: Any) -> TracedSubscriber:
    values: dict[str, Any] = {
        "id": "s1",
        "kind": SubscriberKind.WEBHOOK,
        "target": "https://example.org/secret-path",
        "events": ("*",),
        "enabled": True,
        "disabled_reason": None,
        "disabled_us": None,
        "created_us": START_US - SECOND,
        "updated_us": START_US - SECOND,
    }
    return TracedSubscriber(**(values | changes))


def attempt(number: int, at_us: int, **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "duration_us": 2500,
        "cause": "server_error",
        "error": "the receiver answered 500",
        "http_status": 500,
        "excerpt": "oh",
    }
    return Attempt(number=number, at_us=at_us, **(values | changes))


def delivered(number: int, at_us: int) -> Attempt:
    return attempt(number, at_us, cause=None, error=None, http_status=200)


def delivery(*attempts: Attempt, **changes: Any) -> DeliveryRecord:
    values: dict[str, Any] = {
        "number": 1,
        "id": "d1",
        "subscriber_id": "s1",
        "event_id": b"",
        "event": "order.completed",
        "state": DeliveryState.DELIVERED,
        "attempt": len(attempts),
        "due_us": DONE_US,
        "created_us": DONE_US,
        "finished_us": None,
        "last_error": None,
    }
    return DeliveryRecord(attempts=attempts, **(values | changes))


def dead_letter(**changes: Any) -> TracedDeadLetter:
    values: dict[str, Any] = {
        "id": "l1",
        "kind": DeadLetterKind.PROCESSING,
        "subscriber_id": None,
        "cause": "StoreRowError",
        "error": "it would not go",
        "attempts": 2,
        "dead_lettered_us": START_US + 9 * SECOND,
        "state": DeadLetterState.OPEN,
        "closed_us": None,
        "closed_by": None,
        "reason": None,
    }
    return TracedDeadLetter(**(values | changes))


def told(of: TraceFacts) -> list[str]:
    return [entry.type for entry in trace_of(of).entries]


def only(of: TraceFacts, kind: EntryType) -> TraceEntry:
    [entry] = [entry for entry in trace_of(of).entries if entry.type is kind]
    return entry


def statuses(of: TraceFacts) -> list[str]:
    """Every transition of the event's status."""
    return [entry.status for entry in trace_of(of).entries if entry.status is not None]


def test_a_fresh_event_was_received() -> None:
    [entry] = trace_of(facts()).entries
    assert msgspec.to_builtins(entry) == {
        "at": "2026-06-08T14:15:00.000Z",
        "type": "received",
        "text": "Received via the API with key 0123456789abcdef.",
        "status": "accepted",
        "api_key": "0123456789abcdef",
        "request_id": "r1",
        "source": "api",
    }


@pytest.mark.parametrize("source", list(Source))
def test_every_source_has_its_words(source: Source) -> None:
    of = facts(event=event(source=source, api_key_id=None, request_id=None))
    entry = only(of, EntryType.RECEIVED)
    assert entry.source == source.name.lower()
    assert entry.text.endswith(".")
    assert "key" not in entry.text


def test_the_happy_path_in_order() -> None:
    of = processed(
        subscribers=[subscriber()],
        deliveries=[delivery(delivered(1, DONE_US + SECOND))],
    )
    assert told(of) == [
        "received",
        "processing_started",
        "identity_resolved",
        "subscriber_matched",
        "processed",
        "delivered",
    ]
    assert statuses(of) == ["accepted", "processing", "processed"]
    assert only(of, EntryType.DELIVERED).text == (
        "Delivered to webhook example.org in 2.5 ms with status 200."
    )


def test_failed_attempts_then_success() -> None:
    attempts = [
        ProcessingAttempt(1, START_US + 2 * SECOND, 1500, "StoreRowError", "no"),
        ProcessingAttempt(2, START_US + 8 * SECOND, 1500, "StoreRowError", "no"),
    ]
    of = processed(attempts=attempts, event=event(status=Status.PROCESSED, attempts=3))
    assert statuses(of) == [
        "accepted",
        *["processing", "retrying"] * 2,
        "processing",
        "processed",
    ]
    assert [entry.attempt for entry in trace_of(of).entries if entry.attempt] == [1, 1, 2, 2, 3]


def test_retry_shows_its_time() -> None:
    due_us = START_US + 30 * SECOND
    attempts = [ProcessingAttempt(1, START_US + 2 * SECOND, 1500, "StoreRowError", "no")]
    of = facts(attempts=attempts, retry_due_us=due_us, event=event(status=Status.RETRYING))

    entry = only(of, EntryType.PROCESSING_FAILED)

    assert entry.next_attempt_at == "2026-06-08T14:15:30.000Z"
    assert "next retry at 2026-06-08T14:15:30.000Z" in entry.text
    assert (entry.duration_ms, entry.cause, entry.error) == (1.5, "StoreRowError", "no")


def test_claimed_event_is_processing() -> None:
    of = facts(lease_until_us=START_US + SECOND + LEASE_US, leased_attempt=1)
    assert statuses(of) == ["accepted", "processing"]
    assert trace_of(of).event.status == Status.PROCESSING
    assert only(of, EntryType.PROCESSING_STARTED).at == "2026-06-08T14:15:01.000Z"


def test_given_up_and_replayed() -> None:
    dead = dead_letter(
        state=DeadLetterState.REPLAYED,
        closed_us=START_US + 12 * SECOND,
        closed_by="fedcba9876543210",
        reason="replay 1234",
    )
    attempts = [
        ProcessingAttempt(1, START_US + 2 * SECOND, 1500, "StoreRowError", "no"),
        ProcessingAttempt(2, START_US + 9 * SECOND, 1500, "StoreRowError", "no"),
    ]
    of = processed(
        attempts=attempts,
        dead_letters=[dead],
        event=event(status=Status.PROCESSED, attempts=1),
    )
    assert statuses(of) == [
        "accepted",
        "processing",
        "retrying",
        "processing",
        "dead_lettered",
        "accepted",
        "processing",
        "processed",
    ]
    entry = only(of, EntryType.REPLAYED)
    assert entry.text == (
        "Replayed by fedcba9876543210 as part of replay 1234: the event was queued again."
    )
    assert entry.actor == "fedcba9876543210"


def test_discarded_with_a_reason() -> None:
    dead = dead_letter(
        kind=DeadLetterKind.DELIVERY,
        subscriber_id="s1",
        state=DeadLetterState.DISCARDED,
        closed_us=DONE_US + SECOND,
        closed_by="cli",
        reason="the order was a test.",
    )
    of = processed(dead_letters=[dead])
    assert only(of, EntryType.DISCARDED).text == (
        "The dead letter was discarded by cli: the order was a test."
    )
    # A delivery that was given up does not change the status of the event.
    assert statuses(of)[-1] == "processed"


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("matched email", '{"reason":"matched","by":"email","contact_id":"c1"}'),
        ("contact_not_found contact_id", '{"reason":"contact_not_found","by":"contact_id"}'),
    ],
)
def test_a_short_note_reads_like_the_same_as_json(short: str, long: str) -> None:
    """The contact of the short one is that of the event."""
    found = "c1" if "c1" in long else None
    of = event(status=Status.PROCESSED, attempts=1, resolved_contact_id=found)
    assert trace_of(processed(event=of, resolution=short)) == trace_of(
        processed(event=of, resolution=long)
    )


def test_repeats_of_the_key() -> None:
    repeats = [
        KeyUsed(START_US + 1, "k1", "r2", mismatch=False),
        KeyUsed(START_US + 2, "k2", "r3", mismatch=True),
    ]
    same, other = trace_of(facts(repeats=repeats)).entries[1:]
    assert "no duplicate was stored" in same.text
    assert "different content" in other.text
    assert (same.mismatch, other.mismatch) == (False, True)
    assert (other.api_key, other.request_id) == ("k2", "r3")


@pytest.mark.parametrize(
    ("note", "kinds", "text"),
    [
        (
            '{"reason":"matched","by":"email","contact_id":"c1"}',
            ["identity_resolved"],
            "The email belongs to contact c1.",
        ),
        (
            '{"reason":"created","by":"external_id","contact_id":"c1"}',
            ["identity_resolved", "contact_created"],
            "No contact had this external_id, so one was created.",
        ),
        (
            '{"reason":"contact_not_found","by":"contact_id"}',
            ["identity_resolved"],
            "No contact has this contact_id; the event was processed without a contact.",
        ),
        (
            (
                '{"reason":"matched","by":"external_id","contact_id":"c1","filled":["email"],'
                '"conflicts":[{"field":"email","other_contact_id":"c2"}]}'
            ),
            ["identity_resolved", "contact_filled", "identity_conflict"],
            "The external_id belongs to contact c1.",
        ),
        (
            (
                '{"reason":"linked","by":"email","contact_id":"c1","filled":["external_id"],'
                '"changed":["email"]}'
            ),
            ["identity_resolved", "contact_filled", "contact_changed"],
            (
                "No contact had this external_id; it was added to contact c1, which has the "
                "email and had no external_id."
            ),
        ),
        (
            '{"reason":"of_tomorrow","by":"email"}',
            ["identity_resolved"],
            "The contact was resolved by email.",
        ),
        ('{"other":1}', [], ""),
        ("broken", [], ""),
    ],
)
def test_the_identity_decision(note: str, kinds: list[str], text: str) -> None:
    entries = trace_of(processed(resolution=note)).entries
    about = [entry for entry in entries if entry.type.startswith(("identity", "contact"))]
    assert [entry.type for entry in about] == kinds
    assert not about or about[0].text == text


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"events": ("cart.*", "user.left")}, "subscribed to cart.*, user.left."),
        (
            {"events": tuple(f"a.{n}" for n in range(9))},
            "subscribed to a.0, a.1, a.2, a.3, a.4 and 4 more.",
        ),
        (
            {"enabled": False, "disabled_reason": "switched off", "disabled_us": START_US},
            "it was disabled (switched off).",
        ),
        ({"created_us": DONE_US + 1, "updated_us": DONE_US + 1}, "it did not exist yet."),
        (
            {"events": ("cart.*",), "updated_us": DONE_US + 1},
            "subscribed to cart.* (current settings; they have changed since).",
        ),
        (
            {"updated_us": DONE_US + 1},
            "its settings have changed since; with the current ones it would match.",
        ),
        (
            {"enabled": False, "disabled_us": DONE_US + 1, "updated_us": DONE_US + 1},
            "its settings have changed since; with the current ones it would match.",
        ),
        ({}, "it was created only moments before, or its delivery is no longer kept."),
    ],
)
def test_why_a_subscriber_did_not_get_it(changes: dict[str, Any], why: str) -> None:
    entry = only(processed(subscribers=[subscriber(**changes)]), EntryType.SUBSCRIBER_SKIPPED)
    assert entry.text == f"Webhook example.org skipped: {why}"
    assert entry.subscriber_id == "s1"


def test_no_subscriber_is_considered_before_processing() -> None:
    assert told(facts(subscribers=[subscriber()])) == ["received"]


def test_failed_delivery_shows_its_next_attempt() -> None:
    of = processed(
        subscribers=[subscriber(kind=SubscriberKind.HANDLER, target="shop.on_order")],
        deliveries=[
            delivery(
                attempt(1, DONE_US),
                attempt(2, DONE_US + SECOND, http_status=None, excerpt=None),
                state=DeliveryState.RETRYING,
                due_us=DONE_US + 9 * SECOND,
            )
        ],
    )
    first, second = [e for e in trace_of(of).entries if e.type is EntryType.DELIVERY_FAILED]
    assert first.next_attempt_at is None
    assert (
        first.text
        == "Attempt 1 to deliver to handler shop.on_order failed after 2.5 ms with status 500."
    )
    assert second.text.endswith("failed after 2.5 ms; next retry at 2026-06-08T14:15:29.000Z.")
    assert (first.http_status, first.excerpt, second.http_status) == (500, "oh", None)


def test_deleted_subscriber_is_still_shown() -> None:
    of = processed(deliveries=[delivery(delivered(1, DONE_US))])
    entry = only(of, EntryType.SUBSCRIBER_MATCHED)
    assert entry.text == ("A deleted subscriber matched; delivery queued.")
    assert entry.delivery_status == "delivered"


def test_path_of_a_webhook_is_not_shown() -> None:
    of = processed(subscribers=[subscriber()], deliveries=[delivery(delivered(1, DONE_US))])
    assert b"secret-path" not in msgspec.json.encode(trace_of(of).entries)


def test_request_and_response_of_an_attempt_are_shown() -> None:
    versions = (WebhookVersion(1, "https://example.org/secret-path", ("X-Key",)),)
    tried = attempt(1, DONE_US, version=1, signed_s=17, response_headers="server: x")
    failed = delivery(tried, state=DeliveryState.RETRYING)
    of = processed(subscribers=[subscriber(versions=versions)], deliveries=[failed])
    entry = only(of, EntryType.DELIVERY_FAILED)
    assert entry.request is not None
    assert entry.request.url == "https://example.org/…"
    assert entry.request.headers["webhook-timestamp"] == "17"
    assert entry.request.headers["x-key"] == "***"
    assert entry.response_headers == {"server": "x"}
    assert b"secret-path" not in msgspec.json.encode(trace_of(of).entries)


def test_a_paused_webhook_is_named_as_the_reason_to_wait() -> None:
    waiting = delivery(attempt(1, DONE_US), state=DeliveryState.RETRYING)
    of = processed(subscribers=[subscriber(paused_us=1)], deliveries=[waiting])
    assert "waits because the webhook is paused" in only(of, EntryType.SUBSCRIBER_MATCHED).text
    assert only(of, EntryType.DELIVERY_FAILED).next_attempt_at is None
    running = processed(subscribers=[subscriber()], deliveries=[waiting])
    assert "paused" not in only(running, EntryType.SUBSCRIBER_MATCHED).text


def test_a_long_trace_is_cut_and_says_so() -> None:
    attempts = [attempt(number, DONE_US + number * SECOND) for number in range(1, 31)]
    deliveries = [
        delivery(*attempts, number=number, id=f"d{number}", subscriber_id=f"s{number}")
        for number in range(30)
    ]
    skipped = [subscriber(id=f"other{number}", events=("a",)) for number in range(30)]
    of = processed(deliveries=deliveries, subscribers=skipped)

    entries = trace_of(of).entries

    assert len(entries) == ENTRIES_MAX
    assert entries[-1].type is EntryType.CUT
    kinds = [entry.type for entry in entries]
    assert kinds.count(EntryType.SUBSCRIBER_MATCHED) == 30
    assert EntryType.SUBSCRIBER_SKIPPED not in kinds
    assert EntryType.PROCESSED in kinds
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)


def test_every_type_has_one_sentence() -> None:
    of = processed(
        repeats=[KeyUsed(START_US, None, None, mismatch=False)],
        resolution='{"reason":"created","by":"email","contact_id":"c","filled":["email"],'
        '"changed":["email"],"conflicts":[{"field":"email","other_contact_id":"c2"}],"placeholders":["external_id"],'
        '"written":["plan"],"kept":[{"field":"properties.a","since_us":1}],'
        '"ignored":[["$set","must be an object, got null"]]}',
        attempts=[ProcessingAttempt(1, START_US, 20_000_000, "a", "b")],
        subscribers=[subscriber(), subscriber(id="s2", events=("a",))],
        deliveries=[delivery(attempt(1, DONE_US), delivered(2, DONE_US), resent_us=DONE_US + 1)],
        dead_letters=[
            dead_letter(attempts=1),
            dead_letter(state=DeadLetterState.REPLAYED, closed_us=1),
            dead_letter(state=DeadLetterState.DISCARDED, closed_us=1),
        ],
    )
    entries = trace_of(of).entries
    assert {entry.type for entry in entries} == set(EntryType) - {EntryType.CUT}
    for entry in entries:
        assert entry.text[0].isupper()
        assert entry.text.endswith(".")
        assert "None" not in entry.text


def test_attempts_count_from_one_after_a_replay() -> None:
    """As the dead letters say: the trace must not contradict itself."""
    ended = dead_letter(
        kind=DeadLetterKind.DELIVERY, attempts=2, dead_lettered_us=DONE_US + 2 * SECOND,
        state=DeadLetterState.REPLAYED, closed_us=DONE_US + 3 * SECOND, closed_by="ann",
        subscriber_id="s1",
    )  # fmt: skip
    again = msgspec.structs.replace(
        ended, id="l2", attempts=1, dead_lettered_us=DONE_US + 5 * SECOND,
        state=DeadLetterState.OPEN, closed_us=None, closed_by=None,
    )  # fmt: skip
    attempts = [attempt(n, DONE_US + at * SECOND) for n, at in ((1, 0), (3, 1), (4, 4))]
    of = processed(
        subscribers=[subscriber()],
        deliveries=[
            msgspec.structs.replace(
                delivery(*attempts, state=DeliveryState.DEAD_LETTERED), attempt=1
            )
        ],
        dead_letters=[ended, again],
    )

    entries = trace_of(of).entries

    failures = [each for each in entries if each.type is EntryType.DELIVERY_FAILED]
    assert [each.attempt for each in failures] == [1, 2, 1]
    said = [each.text for each in entries if each.type is EntryType.DEAD_LETTERED]
    assert ["after 2 attempts" in said[0], "after 1 attempt" in said[1]] == [True, True]


def test_an_attempt_whose_worker_crashed_has_the_number_of_the_next_one() -> None:
    lost = attempt(2, DONE_US + SECOND, cause="worker_lost")
    of = processed(
        subscribers=[subscriber()],
        deliveries=[
            msgspec.structs.replace(
                delivery(attempt(1, DONE_US), lost, attempt(3, DONE_US + 2 * SECOND)), attempt=2
            )
        ],
    )
    failures = [e for e in trace_of(of).entries if e.type is EntryType.DELIVERY_FAILED]
    assert [each.attempt for each in failures] == [1, 2, 2]


def test_two_webhooks_of_one_host_are_told_apart() -> None:
    others = [subscriber(id=f"{n}2345678-rest", events=("cart.*",)) for n in (1, 2)]
    entry = only(processed(subscribers=others), EntryType.SUBSCRIBER_SKIPPED)
    assert "webhook example.org (12345678), webhook example.org (22345678)" in entry.text


def test_event_sent_again_has_its_own_attempts() -> None:
    shown = facts(
        processed_us=DONE_US,
        deliveries=[
            delivery(
                attempt(1, DONE_US + SECOND),
                delivered(2, DONE_US + 2 * SECOND),
                attempt(3, DONE_US + 11 * SECOND),
                delivered(4, DONE_US + 12 * SECOND),
                attempt=2,
                resent_us=DONE_US + 10 * SECOND,
                resent_by="ann@example.org",
            )
        ],
        subscribers=[subscriber()],
    )
    entries = [entry for entry in trace_of(shown).entries if entry.delivery_id == "d1"]
    assert [(entry.type, entry.attempt) for entry in entries] == [
        (EntryType.SUBSCRIBER_MATCHED, None),
        (EntryType.DELIVERY_FAILED, 1),
        (EntryType.DELIVERED, 2),
        (EntryType.RESENT, None),
        (EntryType.DELIVERY_FAILED, 1),
        (EntryType.DELIVERED, 2),
    ]
    assert entries[3].text.startswith("Queued to be sent to ")
    assert entries[3].text.endswith(" again by ann@example.org.")


def test_first_delivery_on_request_did_not_match() -> None:
    made_us = DONE_US + SECOND
    shown = facts(
        processed_us=DONE_US,
        deliveries=[delivery(created_us=made_us, resent_us=made_us, resent_by="ann@example.org")],
        subscribers=[subscriber()],
    )
    [entry] = [entry for entry in trace_of(shown).entries if entry.delivery_id == "d1"]
    assert entry.type is EntryType.SUBSCRIBER_MATCHED
    assert entry.text.endswith(": delivery queued on request by ann@example.org.")

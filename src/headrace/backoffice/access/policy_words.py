"""What each policy does, as shown on the page."""

from __future__ import annotations

#: Group titles and their policies, in order. A policy in no group comes last.
GROUPS = (
    (
        "Ingestion",
        (
            "event_payload_limit_bytes",
            "event_ingest_limit_per_second",
            "idempotency_conflict",
            "clock_correction",
            "create_contacts",
            "link_identifiers",
            "merge_anonymous",
            "placeholder_identifiers",
        ),
    ),
    ("Retention", ("event_retention_days", "dead_letter_retention_days")),
    (
        "Retries",
        (
            "delivery_max_attempts",
            "processing_max_attempts",
            "retry_base_seconds",
            "retry_factor",
            "retry_cap_seconds",
        ),
    ),
    (
        "Messages",
        (
            "sending_paused",
            "send_limit_per_day",
            "frequency_caps",
            "quiet_hours",
            "send_windows",
            "default_timezone",
            "max_defer_hours",
            "topicless_marketing",
        ),
    ),
    (
        "Results of messages",
        (
            "unknown_outcome_marketing",
            "unknown_outcome_transactional",
            "soft_bounces_to_suppress",
            "complaint_scope",
            "engagement_settle_seconds",
            "machine_engagement",
            "optional_events",
            "run_retention_days",
        ),
    ),
    (
        "Automations",
        (
            "automation_start_limit_per_hour",
            "open_runs_per_contact_max",
            "automation_depth_max",
            "wait_max_days",
            "timer_hold_max_seconds",
        ),
    ),
)
MEANINGS = {
    "event_payload_limit_bytes": "Largest payload of one event, as UTF-8 bytes of its JSON text. "
    "A larger one gets 413.",
    "event_ingest_limit_per_second": "Events the project may send, with a burst of 2 s. Above it "
    "callers get 429 with the time to wait.",
    "idempotency_conflict": "Response to a repeated idempotency key with different content: the "
    "first event, or 422.",
    "clock_correction": "Whether times that client libraries of other services send are corrected "
    "by the difference between the clocks: of browsers only, always, or never.",
    "create_contacts": "Whether an event about an unknown person creates a contact.",
    "link_identifiers": "What happens to an unknown external_id when the e-mail address sent with "
    "it belongs to a contact: it joins a contact that has none (fill), or a conflict is recorded.",
    "merge_anonymous": "Whether the anonymous contact of a client library is merged into the one "
    "that it signs in as, if nothing else is known of it. The merge can be undone.",
    "placeholder_identifiers": "Words that identify nobody, such as demo-user, in addition to the "
    "built-in ones; !word removes a built-in one.",
    "event_retention_days": "How long an event and its idempotency key are kept. A shorter time "
    "deletes older events within hours. This cannot be undone.",
    "dead_letter_retention_days": "How long a dead letter and its event are kept, counted from the "
    "final failure.",
    "delivery_max_attempts": "Attempts of one delivery before it becomes a dead letter.",
    "processing_max_attempts": "Attempts to process one event before it becomes a dead letter.",
    "retry_base_seconds": "Delay after the first failed attempt.",
    "retry_factor": "Factor by which each further delay grows.",
    "retry_cap_seconds": "Longest delay between two attempts.",
    "sending_paused": "Emergency stop: none of these messages is sent, and they wait. none, all, "
    'mail, push, or JSON such as ["mail", "example.org"].',
    "send_limit_per_day": 'Messages a day, such as 1000 or {"mail": 1000}. Further ones wait for '
    "the next day.",
    "frequency_caps": "Limits of messages to one contact, such as "
    '[{"channel": "mail", "max": 2, "per_seconds": 86400}].',
    "quiet_hours": "Hours in which marketing messages wait, in the time zone of the contact, such "
    'as {"start": "22:00", "end": "07:00"}.',
    "send_windows": "Times in which marketing messages may be sent, such as "
    '[{"weekdays": ["mon", "tue"], "start": "09:00", "end": "17:00"}].',
    "default_timezone": "Time zone of contacts without the property timezone, and of the daily "
    "limit.",
    "max_defer_hours": "A message that would wait longer is skipped.",
    "topicless_marketing": "Whether marketing mail may be sent without a topic.",
    "unknown_outcome_marketing": "What happens to a message with an unknown result: hold, or "
    "retry, which may send it twice.",
    "unknown_outcome_transactional": "The same for transactional messages.",
    "soft_bounces_to_suppress": "Soft bounces over at least 7 days after which an address is "
    "suppressed.",
    "complaint_scope": "Which mail a complaint suppresses: marketing, or all.",
    "engagement_settle_seconds": "How long opens and clicks are collected before they are "
    "classified as person or machine.",
    "machine_engagement": "Whether opens and clicks by machines create events (emit) or are only "
    "recorded (record).",
    "optional_events": 'Further system events, such as ["sendrealm.mail.skip"].',
    "automation_start_limit_per_hour": "Runs that all automations may start in an hour. Further "
    "starts wait, up to 24 hours.",
    "open_runs_per_contact_max": "Open runs of one contact. Above it, events start no further run.",
    "automation_depth_max": "Length of a chain of automations that start each other.",
    "wait_max_days": "Longest timeout of a wait, and how long a wait without a timeout lasts.",
    "timer_hold_max_seconds": "How long a timer waits for earlier events that are not processed.",
    "run_retention_days": "How long messages and runs of automations are kept after they ended.",
}

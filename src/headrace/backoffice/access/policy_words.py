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
            "create_contacts",
            "link_identifiers",
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
)
MEANINGS = {
    "event_payload_limit_bytes": "Largest payload of one event, as UTF-8 bytes of its JSON text. "
    "A larger one gets 413.",
    "event_ingest_limit_per_second": "Events the project may send, with a burst of 2 s. Above it "
    "callers get 429 with the time to wait.",
    "idempotency_conflict": "Response to a repeated idempotency key with different content: the "
    "first event, or 422.",
    "create_contacts": "Whether an event about an unknown person creates a contact.",
    "link_identifiers": "What happens to an unknown external_id when the e-mail address sent with "
    "it belongs to a contact: it joins a contact that has none (fill), or a conflict is recorded.",
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
}

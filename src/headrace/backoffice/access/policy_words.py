"""What each policy does, in the words of the page."""

from __future__ import annotations

#: Titles and what stands below each, in order. A policy named nowhere comes last.
GROUPS = (
    (
        "What comes in",
        (
            "event_payload_limit_bytes",
            "event_ingest_limit_per_second",
            "idempotency_conflict",
            "create_contacts",
            "link_identifiers",
            "placeholder_identifiers",
        ),
    ),
    ("How long things are kept", ("event_retention_days", "dead_letter_retention_days")),
    (
        "How often something is tried",
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
    "A larger one is answered 413.",
    "event_ingest_limit_per_second": "Events the project may send, with a burst of 2 s. Past it "
    "callers are answered 429 with the time to wait.",
    "idempotency_conflict": "What a repeated idempotency key with other content is answered: the "
    "first event, or 422.",
    "create_contacts": "Whether an event about an unknown person creates the contact.",
    "link_identifiers": "What an unknown external_id is to the contact of the e-mail address sent "
    "with it: the contact gets it if it has none (fill), or the two are in conflict.",
    "placeholder_identifiers": "Words that name nobody, such as demo-user, besides those built in; "
    "!word takes a built-in one out.",
    "event_retention_days": "How long an event and its idempotency key are kept. Shorter removes "
    "what is older, within hours and for good.",
    "dead_letter_retention_days": "How long a dead letter is kept, counted from when it became "
    "one; it keeps its event.",
    "delivery_max_attempts": "Tries of one delivery before it becomes a dead letter.",
    "processing_max_attempts": "Tries of processing one event before it becomes a dead letter.",
    "retry_base_seconds": "Wait after the first failed try.",
    "retry_factor": "How much longer each further wait is than the one before.",
    "retry_cap_seconds": "Longest wait between two tries.",
}

"""Maps the rows of an embedded store to those of a PostgreSQL one.

Tests compare this list with both schemas: they fail for a table or column that is not copied and
not named here with a reason.
"""

from __future__ import annotations

import msgspec


class TableCopy(msgspec.Struct, frozen=True):
    """A table of the target and the statement that reads its rows from the source.

    The statement names its columns as the target does, and returns its rows in the same order every
    time.
    """

    table: str
    sql: str


def _alike(table: str, columns: str, order: str) -> TableCopy:
    """A table that is the same in both stores."""
    return TableCopy(table, f"SELECT {columns} FROM {table} ORDER BY {order}")


# A row whose event or delivery was removed before it is in no trace, but still counts.
_EVENT_LANE = "coalesce((SELECT e.lane FROM events e WHERE e.sequence = t.sequence), 0) AS lane"
_CATALOG_NAMES = (
    "project_id, event, first_us, last_us, events, sources, inspected, personal, paths, "
    "paths_over, drifts, drift_us, example, example_id"
)
_CATALOG_PATHS = (
    "project_id, event, path, first_us, last_us, types, types_added, looks, present, first_number, "
    "last_number, sequence, fresh, gone_us"
)
# The functions named here are those of source.py.

COPIED: tuple[TableCopy, ...] = (
    TableCopy(
        "meta",
        "SELECT name, value FROM meta "
        "WHERE name NOT IN ('backfill', 'keys_sorted_to', 'last_dead_letter') ORDER BY name",
    ),
    _alike("secrets", "name, value", "name"),
    _alike("projects", "id, uuid, name, created_us", "id"),
    _alike(
        "api_keys",
        "public_id, project_id, secret_hash, scopes, name, created_us, expires_us, revoked_us, "
        "origins",
        "public_id",
    ),
    _alike("api_key_uses", "public_id, used_us", "public_id"),
    _alike("policies", "project_id, name, value", "project_id, name"),
    _alike("audit", "id, at_us, actor, project_id, action, detail", "id"),
    _alike(
        "rejections",
        "id, project_id, at_us, status, code, message, details, route, api_key_id, request_id, "
        "body_shape, body_bytes",
        "id",
    ),
    _alike(
        "operators",
        "id, email, token_hash, created_us, revoked_us, is_owner, password_hash",
        "id",
    ),
    _alike("sign_in_links", "token_hash, email, created_us, expires_us", "token_hash"),
    _alike(
        "sessions",
        "token_hash, id, email, created_us, seen_us, address, browser, revealed_project_id, "
        "revealed_until_us",
        "token_hash",
    ),
    _alike("sign_in_attempts", "subject, since_us, tries", "subject"),
    _alike("members", "project_id, email, role, added_us", "project_id, email"),
    _alike(
        "subscribers",
        "id, project_id, kind, target, events, description, enabled, disabled_reason, disabled_us, "
        "secret, previous_secret, previous_until_us, breaker, seen_us, created_us, updated_us, "
        "paused_us, resume_per_second, resume_from_us, header_names, header_values, "
        "format, version, earlier",
        "id",
    ),
    _alike(
        "topics",
        "id, project_id, name, description, default_subscribed, created_us, updated_us, deleted_us",
        "id",
    ),
    _alike(
        "audiences",
        "id, project_id, name, description, created_us, updated_us, deleted_us",
        "id",
    ),
    TableCopy(
        "contacts",
        "SELECT lane, id, number, project_id, external_id, email, "
        "email_original, properties, created_us, updated_us, external_id_us, email_us, "
        "property_times FROM contacts ORDER BY number",
    ),
    _alike(
        "contact_identifiers",
        "lane, project_id, kind, value, contact_id, alias",
        "project_id, kind, value",
    ),
    TableCopy(
        "conflict_pairs",
        "SELECT lane_of_contact(project_id, low_id) AS lane, low_id, high_id, id, number, "
        "project_id, contact_id, other_contact_id, events, external_id_count, email_count, "
        "last_event_id, first_us, last_us, resolved_by, dismissed_us, dismissed_by, "
        "dismissed_reason FROM conflict_pairs ORDER BY number",
    ),
    _alike(
        "merges",
        "number, id, project_id, contact_id, other_contact_id, actor, created_us, undone_us, "
        "undone_by, snapshot",
        "number",
    ),
    _alike(
        "erasures",
        "number, id, project_id, contact_id, status, subject, counts, actor, created_us, "
        "finished_us, dry_run, report",
        "number",
    ),
    _alike("erased_contacts", "contact_id, project_id, erasure_id", "contact_id, erasure_id"),
    _alike(
        "topic_subscriptions",
        "lane, contact_id, topic_id, contact_number, is_subscribed, changed_us",
        "lane, contact_id, topic_id",
    ),
    _alike("topic_opt_outs", "lane, contact_id, at_us", "lane, contact_id"),
    _alike(
        "audience_members",
        "lane, contact_id, audience_id, contact_number, entered_us",
        "lane, contact_id, audience_id",
    ),
    _alike(
        "events",
        "lane, sequence, id, project_id, event, contact_id, external_id, email, email_original, "
        "idempotency_key, occurred_us, received_us, source, api_key_id, request_id, payload",
        "sequence",
    ),
    TableCopy(
        "sorted_keys",
        "SELECT lane_of_key(idempotency_hash) AS lane, idempotency_hash AS hash, "
        "lane AS event_lane, sequence AS event_sequence FROM events "
        "WHERE idempotency_hash IS NOT NULL ORDER BY sequence",
    ),
    # A replayed event is accepted again and keeps its last error.
    TableCopy(
        "event_states",
        "SELECT lane, sequence, project_id, status, attempts, resolved_contact_id AS contact_id, "
        "resolution, last_error, processed_us FROM events "
        "WHERE status <> 0 OR attempts <> 0 OR last_error IS NOT NULL ORDER BY sequence",
    ),
    # The owner of a claim is dead and has no lanes in the target, so the claim is rescued there.
    # The target is ordered by time, the source by sequence: a clock may have been set back.
    TableCopy(
        "event_queue",
        "SELECT lane, sequence, project_id, max(due_us) OVER (PARTITION BY project_id "
        "ORDER BY sequence) AS queued_us, attempt, crashes, "
        "CASE WHEN lease_until_us > 0 THEN owner END AS owner FROM event_queue "
        "ORDER BY project_id, sequence",
    ),
    _alike("event_retries", "lane, sequence, project_id, due_us, attempt, crashes", "sequence"),
    TableCopy(
        "duplicate_requests",
        f"SELECT {_EVENT_LANE}, sequence, number, at_us, api_key_id, request_id, mismatch "
        "FROM duplicate_requests t ORDER BY sequence, number",
    ),
    TableCopy(
        "processing_attempts",
        f"SELECT {_EVENT_LANE}, sequence, number, at_us, duration_us, cause, error "
        "FROM processing_attempts t ORDER BY sequence, number",
    ),
    # In the target a field of an event conflicts once.
    TableCopy(
        "contact_conflicts",
        f"SELECT {_EVENT_LANE}, sequence, field, max(id) AS number, project_id, contact_id, "
        "other_contact_id, at_us FROM contact_conflicts t GROUP BY sequence, field "
        "ORDER BY sequence, field",
    ),
    _alike(
        "deliveries",
        "lane, number, id, project_id, sequence, subscriber_id, state, attempt, claims, crashes, "
        "due_us, lease_until_us, owner, created_us, finished_us, last_error, resend_number, "
        "resent_us",
        "number",
    ),
    _alike(
        "delivery_attempts",
        "lane, delivery_number, number, at_us, duration_us, cause, error, http_status, excerpt, "
        "version, signed_s, response_headers",
        "delivery_number, number",
    ),
    _alike(
        "dead_letters",
        "lane, number, id, project_id, sequence, event, kind, subscriber_id, delivery_number, "
        "cause, error, attempts, first_failed_us, dead_lettered_us, state, closed_us, closed_by, "
        "reason, run_id",
        "number",
    ),
    # In the target each worker counts in a lane of its own and readers add up: this becomes one
    # worker's.
    *(
        TableCopy(table, f"SELECT {columns} FROM {table} ORDER BY {order}")
        for table, columns, order in (
            ("catalog_totals", "0 AS lane, project_id, names, names_over, failures", "project_id"),
            (
                "catalog_names",
                f"0 AS lane, {_CATALOG_NAMES}",
                "project_id, event",
            ),
            (
                "catalog_hours",
                "lane, project_id, event, hour, source, events",
                "project_id, event, hour, source",
            ),
            (
                "catalog_paths",
                f"0 AS lane, {_CATALOG_PATHS}",
                "project_id, event, path",
            ),
            (
                "catalog_drift",
                "0 AS lane, project_id, event, number, kind, path, type, at_us, event_id, before",
                "project_id, event, number",
            ),
            (
                "rollups",
                "lane, project_id, grain, at, subject, counts, accept, processing, delivery",
                "project_id, grain, at, subject",
            ),
        )
    ),
    _alike(
        "replays",
        "number, id, project_id, filter, per_second, last_number, position, total, done, status, "
        "actor, created_us, updated_us, subscriber_id",
        "number",
    ),
    _alike(
        "domains",
        "id, project_id, name, status, track_opens, track_clicks, dkim_selector, "
        "dkim_key, verified_us, verified_by, created_us, updated_us",
        "id",
    ),
    _alike(
        "templates",
        "id, project_id, name, channel, description, status, draft, versions, changed, "
        "created_us, updated_us",
        "id",
    ),
    _alike(
        "template_versions",
        "id, template_id, project_id, number, content, draft, published_us, published_by",
        "id",
    ),
    _alike(
        "emails",
        "lane, id, project_id, request_hash, content, created_us",
        "lane, id",
    ),
    _alike(
        "message_bodies",
        "lane, project_id, hash, content, used_us",
        "lane, project_id, hash",
    ),
    _alike(
        "email_parts",
        "lane, email_id, part, project_id, hash",
        "lane, email_id, part",
    ),
    _alike(
        "messages",
        "lane, id, project_id, channel, kind, email_id, automation_id, run_id, step_key, "
        "content, contact_id, address, recipient, role, topic_id, template_version_id, "
        "domain, domain_id, subject, group_key, state, reason, rule, due_us, "
        "first_due_us, deferred_us, horizon_s, attempt, claims, crashes, protocol_errors, "
        "unknowns, domain_bad_us, owner, lease_until_us, handed_us, sent_us, finished_us, "
        "last_event, created_us, mail_key",
        "lane, id",
    ),
    _alike(
        "message_attempts",
        "lane, message_id, number, claim, relay, started_us, ended_us, outcome, phase, "
        "code, status, diagnostic, relay_id",
        "lane, message_id, number",
    ),
    _alike(
        "message_engagement",
        "lane, message_id, kind, link, verdict, reason, count, first_us, last_us",
        "lane, message_id, kind, link, verdict",
    ),
    _alike(
        "message_hits",
        "lane, id, message_id, kind, link, at_us, due_us, address, user_agent, head, honeypot",
        "lane, id",
    ),
    _alike(
        "links",
        "number, project_id, hash, target",
        "number",
    ),
    _alike(
        "suppressions",
        "id, project_id, address_hash, reason, scope, email, note, evidence, created_by, since_us",
        "id",
    ),
    _alike(
        "soft_bounces",
        "project_id, address_hash, count, first_us, last_us",
        "project_id, address_hash",
    ),
    _alike(
        "captured_mails",
        "number, project_id, message_id, at_us, content",
        "number",
    ),
    _alike(
        "mail_notifications",
        "number, id, project_id, digest, message_id, intake, source, event, kind, address, "
        "reason, status, diagnostic, reporter, provider_id, effect, reported_us, at_us, due_us, "
        "raw",
        "number",
    ),
    _alike(
        "send_counts",
        "project_id, channel, day, sent",
        "project_id, channel, day",
    ),
    _alike(
        "mail_figures",
        "project_id, domain, day, receiver, sent, delivered, bounced, complained, blocked",
        "project_id, domain, day, receiver",
    ),
    _alike(
        "receiver_breakers",
        "project_id, domain, receiver, rejections, openings, opened_us, until_us, code, status, "
        "diagnostic, message_id, probe_id, at_us, reported, accepted",
        "project_id, domain, receiver",
    ),
    _alike(
        "warm_ups",
        "project_id, domain, daily_start, days, started_on, day, sent",
        "project_id, domain",
    ),
    _alike(
        "domain_checks",
        "project_id, domain, findings, at_us",
        "project_id, domain",
    ),
    _alike(
        "relay_failures",
        "relay, outcome, failures, since_us, last_us, diagnostic",
        "relay",
    ),
    _alike(
        "alerts",
        "number, id, project_id, kind, subject, state, since_us, detail, started_us, ended_us",
        "number",
    ),
    _alike(
        "alert_notices",
        "number, id, alert_number, edge, channel, attempt, due_us, done_us, error, at_us",
        "number",
    ),
    _alike(
        "send_jobs",
        "number, id, project_id, audiences, excluded, per_second, place, position, total, "
        "done, made, status, actor, due_us, created_us, updated_us",
        "number",
    ),
    _alike(
        "automations",
        "id, project_id, name, description, status, draft, draft_revision, editor_layout, version, "
        "version_revision, trigger_event, active_since_us, pause_mode, task, overdue, "
        "overdue_before_us, created_us, updated_us",
        "id",
    ),
    _alike(
        "automation_versions",
        "automation_id, number, id, project_id, definition, sha256, event_names, published_us, "
        "published_by",
        "automation_id, number",
    ),
    _alike(
        "automation_inbox",
        "lane, sequence, project_id, contact_id, due_us, attempt, error, first_failed_us, "
        "starts_only",
        "lane, sequence",
    ),
    _alike(
        "automation_entries",
        "lane, contact_id, automation_id, entry_key, project_id, last_start_us, starts",
        "lane, contact_id, automation_id, entry_key",
    ),
    _alike(
        "automation_runs",
        "lane, id, project_id, automation_id, version, contact_id, entry_key, event_lane, "
        "sequence, status, reason, outcome, at_step, state, due_us, attempt, error, "
        "first_failed_us, notes, started_us, finished_us",
        "lane, id",
    ),
    _alike(
        "automation_notes",
        "lane, run_id, number, at_us, reason, step_key, sentence",
        "lane, run_id, number",
    ),
    _alike(
        "rejected_starts",
        "lane, sequence, automation_id, project_id, version, contact_id, event_id, reason, "
        "sentence, at_us",
        "lane, sequence, automation_id",
    ),
    _alike("automation_starts", "project_id, minute, started", "project_id, minute"),
    _alike(
        "push_apps",
        "id, project_id, name, origins, vapid_public_key, vapid_private_key, worker_path, "
        "worker_scope, fcm_app, created_us, updated_us",
        "id",
    ),
    _alike(
        "push_devices",
        "lane, app_id, id, project_id, contact_id, platform, environment, state, reason, "
        "state_us, subscribed, permission, address, address_hash, p256dh, auth, expires_us, "
        "apns_environment, facts, tags, kept_events, kept_bytes, created_us, seen_us, updated_us, "
        "sent_us, failed_us, failure",
        "lane, app_id, id",
    ),
    _alike(
        "push_device_events",
        "lane, app_id, device_id, id, project_id, event, payload, received_us",
        "lane, app_id, device_id, id",
    ),
    _alike(
        "push_sends",
        "lane, id, project_id, app_id, request_hash, content, counts, created_us",
        "lane, id",
    ),
    _alike(
        "push_notifications",
        "lane, id, project_id, app_id, platform, send_id, message_id, device_id, contact_id, "
        "target, state, reason, due_us, horizon_us, attempt, claims, crashes, owner, "
        "lease_until_us, sent_us, finished_us, opened_us, action_id, open_due_us, created_us",
        "lane, id",
    ),
    _alike(
        "push_attempts",
        "lane, notification_id, number, claim, service, started_us, ended_us, outcome, status, "
        "code, detail",
        "lane, notification_id, number",
    ),
    _alike(
        "push_engagement",
        "lane, notification_id, kind, action_id, count, first_us, last_us",
        "lane, notification_id, kind, action_id",
    ),
    _alike(
        "push_jobs",
        "number, id, project_id, audiences, excluded, per_second, place, position, total, "
        "done, made, status, actor, due_us, created_us, updated_us",
        "number",
    ),
)

#: Tables of the source that are not read, and why.
LEFT_BEHIND: dict[str, str] = {
    "leader_leases": "the processes of that store have ended",
    "size_samples": "tells of the disk of that store",
    "event_parts": "PostgreSQL has its own partitions",
    "sorted_keys": "read from the events",
    "expired_keys": "of events that are gone",
}
#: Columns of copied tables that are not copied, and why.
LEFT_BEHIND_COLUMNS: dict[str, dict[str, str]] = {
    "events": {"part": "PostgreSQL has its own partitions"},
}

#: Tables of the target that are not filled, and why.
LEFT_EMPTY: dict[str, str] = {
    "recent_keys": "all keys are copied into `sorted_keys`",
    "dropped_ranges": "of what retention has dropped in that store",
    "leader_leases": "the processes of that store have ended",
    "workers": "the processes of that store have ended",
    "lanes": "the target's own, made with its schema",
    "schema_migrations": "the target's own",
    "size_samples": "tells of the disk of the other store",
}

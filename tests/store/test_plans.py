"""No shared statement scans a table that grows, on either database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.events.identity import LANES
from headrace.store.access import audit, automation_use, members, rejections, sign_in
from headrace.store.automations import (
    applying,
    automations,
    controls,
    explaining,
    held_runs,
    inputs,
    look_backs,
    operations,
    pausing,
    people,
    person_runs,
    run_stats,
    runs,
    starts,
    version_changes,
    views,
    work,
)
from headrace.store.automations import removal as run_removal
from headrace.store.automations.dead_letters import CLOSE_OF_RUNS
from headrace.store.catalog import catalog
from headrace.store.contacts import contact_lists, contact_writes, identifiers, refs
from headrace.store.contacts.groups import (
    audience_members,
    audiences,
    memberships,
    subscriptions,
    topics,
)
from headrace.store.contacts.merging import merges
from headrace.store.contacts.merging import steps as merge_steps
from headrace.store.contract.merges import PairStatus
from headrace.store.contract.push import DeviceFilter
from headrace.store.deliveries import (
    claim_ends,
    closings,
    dead_letters,
    delivery_counts,
    delivery_lists,
    pauses,
    replays,
    resends,
    subscriber_rows,
    subscribers,
    unroutable,
)
from headrace.store.engine.dialect import Statement, sql
from headrace.store.events import event_lists, event_removal, events, queue_reads, trace
from headrace.store.messages import (
    message_rows,
    person_messages,
    receivers,
    removal,
    suppressions,
    waiting_runs,
    warm_ups,
)
from headrace.store.messages.content import bodies, captured, links, templates
from headrace.store.messages.feedback import engagement, notifications
from headrace.store.messages.sending import (
    emails,
    facts,
    jobs,
    message_lists,
    message_search,
    outbox,
)
from headrace.store.privacy import begin as erasure_begin
from headrace.store.privacy import (
    erased_events,
    erasures,
    mention_search,
    person_details,
    person_events,
    person_export,
)
from headrace.store.push import device_rows, devices, notification_rows, person_devices, reports
from headrace.store.push import jobs as push_jobs
from headrace.store.push import materials as push_materials
from headrace.store.push import removal as push_removal
from headrace.store.push import sends as push_sends
from headrace.store.upkeep import alert_readings, alerts, retention, rollups
from tests.support.places import PLACES, Place, PostgresPlace
from tests.support.plans import SORT, indexes_in_order, tables_walked
from tests.support.postgres_plans import explain
from tests.support.session import StoreSession

ROWS = 30_000
_FILL = f"""
INSERT INTO contacts (lane, id, number, project_id, external_id, email, created_us, updated_us)
SELECT i % {LANES}, 'c' || i, i, 1 + i % 3, 'u' || i, 'p' || i || '@x.org', i, i
FROM generate_series(1, {ROWS}) AS i;
INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id)
SELECT lane, project_id, 'external_id', external_id, id FROM contacts
UNION ALL SELECT lane, project_id, 'email', email, id FROM contacts;
INSERT INTO contact_identifiers (lane, project_id, kind, value, contact_id, alias)
SELECT lane, project_id, 'contact_id', 'a' || id, id, true FROM contacts WHERE number % 50 = 0;
INSERT INTO events (lane, sequence, id, project_id, event, contact_id, external_id, email,
    occurred_us, received_us, source, payload)
SELECT lane, number, gen_random_uuid(), project_id, 'a.b', CASE WHEN number % 2 = 0 THEN id END,
    external_id, email, 0, 0, 0, '{{}}' FROM contacts;
INSERT INTO event_states (lane, sequence, project_id, status, attempts, contact_id)
SELECT lane, sequence, project_id, 3, 1, 'c' || sequence % 2000 FROM events;
INSERT INTO recent_keys SELECT sequence % {LANES}, id, lane, sequence FROM events;
INSERT INTO sorted_keys SELECT sequence % {LANES}, gen_random_uuid(), lane, sequence FROM events;
INSERT INTO event_queue (lane, sequence, project_id, queued_us)
SELECT lane, sequence, project_id, sequence FROM events WHERE sequence % 4 = 0;
INSERT INTO event_retries SELECT lane, sequence, project_id, sequence, 1, 0 FROM events
WHERE sequence % 10 = 0;
INSERT INTO conflict_pairs (lane, low_id, high_id, id, number, project_id, contact_id,
    other_contact_id, events, external_id_count, email_count, last_event_id, first_us, last_us,
    resolved_by, dismissed_us)
SELECT lane, 'c' || sequence, 'd' || sequence, 'p' || sequence, sequence, project_id, 'c', 'd', 1,
    1, 0, id, 0, 0, CASE WHEN sequence % 2 = 0 THEN 'm' || sequence END,
    CASE WHEN sequence % 3 = 0 THEN sequence END FROM events;
INSERT INTO merges (id, project_id, contact_id, other_contact_id, actor, created_us, snapshot)
SELECT sequence, project_id, 'c' || sequence, 'd' || sequence, 'a', 0, '{{}}' FROM events;
INSERT INTO erasures (id, project_id, contact_id, status, counts, actor, created_us)
SELECT sequence, project_id, 'c' || sequence, 'done', '{{}}', 'a', 0 FROM events;
INSERT INTO erased_contacts SELECT 'c' || sequence, project_id, sequence FROM events;
INSERT INTO duplicate_requests SELECT lane, sequence, 1, 0, '', '', false FROM events;
INSERT INTO processing_attempts SELECT lane, sequence, 1, 0, 0, '', '' FROM events;
INSERT INTO contact_conflicts (lane, sequence, field, number, project_id, contact_id,
    other_contact_id, at_us)
SELECT lane, sequence, 'email', sequence, project_id, 'c', 'd', 0 FROM events;
INSERT INTO audiences SELECT 'a' || i, 1, 'a' || i, '', i, i FROM generate_series(1, 300) AS i;
INSERT INTO topics SELECT 't' || i, 1, 't' || i, '', false, i, i FROM generate_series(1, 300) AS i;
INSERT INTO audience_members (lane, contact_id, audience_id, contact_number, entered_us)
SELECT lane, id, 'a' || number % 300, number, 0 FROM contacts;
INSERT INTO topic_subscriptions (lane, contact_id, topic_id, contact_number, is_subscribed,
    changed_us)
SELECT lane, id, 't' || number % 300, number, number % 2 = 0, 0 FROM contacts;
INSERT INTO audit (at_us, actor, project_id, action, detail)
SELECT number, 'a' || number % 9, nullif(number % 4, 0), 'x', '{{}}' FROM contacts;
INSERT INTO rejections (project_id, at_us, status, code, message, details, route, body_shape,
    body_bytes) SELECT 1 + number % 3, number, 422, '', '', '[]', '', '{{}}', 0 FROM contacts;
INSERT INTO sign_in_attempts SELECT email, number, 1 FROM contacts;
INSERT INTO sessions (token_hash, id, email, created_us, seen_us, address, browser)
SELECT email::bytea, id, 'p' || number % 1000, number, number, '', '' FROM contacts;
INSERT INTO projects (id, uuid, name, created_us)
SELECT i, gen_random_uuid(), 'n' || i, i FROM generate_series(1, 300) AS i;
INSERT INTO members SELECT 1 + number % 300, email, 'viewer', 0 FROM contacts;
INSERT INTO subscribers (id, project_id, kind, target, events, created_us, updated_us)
SELECT 's' || number, 1 + number % 300, 'webhook', 'u', '[]', number, number FROM contacts;
UPDATE subscribers SET paused_us = 1 WHERE id = 's7';
UPDATE subscribers SET resume_per_second = 1, resume_from_us = 1 WHERE id = 's8';
INSERT INTO deliveries (lane, number, id, project_id, sequence, subscriber_id, state, due_us,
    created_us, owner, lease_until_us)
SELECT lane, sequence, 'd' || sequence, project_id, sequence,
    's' || CASE WHEN sequence % 9 = 0 THEN sequence % 400 ELSE 1 END,
    CASE WHEN sequence % 200 = 0 THEN 1 WHEN sequence % 3 = 0 THEN 2 ELSE 3 END, sequence, 0,
    CASE WHEN sequence % 200 = 0 THEN 'w' || sequence % 2 END, sequence
FROM events;
INSERT INTO delivery_attempts (lane, delivery_number, number, at_us, duration_us, cause)
SELECT lane, number, n, 0, 0, 'c' FROM deliveries, generate_series(1, 3) AS n;
INSERT INTO dead_letters (lane, number, id, project_id, sequence, event, kind, subscriber_id,
    delivery_number, cause, error, attempts, first_failed_us, dead_lettered_us, state)
SELECT lane, number, 'l' || number, project_id, sequence, 'a.b', 'delivery', 's1', number, 'c',
    'e', 1, 0, sequence, number % 2
FROM deliveries;
INSERT INTO replays (id, project_id, filter, per_second, last_number, total, status, actor,
    created_us, updated_us)
SELECT 'r' || number, project_id, '{{}}', 1, 1, 1,
    CASE WHEN number % 5000 = 0 THEN 'running' ELSE 'done' END, 'a', 0, 0 FROM contacts;
INSERT INTO catalog_names (lane, project_id, event, first_us, last_us, events, sources, inspected)
SELECT number % 3, 1 + number % 2, 'e' || number, 0, 0, 1, 1, 1 FROM contacts;
INSERT INTO catalog_hours
SELECT number % 3, 1 + number % 2, 'e' || number % 400, number, 0, 1 FROM contacts;
INSERT INTO catalog_paths (lane, project_id, event, path, first_us, last_us, types, looks, present,
    first_number, last_number, sequence)
SELECT number % 3, 1 + number % 2, 'e' || number % 400, 'p' || number, 0, 0, 1, 1, 1, 1, 1, 1
FROM contacts;
INSERT INTO catalog_drift
SELECT number % 3, 1 + number % 2, 'e' || number % 400, number, 'k', 'p', 0, 0, NULL, 0
FROM contacts;
INSERT INTO rollups SELECT number % 3, 1 + number % 2, 60, number, '', '{{1}}' FROM contacts;
INSERT INTO topic_opt_outs SELECT lane, id, 0 FROM contacts WHERE number % 2 = 0;
INSERT INTO messages (lane, id, project_id, channel, kind, email_id, contact_id, address, state,
    due_us, first_due_us, lease_until_us, handed_us, finished_us, created_us)
SELECT number % 256, 'm' || number, project_id, 'mail',
    CASE WHEN number % 2 = 0 THEN 'marketing' ELSE 'transactional' END, 'e' || number,
    CASE WHEN number % 20 > 0 THEN 'c' || number % 2000 END, email,
    CASE WHEN number % 100 = 0 THEN 'unknown' WHEN number % 3 = 0 THEN 'queued' ELSE 'sent' END,
    CASE WHEN number % 3 = 0 THEN number END, number, CASE WHEN number % 500 = 1 THEN number
    ELSE 0 END, CASE WHEN number % 3 > 0 THEN number END,
    CASE WHEN number % 3 > 0 THEN number END, number FROM contacts;
INSERT INTO message_attempts (lane, message_id, number, claim, relay, started_us)
SELECT lane, id, 1, 1, 'r', 0 FROM messages;
UPDATE message_attempts SET relay_id = 'x' || message_id;
INSERT INTO message_engagement SELECT lane, id, 'open', 0, 'person', NULL, 1, 0, 0 FROM messages;
INSERT INTO message_hits (lane, id, message_id, kind, link, at_us, due_us, address, user_agent,
    head, honeypot) SELECT lane, 'h' || id, id, 'open', 0, created_us,
    CASE WHEN created_us % 50 = 0 THEN created_us END, 'a' || created_us % 900, '', false, false
FROM messages;
INSERT INTO emails SELECT number % 256, 'e' || number, project_id, '\\x00', '{{}}', number
FROM contacts;
INSERT INTO email_parts SELECT lane, id, 'text', project_id, decode(md5(id), 'hex') FROM emails;
INSERT INTO message_bodies SELECT lane, project_id, decode(md5(id), 'hex'), '\\x00', 0 FROM emails;
INSERT INTO links (project_id, hash, target)
SELECT project_id, decode(md5(id), 'hex'), 'https://x.org' FROM emails;
INSERT INTO mail_figures (project_id, domain, day, receiver)
SELECT 1 + i % 3, 'd' || i % 50, (DATE '2025-01-01' + i % 700)::text, 'r' || i
FROM generate_series(1, 30000) AS i;
INSERT INTO alerts (number, id, project_id, kind, subject, state, detail, started_us, ended_us)
SELECT i, 'a' || i, 1 + i % 3, 'disk_low', i, CASE WHEN i % 100 = 0 THEN 'open' ELSE 'ended' END,
    '', i, CASE WHEN i % 100 = 0 THEN NULL ELSE i END
FROM generate_series(1, 30000) AS i;
INSERT INTO alert_notices (id, alert_number, edge, channel, due_us, at_us)
SELECT 'n' || i, i, 'ended', 'mail', CASE WHEN i % 1000 = 0 THEN i END, i
FROM generate_series(1, 30000) AS i;
INSERT INTO suppressions SELECT id, project_id, decode(md5(id), 'hex'), 'manual', 'all', id, '', '',
    '', created_us FROM emails;
INSERT INTO soft_bounces SELECT project_id, decode(md5(id), 'hex'), 1, 0, 0 FROM emails;
INSERT INTO captured_mails (project_id, message_id, at_us, content)
SELECT 1 + i % 3, 'm' || i, 0, '\\x00' FROM generate_series(1, 2000) AS i;
INSERT INTO mail_notifications (id, project_id, digest, message_id, intake, source, event, kind,
    effect, at_us, due_us, raw)
SELECT 'n' || i, 1 + i % 3, decode(md5('' || i), 'hex'), 'm' || i, 'imap', 'dsn', '', 'hard',
    'nothing', i, CASE WHEN i % 50 = 0 THEN i END, '' FROM generate_series(1, 5000) AS i;
UPDATE messages SET mail_key = 'k' || id;
INSERT INTO send_counts SELECT id, 'mail', '2026-01-01', 1 FROM projects;
INSERT INTO send_jobs (id, project_id, audiences, excluded, total, status, actor, due_us,
    created_us, updated_us)
SELECT id, project_id, '[]', '[]', 1, 'done', 'a', 0, 0, 0 FROM emails;
INSERT INTO push_sends SELECT lane, id, project_id, 'app1', '\\x00', '{{}}', '{{}}', created_us
FROM emails;
INSERT INTO push_notifications (lane, id, project_id, app_id, platform, send_id, message_id, state,
    created_us) SELECT lane, 's' || id, project_id, 'app1', 'web', id, id, 'sent', 0 FROM emails;
INSERT INTO push_jobs (id, project_id, audiences, excluded, total, status, actor, due_us,
    created_us, updated_us)
SELECT id, project_id, '[]', '[]', 1, 'done', 'a', 0, 0, 0 FROM emails;
INSERT INTO templates SELECT 't' || i, 1, 't' || i, 'email', '', 'active', '{{}}', 1, false, i, i
FROM generate_series(1, 300) AS i;
INSERT INTO template_versions SELECT 'v' || t.id || '-' || i, t.id, 1, i, '{{}}', '{{}}', 0, 'a'
FROM templates t, generate_series(1, 20) AS i;
INSERT INTO automations (id, project_id, name, description, status, draft, draft_revision,
    trigger_event, created_us, updated_us)
SELECT 'au' || i, 1 + i % 3, 'n' || i, '', 'active', '{{}}', 1, 'e' || i, i, i
FROM generate_series(1, 300) AS i;
INSERT INTO automation_versions (automation_id, number, id, project_id, definition, sha256,
    event_names, published_us, published_by)
SELECT a.id, i, a.id || '-' || i, a.project_id, '{{}}', '', '[]', i, 'a'
FROM automations a, generate_series(1, 20) AS i;
INSERT INTO automation_inbox (lane, sequence, project_id, contact_id, due_us)
SELECT lane, sequence, project_id, 'c' || sequence % 2000, sequence FROM events;
INSERT INTO automation_entries (lane, contact_id, automation_id, entry_key, project_id,
    last_start_us, starts) SELECT lane, id, 'au' || number % 300, '', project_id, 0, 1
FROM contacts;
INSERT INTO automation_runs (lane, id, project_id, automation_id, version, contact_id, entry_key,
    event_lane, sequence, status, state, due_us, started_us, finished_us)
SELECT number % 256, 'r' || number, project_id, 'au' || number % 300, 1 + number % 20,
    'c' || number % 2000, '', lane, number,
    CASE WHEN number % 20 = 0 THEN 'waiting' ELSE 'completed' END, '{{}}',
    CASE WHEN number % 20 = 0 THEN number END, number,
    CASE WHEN number % 20 > 0 THEN number END FROM contacts;
INSERT INTO automation_notes (lane, run_id, number, at_us, reason, sentence)
SELECT lane, id, n, 0, 'x', '' FROM automation_runs, generate_series(0, 2) AS n;
INSERT INTO rejected_starts (lane, sequence, automation_id, project_id, version, contact_id,
    event_id, reason, sentence, at_us)
SELECT lane, sequence, 'au' || sequence % 300, project_id, 1, 'c' || sequence % 2000, 'e', 'x', '',
    sequence FROM events;
INSERT INTO push_devices (lane, app_id, id, project_id, contact_id, platform, environment, state,
    state_us, subscribed, address, address_hash, facts, kept_events, created_us, seen_us,
    updated_us)
SELECT number % 256, 'app' || number % 20, 'd' || number, project_id,
    CASE WHEN number % 3 > 0 THEN 'c' || number % 2000 END, 'web', 'production', 'subscribed', 0,
    true, 'x', decode(md5(id), 'hex'), '{{}}', CASE WHEN number % 100 = 0 THEN 1 ELSE 0 END,
    number, number, 0 FROM contacts;
INSERT INTO push_device_events SELECT lane, app_id, id, 'k', project_id, 'a.b', '{{}}', created_us
FROM push_devices;
INSERT INTO push_notifications (lane, id, project_id, app_id, platform, device_id, contact_id,
    state, finished_us, open_due_us, created_us)
SELECT number % 256, 'n' || number, project_id, 'app' || number % 20, 'web', 'd' || number,
    'c' || number % 2000, 'sent', number, CASE WHEN number % 100 = 0 THEN number END, number
FROM contacts;
INSERT INTO push_attempts SELECT lane, id, 1, 1, 'x', 0 FROM push_notifications;
INSERT INTO push_engagement SELECT lane, id, 'open', '', 1, 0, 0 FROM push_notifications
"""
#: Small tables that may be scanned.
_SMALL = {
    *("audiences", "topics", "operators", "o", "workers", "catalog_totals"),
    *("domains", "templates", "projects", "p", "send_counts", "captured_mails"),
    "warm_ups",
    *("automations", "automation_versions", "a", "v", "push_apps"),
    *("push_jobs", "counted"),
    # Two hours by minute.
    "automation_starts",
}
#: Statements that sort only few rows: requested ones, to lock them in order, or those of one owner.
_SORTED = {
    "receivers.by_receiver",
    "push_sends.counts",
    *("identifiers.of", "sign_in.sessions", "refs.hold", "refs.change"),
    *("catalog.drift", "catalog.hours", "delivery_lists.attempts"),
    *("dead_letters.groups", "claim_ends.owners", "claim_ends.lost"),
    *("erasure_begin.of_contacts", "erasure_begin.undone_into", "person_events.sizes"),
    *("person_events.identities", "person_details.ids", "person_export.events"),
    *(f"person_details.{name}" for name in person_details.DETAILS),
    # To group as many runs as are counted at most.
    *("version_changes.by_step", "pausing.overdue", "run_stats.waiting"),
    "facts.handed",
    "facts.handed_of_topic",
    "devices.kept",
    *(f"person_devices.count {name}" for name in ("push_notifications", "push_attempts")),
    "person_devices.count push_engagement",
}
#: Statements that SQLite scans in the order of row numbers, up to their limit.
_LIMITED = {"rejections.old": "rejections", "replays.old": "replays"}
_KEYS = "'{1,2,3}', '{c1,c2,c3}'"
_ROWS = "'{1,2,3}', '{1,2,3}'"
_LANES = "'{" + ",".join(str(lane) for lane in range(LANES // 2)) + "}'"
_WANTED = "'a.b', NULL, 'c', NULL"
_PLACES = "'{1,2,3}', '{257,258,259}'"
_ID = "'00000000-0000-0000-0000-000000000001'"
#: Statement, and values for its parameters.
STATEMENTS: dict[str, tuple[Statement, str]] = {
    "audit.of_project": (audit.OF_PROJECT, "1, 20000, 50"),
    "audit.find": (audit.FIND, "20000, 500, 50, 'x', 'x.', 'a', 1, 9"),
    "audit.find of project": (audit.FIND_OF_PROJECT, "20000, 500, 50, 'x', 'x.', 'a', 1, 9, 1"),
    "audit.oldest": (audit.OLDEST, "1"),
    "audit.oldest of none": (audit.OLDEST_OF_NONE, ""),
    "audit.expired": (audit.EXPIRED, "9, 1000, 50, 1"),
    "audit.expired of none": (audit.EXPIRED_OF_NONE, "9, 1000, 50"),
    "audit.remove": (audit.REMOVE, "'{1,2,3}'"),
    "members.accounts": (members.ACCOUNTS, "1, 1"),
    "members.of project": (members.MEMBERS, "1"),
    "sign_in.roles": (sign_in.ROLES, "'p1'"),
    "rejections.list": (rejections.LIST, "1, 20000, 50"),
    "rejections.old": (rejections.OLD, "100, 50"),
    "rejections.many": (rejections.MANY, "1, 10000, 50"),
    "rejections.remove": (rejections.REMOVE, "'{1,2,3}'"),
    "sign_in.hold tries": (sign_in.HOLD_TRIES, "'{p1@x.org,p2@x.org}'"),
    "sign_in.count try": (sign_in.COUNT_TRY, "'{p1@x.org,p2@x.org}'"),
    "sign_in.sessions": (sign_in.SESSIONS, "'p1', 1, 1"),
    "refs.find": (refs.FIND, f"{_KEYS}, 1"),
    "refs.hold": (refs.HOLD, "1, '{c1,c2}', 1"),
    "refs.change": (refs.CHANGE, "1, '{c1,c2}', 1"),
    "refs.follow": (refs.FOLLOW, f"{_KEYS}, 1"),
    "subscriptions.choices": (subscriptions.CHOICES, "1, 'c1', '{t1,t2}'"),
    "subscriptions.opted_out": (subscriptions.OPTED_OUT, "1, 'c1'"),
    "subscriptions.choose": (subscriptions.CHOOSE, "1, 'c1', 1, '{t1,t2}', true, 1"),
    "identifiers.owner": (identifiers.OWNER, "1, 1, 'external_id', 'u1'"),
    "identifiers.of": (identifiers.OF, "'c50'"),
    "identifiers.lead_all": (identifiers.LEAD_ALL, "'c1', 'c50'"),
    "identifiers.remove_aliases": (identifiers.REMOVE_ALIASES, "'c50'"),
    "contact_writes.by_id": (contact_writes.BY_ID, "1, 'c1', 1"),
    **{
        f"contact_writes.forget {n}": (statement, "'{c1,c2}'")
        for n, statement in enumerate(contact_writes.FORGET)
    },
    "contact_writes.forget_snapshots": (contact_writes.FORGET_SNAPSHOTS, "'{c1,c2}'"),
    "contact_lists.matches": (contact_lists.MATCHES, "1, 'email', 'p1', 'p2', 5001"),
    "merges.pairs": (merges.PAIRS[PairStatus.OPEN], "1, 100000, 50"),
    "merges.dismissed": (merges.PAIRS[PairStatus.DISMISSED], "1, 100000, 50"),
    "merges.pair": (merges.PAIR, "'p1', 1"),
    "merges.dismiss": (merges.DISMISS, "'p1', 1, 'a', 'r'"),
    "merges.list": (merges.LIST, "1, 100000, 50"),
    "merge_steps.events": (merge_steps.EVENTS, "1, '{c1,c2}'"),
    "merge_steps.resolve": (merge_steps.RESOLVE, "'{c1,d1}', 'm'"),
    "merge_steps.unresolve": (merge_steps.UNRESOLVE, "'m'"),
    "merge_steps.later": (merge_steps.LATER, "19000, 'c1'"),
    "erasure_begin.of_contacts": (erasure_begin.OF_CONTACTS, "'{c1,c2}', 1"),
    "erasure_begin.erased_with": (erasure_begin.ERASED_WITH, "1, '{c1,c2}'"),
    "erasure_begin.merged_with": (erasure_begin.MERGED_WITH, "1, '{c1,c2}'"),
    "erasure_begin.undone_into": (erasure_begin.UNDONE_INTO, "1, 'd1'"),
    "erasure_begin.old_dry_runs": (erasure_begin.OLD_DRY_RUNS, "1, 1"),
    "erasures.list": (erasures.LIST, "1, 100000, 50"),
    "erasures.unfinished": (erasures.UNFINISHED, "10"),
    "erasures.done": (erasures.DONE, "1"),
    "pauses.paced": (pauses.PACED, ""),
    "pauses.due": (pauses.DUE, "'s1', 2, 9"),
    "queue_reads.paused_deliveries": (queue_reads.PAUSED_DELIVERIES, ""),
    "pauses.waiting": (pauses.WAITING, "'s1', 2"),
    "subscriber_rows.set_paces": (subscriber_rows.SET_PACES, "'{s1}', '{1}', '{2}'"),
    "subscriber_rows.set_breakers": (
        subscriber_rows.SET_BREAKERS,
        "'{s1,s2}', '{NULL,NULL}', '{x,y}'",
    ),
    "subscribers.list": (subscribers.LIST, "1, 20000, 50"),
    "claim_ends.add_dead_letters": (
        claim_ends.ADD_DEAD_LETTERS,
        f"{_ROWS}, '{{11,12,13}}', '{{a,b,c}}', 'c', 9",
    ),
    "claim_ends.forget_attempts": (claim_ends.DROP[0], "1, 1"),
    "claim_ends.drop": (claim_ends.DROP[1], "1, 1"),
    "claim_ends.owners": (claim_ends.OWNERS, _LANES),
    "claim_ends.lost": (claim_ends.LOST, f"{_LANES}, 300, '{{w1}}', 100"),
    "unroutable.next": (unroutable.NEXT_WAITED_FOR, "'s1'"),
    "unroutable.waiting": (unroutable.WAITING_FOR, f"'s9', {_LANES}, 100"),
    "unroutable.expire_unroutable": (unroutable.EXPIRE, f"{_ROWS}, 9, 'e'"),
    "delivery_lists.of_subscriber": (delivery_lists.OF_SUBSCRIBER, "'s1', 2, 20000, 50"),
    "delivery_lists.of_event": (delivery_lists.OF_EVENT, "1, 4"),
    "delivery_lists.attempts": (delivery_lists.ATTEMPTS, _ROWS),
    "delivery_lists.resent_by": (delivery_lists.RESENT_BY, "'{1,2}'"),
    "dead_letters.floor": (dead_letters.FLOOR, "1, 20000, 1000"),
    "dead_letters.list": (dead_letters.LIST, f"1, 20000, 0, {_WANTED}, 50"),
    "dead_letters.count": (dead_letters.COUNT, f"1, 20000, 19000, {_WANTED}"),
    "dead_letters.groups": (dead_letters.GROUPS, f"1, 20000, 19000, {_WANTED}"),
    "closings.find": (closings.FIND, "1, 1, 'l1', 1"),
    "closings.close": (closings.CLOSE, f"{_ROWS}, 1, 9, 'a', 'r'"),
    "closings.accept_again": (closings.ACCEPT_AGAIN, _ROWS),
    "closings.work": (closings.WORK, f"{_ROWS}, '{{1,1,1}}', 9"),
    "closings.deliver_again": (closings.DELIVER_AGAIN, f"{_ROWS}, 9"),
    "replays.list": (replays.LIST, "1, 20000, 50"),
    "replays.running": (replays.RUNNING, "50"),
    "device_rows.get": (device_rows.GET, "1, 'app1', 'd1'"),
    "device_rows.many": (device_rows.MANY, "'{1,2}', '{d1,d2}', 'app1'"),
    "device_rows.contacts": (device_rows.CONTACTS, "'app1', '{}'"),
    "device_rows.of_contact": (device_rows.OF_CONTACT, "'{c1,c2}'"),
    "device_rows.unsubscribe": (device_rows.UNSUBSCRIBE, "1, 'app1', 'd1', 'gone', 1"),
    "devices.replace": (devices.REPLACE, "'app1', '\\x00', 'd1', 1"),
    "devices.kept": (devices.KEPT, "1, 'app1', 'd1', 50"),
    "devices.drop_kept": (devices.DROP_KEPT, "1, 'app1', 'd1', '{k}'"),
    "devices.waiting": (devices.WAITING, "50"),
    "devices.list": (devices.list_of(DeviceFilter()), "'app1', 20000, 'd1', 50"),
    "devices.notifications": (devices.NOTIFICATIONS, "'app1', 'd1', 20"),
    "reports.near": (reports.NEAR, "1, 'n1', 1"),
    "reports.due": (reports.DUE, "1000, 50"),
    "push_removal.unseen": (push_removal.UNSEEN, "1, 1000, 50"),
    "push_removal.old_events": (push_removal.OLD_EVENTS, "1, 1000, 50"),
    "push_removal.next_app": (push_removal.NEXT_APP, "'app1'"),
    "push_removal.of_app": (push_removal.OF_APP, "'app1', 50"),
    "push_removal.finished": (push_removal.FINISHED, "1, 1000, 50"),
    "push_removal.devices": (push_removal.REMOVE_DEVICES, "'{1}', '{app1}', '{d1}'"),
    "push_removal.events": (push_removal.REMOVE_EVENTS_OF, "'{1}', '{app1}', '{d1}'"),
    **{
        f"push_removal.{table}": (statement, "'{1}', '{n1}'")
        for table, statement in push_removal.REMOVE_NOTIFICATIONS
    },
    "person_devices.devices": (person_devices.DEVICES, "'{c1,c2}', 1, 50"),
    "person_devices.to_contact": (person_devices.TO_CONTACT, "'{c1,c2}', 1, 50"),
    "person_devices.to_device": (person_devices.TO_DEVICE, "'app1', 'd1', 50"),
    **{
        f"person_devices.count {table}": (statement, "'{c1,c2}', 1")
        for table, statement in person_devices.COUNTS.items()
    },
    "person_devices.attempts": (person_devices.ATTEMPTS, "1, 'n1'"),
    "person_devices.engagement": (person_devices.ENGAGEMENT, "1, 'n1'"),
    "replays.count_running": (replays.COUNT_RUNNING, "1"),
    "replays.forget": (replays.FORGET, "1, 1000"),
    "replays.outcomes_of_deliveries": (replays.OUTCOMES_OF_DELIVERIES, "1, 'replay x'"),
    "replays.outcomes_of_events": (replays.OUTCOMES_OF_EVENTS, "1, 'replay x'"),
    "replays.outcomes_of_inbox": (replays.OUTCOMES_OF_INBOX, "1, 'replay x'"),
    "replays.replayed_runs": (replays.REPLAYED_RUNS, "1, 'replay x'"),
    "replays.outcomes_of_runs": (replays.OUTCOMES_OF_RUNS, "'{1}', '{r1}'"),
    "replays.outcomes_of_resend": (replays.OUTCOMES_OF_RESEND, "3"),
    "replays.old": (replays.OLD, "100, 9"),
    "replays.remove": (replays.REMOVE, "'{1,2,3}'"),
    "replays.ceiling": (replays.CEILING, "1, 100, 20000, 999"),
    "replays.next": (replays.NEXT, f"1, 100, 20000, {_WANTED}, 50"),
    "resends.range": (resends.RANGE, "1, 100, 20000, 1000"),
    "resends.failed": (resends.FAILED, "1, 100, 20000, 1000"),
    "resends.names": (resends.NAMES, f"{_ROWS}, 1"),
    "resends.processed": (resends.PROCESSED, f"{_ROWS}, 1"),
    "resends.deliveries": (resends.DELIVERIES, f"{_ROWS}, 's1'"),
    "resends.dead_letters": (resends.DEAD_LETTERS, f"{_ROWS}, 's1'"),
    "resends.send_again": (resends.SEND_AGAIN, f"{_ROWS}, '{{1,1,1}}', 1, 9"),
    "delivery_counts.claimed": (delivery_counts.CLAIMED, ""),
    "erasure_begin.remove_merges": (erasure_begin.REMOVE_MERGES, "'{c1,c2}', 1"),
    "erasure_begin.count_merges": (erasure_begin.COUNT_MERGES, "'{c1,c2}', 1"),
    **{
        f"person_events.page by {name}": (statement, "1, 'c1', 0, 90000, 90000, 90000, 50")
        for name, statement in person_events.PAGES.items()
    },
    **{
        f"person_events.had {n}": (statement, "1, 'c1', true")
        for n, statement in enumerate(person_events.HAD_EVENTS)
    },
    "person_events.sizes": (person_events.SIZES, _PLACES),
    "person_events.identities": (person_events.IDENTITIES, _PLACES),
    **{
        f"person_details.{name}": (statement, _PLACES)
        for name, statement in person_details.DETAILS.items()
    },
    "person_details.ids": (person_details.IDS, _PLACES),
    "person_export.events": (person_export.EVENTS, _PLACES),
    "person_export.merges": (person_export.MERGES, "'{c1,c2}', 1"),
    "person_export.pairs": (person_export.PAIRS, "'c1', 1"),
    "mention_search.last": (mention_search.LAST, "1"),
    "mention_search.sizes": (mention_search.SIZES, "1, 100, 20000, 500"),
    "mention_search.payloads": (mention_search.PAYLOADS, "1, 100, 20000, 500"),
    "catalog.names": (catalog.NAMES, "1, 'e1', 'e', 'f', 1, 0, 50"),
    "catalog.name": (catalog.NAME, "1, 'e1'"),
    "catalog.example": (catalog.EXAMPLE, "1, 'e1'"),
    "catalog.paths": (catalog.PATHS, "1, 'e1'"),
    "catalog.drift": (catalog.DRIFT, "1, 'e1'"),
    "catalog.hours": (catalog.HOURS, "1, '{e1,e2}', 100, 200"),
    "catalog.count": (catalog.COUNT, "5"),
    "catalog.totals": (catalog.TOTALS, "5"),
    "catalog.expired": (catalog.EXPIRED, "100, 50"),
    "catalog.remove": (catalog.REMOVE, "'{1}', '{2}', '{e1}', '{1}', '{0}'"),
    "rollups.read": (rollups.READ, "1, 60, 100, 200"),
    "rollups.subscribers": (rollups.SUBSCRIBERS, "1, 60, 100, 200"),
    "rollups.expired": (rollups.EXPIRED, "60, 100, 50"),
    "rollups.remove": (rollups.REMOVE, "'{1}', '{2}', '{60}', '{1}', '{\"\"}'"),
    "events.get": (events.GET, f"1, 1, {_ID}, 1"),
    "events.find_key": (events.FIND_KEY, f"{_ID}, 1"),
    "events.get_of_key": (events.GET_OF_KEY, "1, 1, 1, 'k'"),
    "events.first_copies": (events.FIRST_COPIES, "'{1}', '{1}', 1"),
    "events.of_ids": (events.OF_IDS, "'{1}', '{1}', 1"),
    "events.after": (events.AFTER, "1, 20000, 50"),
    "events.of_contact": (events.OF_CONTACT, "1, 'c1', 1000000, 50"),
    "events.repeats": (events.REPEATS, "1, 1"),
    "events.next_project": (events.NEXT_PROJECT, "1"),
    "events.last_of_project": (events.LAST_OF_PROJECT, "1"),
    "event_lists.queue_length": (event_lists.QUEUE_LENGTH, "1"),
    "queue_reads.next_project": (queue_reads.NEXT_PROJECT, "1"),
    "queue_reads.oldest": (queue_reads.OLDEST, "1"),
    "trace.decision": (trace.DECISION, "1, 1"),
    "trace.lease": (trace.LEASE, "1, 1, 1"),
    "trace.retry": (trace.RETRY, "1, 1"),
    "trace.repeats": (trace.REPEATS, "1, 1"),
    "trace.attempts": (trace.ATTEMPTS, "1, 1"),
    "trace.dead_letters": (trace.DEAD_LETTERS, "1, 1"),
    "trace.subscribers": (trace.SUBSCRIBERS, "1"),
    "event_removal.deliveries": (event_removal.REMOVE_DELIVERIES, _PLACES),
    "event_removal.attempts": (event_removal.REMOVE_ATTEMPTS, _PLACES),
    **{
        f"event_removal.{name}": (statement, _PLACES)
        for name, statement in event_removal.REMOVE_DETAILS.items()
    },
    **{
        f"event_removal.keys_{number}": (each, f"'{{1}}', '{{{_ID[1:-1]}}}', '{{1}}'")
        for number, each in enumerate(event_removal.REMOVE_KEYS)
    },
    "event_removal.events": (event_removal.REMOVE_EVENTS, _PLACES),
    "erased_events.deliveries": (erased_events.DELIVERIES, _PLACES),
    "erased_events.events": (erased_events.EVENTS, _PLACES),
    "erased_events.examples": (erased_events.EXAMPLES, f"1, '{{e1,e2}}', '{{{_ID[1:-1]}}}'"),
    "erased_events.work": (erased_events.REMOVE_WORK, f"{_PLACES}, 1"),
    "erased_events.retries": (erased_events.REMOVE_RETRIES, _PLACES),
    "erased_events.running": (erased_events.RUNNING, ""),
    **{
        f"erased_events.find {name}": (statement, "1, '{c1,c2}', 100000, 100000, 100000, 100")
        for name, statement in erased_events.FIND.items()
    },
    **{
        f"erased_events.last {name}": (statement, "1, 'c1', 0")
        for name, statement in erased_events.LAST.items()
    },
    "retention.find_events": (retention.FIND_EVENTS, "1, 0, 500"),
    "retention.finished": (retention.FINISHED, f"{_PLACES}, 1"),
    "retention.find_deliveries": (retention.FIND_DELIVERIES, f"{_PLACES}, 1001"),
    "retention.find_dead_letters": (retention.FIND_DEAD_LETTERS, "1, 50, 64"),
    "retention.dead_letters": (retention.REMOVE_DEAD_LETTERS, _PLACES),
    "retention.newest": (retention.NEWEST, "1"),
    "topics.list": (topics.LIST, "1, 200, 50"),
    "topics.remove": (topics.REMOVE, "'t1', 200"),
    "audiences.list": (audiences.LIST, "1, 200, 50"),
    "audience_members.enter": (audience_members.ENTER, f"{_KEYS}, '{{1,2,3}}', 'a9', 1"),
    "audience_members.leave": (audience_members.LEAVE, "1, 'c1', 'a1'"),
    "audience_members.first": (audience_members.FIRST, "'a1', 50"),
    "audience_members.remove": (audience_members.REMOVE, f"{_KEYS}, 'a1'"),
    "memberships.exit": (memberships.EXIT, "1, 'c1'"),
    "memberships.choices": (memberships.CHOICES, "1, 'c1'"),
    "memberships.inside": (memberships.INSIDE, "1, 'c1'"),
    **{
        f"memberships.forget {n}": (statement, "1, 'c1'")
        for n, statement in enumerate(memberships.FORGET)
    },
    "outbox.due_projects": (outbox.DUE_PROJECTS, "1000, 'mail'"),
    "outbox.candidates": (outbox.CANDIDATES, "1, 'marketing', 1000, 50, '{1,2,3}', 'mail'"),
    "outbox.claim": (outbox.CLAIM, "'{1,2}', '{m1,m2}', '{0,0}', 'o', 1, 1"),
    "outbox.renew": (outbox.RENEW, "'{1,2}', '{m1,m2}', '{0,0}', 'o', 1"),
    "outbox.leased": (outbox.LEASED, "1000, 'mail'"),
    "push_sends.get": (push_sends.GET, "1, 's1'"),
    "push_sends.counts": (push_sends.COUNTS, "'s1', 1000"),
    "push_sends.notifications": (push_sends.NOTIFICATIONS, "'s1', 1000"),
    "push_sends.old": (push_sends.OLD, "1, 1000, 50"),
    "push_sends.job_status": (push_sends.JOB_STATUS, "'s1'"),
    "push_materials.content": (push_materials.CONTENT_OF_SEND, "1, 's1'"),
    "push_jobs.open": (push_jobs.OPEN, "1, 100"),
    "push_jobs.waiting": (push_jobs.WAITING, "'s1', '', 500"),
    "notification_rows.states": (notification_rows.STATES, "'m1'"),
    "notification_rows.reopen": (notification_rows.REOPEN, "'m1'"),
    "notification_rows.move_open": (notification_rows.MOVE_OPEN, "'m1', 'skipped', 'no_device', 1"),
    "message_rows.get": (message_rows.GET, "1, 'm1'"),
    "message_rows.hold": (message_rows.HOLD, "1, 'm1'"),
    "message_rows.get_email": (message_rows.GET_EMAIL, "1, 'e1'"),
    "facts.handed": (facts.HANDED, "'{c1,c2}', 1, 'mail', '{marketing}', 'm1', 2"),
    "facts.handed_of_topic": (
        facts.HANDED_OF_TOPIC,
        "'{c1,c2}', 1, 'mail', '{marketing}', 'm1', 2, 't'",
    ),
    "facts.sent_today": (facts.SENT_TODAY, "1, 'mail', '2026-01-01'"),
    "emails.of_email": (emails.OF_EMAIL, "'e1', 50"),
    "bodies.parts": (bodies.PARTS, "1, 'e1'"),
    "bodies.read": (bodies.READ, "1, 1, '\\x00'"),
    "bodies.unname": (bodies.UNNAME, "1, 'e1'"),
    "bodies.drop": (bodies.DROP, "1, 1, '\\x00', 1"),
    "suppressions.of_addresses": (suppressions.OF_ADDRESSES, "1, '{\\x00}'"),
    "suppressions.of_address": (suppressions.OF_ADDRESS, "1, '\\x00'"),
    "receivers.by_day": (receivers.BY_DAY, "1, 'x', '2026-01-01'"),
    "receivers.by_receiver": (receivers.BY_RECEIVER, "1, 'x', '2026-01-01'"),
    "warm_ups.lock": (warm_ups.LOCK, "1, 'x'"),
    "warm_ups.list": (warm_ups.LIST, "1"),
    "receivers.old": (receivers.OLD_FIGURES, "'2025-01-02', 10"),
    "alerts.count_open": (alerts.COUNT_OPEN, "'{0,1}'"),
    "alerts.due": (alerts.DUE, "100, 20"),
    "alerts.old": (alerts.OLD, "100, 20"),
    "alerts.oldest_mail": (alert_readings.OLDEST_MAIL, "1, 'marketing'"),
    "alerts.unknown": (alert_readings.UNKNOWN, "1, 1000"),
    "alerts.new_dead_letters": (alert_readings.NEW_DEAD_LETTERS, "1, 29000"),
    "alerts.ended_deliveries": (alert_readings.ENDED_DELIVERIES, "'s1'"),
    "suppressions.starting": (suppressions.STARTING, "1, 'x', 'y', 50"),
    "suppressions.list": (suppressions.LIST, "1, 20000, 'x', 50"),
    "suppressions.by_reason": (suppressions.LIST_BY_REASON, "1, 20000, 'x', 50, 'manual'"),
    "templates.by_name": (templates.BY_NAME, "1, 't1'"),
    "templates.list": (templates.LIST, "1, 200, 50"),
    "templates.search": (templates.SEARCH, "1, 200, 50, 'email', NULL, ''"),
    "templates.version_list": (templates.VERSION_LIST, "1, 't1', 10, 50"),
    "templates.version": (templates.VERSION, "1, 'vt1-1'"),
    "templates.versions": (templates.VERSIONS, "1, 't1', 10, 50"),
    "links.find": (links.FIND, "1, '{\\x00}'"),
    "links.target": (links.TARGET, "1"),
    "captured.newest": (captured.NEWEST, "1000"),
    "captured.remove": (captured.REMOVE, "1"),
    "captured.list": (captured.LIST, "1, 1000, 50"),
    "captured.of_message": (captured.OF_MESSAGE, "1, 'm1'"),
    "jobs.list": (jobs.LIST, "1, 100000, 50"),
    "jobs.open": (jobs.OPEN, "1, 50"),
    "jobs.cancel_made": (jobs.CANCEL_MADE, "'e1', 1"),
    "jobs.members": (jobs.MEMBERS, "'a1', 1, 50"),
    "jobs.inside": (jobs.INSIDE, f"{_KEYS}, '{{a1,a2}}'"),
    "jobs.addresses": (jobs.ADDRESSES, f"{_KEYS}, 1"),
    "message_lists.list": (message_lists.LIST, "1, 20000, 'x', 50"),
    "message_lists.list in state": (message_lists.LIST_IN_STATE, "1, 20000, 'x', 50, 'sent'"),
    "message_lists.not arrived": (
        message_lists.LIST_NOT_ARRIVED,
        "1, 20000, 'x', 50, 'unknown'",
    ),
    "message_lists.outcomes": (message_lists.OUTCOMES, "'{e1,e2}', 150"),
    "message_lists.emails": (message_lists.EMAILS, "1, 20000, 'x', 50"),
    "message_lists.of_contact": (message_lists.OF_CONTACT, "'c1', 20000, 50"),
    "message_lists.cancel_notifications": (message_lists.CANCEL_NOTIFICATIONS, "'m1', 1"),
    "message_lists.attempts": (message_lists.ATTEMPTS, "1, 'm1', 50"),
    "message_lists.engaged": (message_lists.ENGAGED, "1, 'm1', 50"),
    "message_search.of_contact": (message_search.OF_CONTACT, "'c1', 20000, 'x', 50"),
    "message_search.of_address": (message_search.OF_ADDRESS, "1, 20000, 'x', 50, 'a'"),
    "engagement.due": (engagement.DUE, "1000, 50"),
    "engagement.of_message": (engagement.OF_MESSAGE, "'m1', 1, 9, 50"),
    "engagement.of_address": (engagement.OF_ADDRESS, "'a1', 1, 9, 50"),
    "engagement.old": (engagement.OLD, "100, 50"),
    "engagement.remove": (engagement.REMOVE, "'{1,2}', '{h1,h2}'"),
    "notifications.by_digest": (notifications.BY_DIGEST, "'\\x00'"),
    "notifications.by_number": (notifications.BY_NUMBER, "1"),
    "notifications.get": (notifications.GET, "1, 'n1'"),
    "notifications.list": (notifications.LIST, "1, 20000, 50, 'hard', NULL, NULL"),
    "notifications.list of message": (
        notifications.LIST_OF_MESSAGE,
        "'m1', 20000, 50, NULL, NULL, NULL",
    ),
    "notifications.counts": (notifications.COUNTS, "1"),
    "notifications.due": (notifications.DUE, "1, 50"),
    "notifications.by_relay_id": (notifications.BY_RELAY_ID, "'x7'"),
    "notifications.by_mail_key": (notifications.BY_MAIL_KEY, "'k1'"),
    "notifications.domain_owners": (notifications.DOMAIN_OWNERS, "'n1'"),
    "notifications.surplus": (notifications.SURPLUS, "1, 1000"),
    "notifications.trim": (notifications.TRIM, "1, 50"),
    "notifications.oldest": (notifications.OLDEST, "1, 50"),
    "notifications.remove": (notifications.REMOVE, "'{1,2}'"),
    "removal.finished": (removal.FINISHED, "1, 1000, 50"),
    "removal.unknown": (removal.UNKNOWN, "1, 1000, 50"),
    "removal.remove_hits": (removal.REMOVE_HITS, "'{m1,m2}'"),
    "removal.remove_captured": (removal.REMOVE_CAPTURED, "'{m1,m2}'"),
    "removal.remove_notifications": (removal.REMOVE_NOTIFICATIONS, "'{m1,m2}'"),
    "removal.remove_email": (removal.REMOVE_EMAIL, "1, 'e1'"),
    "removal.old_jobs": (removal.OLD_JOBS, "1, 1, 50"),
    "person_messages.of_contacts": (person_messages.OF_CONTACTS, "'{c1,c2}', 1, 50"),
    "person_messages.of_addresses": (person_messages.OF_ADDRESSES, "1, '{x,y}', 50"),
    "person_messages.page": (person_messages.PAGE_OF_CONTACT, "1, 'c1', 100, 'm1', 50"),
    "person_messages.page by address": (
        person_messages.PAGE_OF_ADDRESS,
        "1, 'x', 100, 'm1', 50",
    ),
    **{
        f"person_messages.count {table}": (statement, "'{1,2}', '{m1,m2}'")
        for table, statement in person_messages.COUNTS.items()
    },
    "person_messages.emails": (
        person_messages.COUNT_EMAILS,
        "'{1,2}', '{e1,e2}', '{c1,c2}', '{x,y}'",
    ),
    "person_messages.suppressions": (person_messages.SUPPRESSIONS, "1, '{x,y}'"),
    "person_messages.attempts": (person_messages.ATTEMPTS, "1, 'm1'"),
    "person_messages.engaged": (person_messages.ENGAGED, "1, 'm1'"),
    "person_messages.hits": (person_messages.HITS, "'m1'"),
    "person_messages.captured": (person_messages.CAPTURED, "'m1'"),
    "person_messages.notifications": (person_messages.NOTIFICATIONS, "'m1'"),
    "person_messages.others": (person_messages.OTHERS, "'e1', 50"),
    "person_messages.forget_addresses": (person_messages.FORGET_ADDRESSES, "1, '{x,y}'"),
    **{
        f"removal.remove {table}": (statement, "'{1,2}', '{m1,m2}'")
        for table, statement in removal.REMOVE
    },
    "contact_writes.cancel_messages": (contact_writes.CANCEL_MESSAGES, "'{c1,c2}', 1"),
    "contact_writes.cancel_notifications": (
        contact_writes.CANCEL_NOTIFICATIONS,
        "'{c1,c2}', 1",
    ),
    "waiting_runs.wake": (waiting_runs.WAKE_RUN, "1, 'r1', 100, 's1'"),
    "contact_writes.wake_runs": (contact_writes.WAKE_RUNS, "'{c1,c2}', 1"),
    "automation_use.users": (automation_use.USERS, "1, 'd1', 100"),
    "automations.by_name": (automations.BY_NAME, "1, 'n1'"),
    "automations.list": (automations.LIST, "1, 200, 50, 'active', ''"),
    "automations.version": (automations.VERSION, "'au1', 1"),
    "automations.versions": (automations.VERSIONS, "'au1', 20, 50"),
    "automations.names": (automations.NAMES, ""),
    "inputs.event": (inputs.EVENT, "1, 1"),
    "inputs.events": (inputs.EVENTS, "'{1,2}', '{1,2}'"),
    "look_backs.look_back": (look_backs.LOOK_BACK, "1, 'c1', 1, '{a.b,c.d}', 10000"),
    "look_backs.look_backs": (look_backs.LOOK_BACKS, "1, '{c1,c2}', '{1,1}', '{a.b,c.d}', 10000"),
    "work.due_events": (work.DUE_EVENTS, "100, 64"),
    "work.due_runs": (work.DUE_RUNS, "100, 64"),
    "work.next_event": (work.NEXT_EVENT, ""),
    "work.next_run": (work.NEXT_RUN, ""),
    "applying.oldest_of_contacts": (applying.OLDEST_OF_CONTACTS, "'{c1,c2}'"),
    "applying.take": (applying.TAKE, "'{1,2}', '{1,2}'"),
    "starts.starters": (starts.STARTERS, "1, 'e1'"),
    "people.contacts": (people.CONTACTS, "'{1,2}', '{c1,c2}', '{1,1}'"),
    "people.merged_ids": (people.MERGED_IDS, "'{c1,c2}'"),
    "people.open_of_contact": (people.OPEN_OF_CONTACT, "'{c1,c2}', 100"),
    "dead_letters_of_runs.close": (CLOSE_OF_RUNS, "'{r1,r2}', 1, 'a', NULL"),
    "operations.count": (operations.BULK_COUNT, "'au1', 'waiting', 1000, NULL, NULL, NULL, 100"),
    "operations.page": (
        operations.BULK_PAGE,
        "'au1', 'waiting', 1000, 1, 's1', NULL, 100, -1, ''",
    ),
    "version_changes.by_step": (version_changes.BY_STEP, "'au1', 1, 100"),
    "version_changes.page": (version_changes.PAGE, "'au1', 1, -1, '', 50, '{s1,s2}'"),
    "pausing.overdue": (pausing.OVERDUE, "'au1', 2305843009213694952, 100"),
    "controls.unpark": (controls.UNPARK, "'au1', 100"),
    "controls.open_runs": (controls.OPEN_RUNS_OF, "'au1', 100"),
    "starts.started": (starts.STARTED, "1, 100"),
    "operations.open_of_contact": (operations.OPEN_OF_CONTACT, "'{c1,c2}', NULL, 100"),
    "held_runs.hold_run": (held_runs.HOLD_RUN, "1, 'r1'"),
    "held_runs.hold_runs": (held_runs.HOLD_RUNS, "'{1,2}', '{r1,r2}'"),
    "starts.existing": (starts.EXISTING, "'{1,2}', '{r1,r2}'"),
    "starts.entries": (starts.ENTRIES, "'{1,2}', '{c1,c2}', '{au1,au1}', '{a,b}'"),
    "views.member_of": (views.MEMBER_OF, "1, 'c1', '{a1,a2}'"),
    "operations.forget": (operations.FORGET_ENTRIES, "'{c1,c2}', 'au1'"),
    "run_stats.waiting": (run_stats.WAITING, "'au1', NULL, 100"),
    "run_stats.states": (run_stats.STATES, "'au1', 20000, 'x', 50"),
    "runs.of_automation": (runs.OF_AUTOMATION, "'au1', 20000, 'x', 50"),
    "runs.of_status": (runs.OF_STATUS, "'au1', 20000, 'x', 50, 'waiting'"),
    "runs.of_contact": (runs.OF_CONTACT, "'c1', 20000, 'x', 50"),
    "runs.get": (runs.GET, "1, 'r1'"),
    "runs.notes": (runs.NOTES, "1, 'r1', 50"),
    "runs.rejected": (runs.REJECTED_STARTS, "'au1', 20000, 50"),
    "explaining.started_by": (explaining.STARTED_BY, "1, 'e1'"),
    "explaining.rejected_by": (explaining.REJECTED_BY, "1, 20000"),
    "explaining.in_inbox": (explaining.IN_INBOX, "1, 20000"),
    "explaining.version_at": (explaining.VERSION_AT, "'au1', 20000"),
    "run_removal.finished": (run_removal.FINISHED, "1, 1000, 50"),
    "run_removal.notes": (run_removal.REMOVE_NOTES, "'{1,2}', '{r1,r2}'"),
    "run_removal.runs": (run_removal.REMOVE_RUNS, "'{1,2}', '{r1,r2}'"),
    "run_removal.old_rejected": (run_removal.OLD_REJECTED, "1, 1000, 50"),
    "run_removal.rejected": (run_removal.REMOVE_REJECTED, "'{1,2}', '{1,2}', '{au1,au2}'"),
    "person_runs.runs": (person_runs.RUNS, "'{c1,c2}', 1, 50"),
    "person_runs.page": (person_runs.PAGE_OF_RUNS, "'c1', 1, 'x', 50, 1"),
    "person_runs.rejected": (person_runs.PAGE_OF_REJECTED, "'c1', 1, 50, 1"),
    "person_runs.entries": (person_runs.ENTRIES, "'{c1,c2}', 1, 50"),
    **{
        f"person_runs.count {table}": (statement, "'{c1,c2}', 1")
        for table, statement in person_runs.COUNTS.items()
    },
    **{
        f"person_runs.remove {table}": (statement, "'{c1,c2}', 1")
        for table, statement in person_runs.REMOVE.items()
    },
}


@pytest.fixture(scope="module")
def filled(store_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = PLACES[store_kind](Path(tmp_path_factory.mktemp("plans")))
    if isinstance(place, PostgresPlace):
        place.run_sql(_FILL)
        place.run_sql("VACUUM ANALYZE")
    else:
        StoreSession(place).close()
    yield place
    place.remove()


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_scans_a_table_that_grows(filled: Place, name: str) -> None:
    walked = tables_walked(filled, *STATEMENTS[name])
    if name in _SORTED:
        walked -= {SORT}
    if name in _LIMITED and not isinstance(filled, PostgresPlace):
        walked -= {_LIMITED[name]}
    assert walked <= _SMALL


#: Statements that end at their limit because an index has their order.
FIRST = {
    "delivery_lists.of_subscriber": "deliveries_subscriber",
    "unroutable.next": "deliveries_due",
    "dead_letters.floor": "dead_letters_open",
    "dead_letters.list": "dead_letters_open",
    "replays.ceiling": "dead_letters_open",
    "replays.next": "dead_letters_open",
    "replays.running": "replays_running",
    "resends.range": "events_project",
    "resends.failed": "deliveries_failed",
}


@pytest.mark.parametrize("name", FIRST)
def test_first_rows_are_found_without_sorting(filled: Place, name: str) -> None:
    assert indexes_in_order(filled, *STATEMENTS[name]) >= {FIRST[name]}


def test_a_missing_index_would_be_noticed(filled: Place) -> None:
    missing = sql("SELECT 1 FROM contacts WHERE properties = $1")
    assert tables_walked(filled, missing, "'x'") == {"contacts"}


def test_look_back_reads_only_events_of_the_contact(filled: Place) -> None:
    statement, values = STATEMENTS["look_backs.look_back"]
    if isinstance(filled, PostgresPlace):
        steps = explain(filled.url, statement.postgres, values, "force_custom_plan")
        assert any("contact_id = 'c1'" in step.get("Index Cond", "") for step in steps)
    else:
        assert "events_resolved_contact" in indexes_in_order(filled, statement, values)


def test_due_rows_are_found_in_order_without_sorting(filled: Place) -> None:
    statement, values = STATEMENTS["retention.find_events"]
    if isinstance(filled, PostgresPlace):
        steps = explain(filled.url, statement.postgres, values, "force_custom_plan")
        assert "Sort" not in {step["Node Type"] for step in steps}
        assert "events_project" in {step.get("Index Name") for step in steps}
    else:
        rows = filled.run_sql(f"EXPLAIN QUERY PLAN {statement.sqlite}", 1, 0, 500)
        found = [str(row[3]) for row in rows]
        assert found[0] == "SEARCH p USING INTEGER PRIMARY KEY (rowid>?)"
        assert "INDEX events_project (part=? AND project_id=? AND rowid>?)" in found[-1]
        assert not any("TEMP B-TREE" in step for step in found)


def test_scan_that_compares_rows_with_values_would_be_noticed(filled: Place) -> None:
    """SQLite may scan all rows of a project and search each among the values."""
    if isinstance(filled, PostgresPlace):
        return
    led = sql(
        "",
        sqlite="SELECT c.id FROM json_each(?1) j JOIN contacts c ON c.lane = j.value "
        "WHERE c.project_id = ?2",
    )
    assert tables_walked(filled, led, "") == {"c"}

"""Every screen, file by file."""

from __future__ import annotations

from headrace.backoffice.access import (
    account,
    audit,
    keys,
    members,
    operators,
    policies,
    projects,
    reveal,
    sign_in,
    welcome,
)
from headrace.backoffice.automations import listing as automations
from headrace.backoffice.automations import runs as automation_runs
from headrace.backoffice.catalog import catalog
from headrace.backoffice.contacts import conflicts, contacts, erasures
from headrace.backoffice.deliveries import dead_letters, replays, resends, subscribers, webhooks
from headrace.backoffice.events import event, events, live, rejections
from headrace.backoffice.messages import (
    domains,
    listing,
    message,
    new_send,
    notifications,
    send_jobs,
    stopping,
    suppressions,
    templates,
)
from headrace.backoffice.overview import alerts, home, overview
from headrace.backoffice.push import apps as push_apps
from headrace.backoffice.shell.screen import Screen

SCREENS: tuple[Screen, ...] = (
    *home.SCREENS,
    *sign_in.SCREENS,
    *welcome.SCREENS,
    *projects.SCREENS,
    *overview.SCREENS,
    *alerts.SCREENS,
    *catalog.SCREENS,
    *keys.SCREENS,
    *policies.SCREENS,
    *members.SCREENS,
    *audit.SCREENS,
    *operators.SCREENS,
    *account.SCREENS,
    *reveal.SCREENS,
    *events.SCREENS,
    # Before the page of one event, whose path also matches it.
    *live.SCREENS,
    *event.SCREENS,
    *resends.SCREENS,
    *rejections.SCREENS,
    *replays.SCREENS,
    *dead_letters.SCREENS,
    *webhooks.SCREENS,
    *subscribers.SCREENS,
    # Before the page of one contact, whose path also matches it.
    *conflicts.SCREENS,
    *contacts.SCREENS,
    *push_apps.SCREENS,
    *erasures.SCREENS,
    # Before the page of one message, whose path also matches it.
    *stopping.SCREENS,
    *listing.SCREENS,
    *message.SCREENS,
    # Before `/send-jobs/{job}`, which would match `new`.
    *new_send.SCREENS,
    *send_jobs.SCREENS,
    *automations.SCREENS,
    *automation_runs.SCREENS,
    *templates.SCREENS,
    *domains.SCREENS,
    *suppressions.SCREENS,
    *notifications.SCREENS,
)

"""Every screen there is, file by file."""

from __future__ import annotations

from headrace.backoffice import (
    account,
    audit,
    catalog,
    conflicts,
    contacts,
    dead_letters,
    erasures,
    event,
    events,
    home,
    keys,
    live,
    members,
    operators,
    overview,
    policies,
    projects,
    rejections,
    replays,
    reveal,
    sign_in,
    subscribers,
    webhooks,
    welcome,
)
from headrace.backoffice.screen import Screen

SCREENS: tuple[Screen, ...] = (
    *home.SCREENS,
    *sign_in.SCREENS,
    *welcome.SCREENS,
    *projects.SCREENS,
    *overview.SCREENS,
    *catalog.SCREENS,
    *keys.SCREENS,
    *policies.SCREENS,
    *members.SCREENS,
    *audit.SCREENS,
    *operators.SCREENS,
    *account.SCREENS,
    *reveal.SCREENS,
    *events.SCREENS,
    # Before the page of one event, whose path it would fit.
    *live.SCREENS,
    *event.SCREENS,
    *rejections.SCREENS,
    *replays.SCREENS,
    *dead_letters.SCREENS,
    *webhooks.SCREENS,
    *subscribers.SCREENS,
    # Before the page of one contact, whose path it would fit.
    *conflicts.SCREENS,
    *contacts.SCREENS,
    *erasures.SCREENS,
)

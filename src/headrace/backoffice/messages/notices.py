"""Notices on top of every mail page: the relay, and whether sending is stopped."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from headrace.backoffice.shell.request import PageRequest
from headrace.domain.messages.kinds import Channel
from headrace.domain.messages.sending_policies import SendingPaused


async def mail_page(
    visit: PageRequest, template: str, status: int = 200, /, **context: Any
) -> Response:
    """Render a page that extends `mail.html`."""
    return visit.page(template, status, **await mail_notices(visit), **context)


async def mail_notices(visit: PageRequest) -> dict[str, Any]:
    """Template variables of `mail_notices.html`."""
    policies = await visit.store.messages.emails.policies(visit.project.id)
    return {
        "stopped": stopped_words(policies.sending_paused),
        "stopped_channels": sorted(policies.sending_paused.channels),
        "stopped_domains": sorted(policies.sending_paused.domains),
        "captures": visit.backoffice.captures,
    }


def stopped_words(paused: SendingPaused) -> str:
    """What is stopped, as the middle of a sentence; empty: nothing."""
    if paused.channels == frozenset(Channel):
        words = ["all messages of this project"]
    else:
        words = [f"all {channel} of this project" for channel in sorted(paused.channels)]
    if paused.domains:
        words.append(f"mail from {', '.join(sorted(paused.domains))}")
    return ", and ".join(words)

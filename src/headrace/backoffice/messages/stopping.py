"""The emergency stop of sending, for a whole project, one channel, or one sending domain."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, post
from headrace.domain.messages.kinds import Channel
from headrace.domain.messages.requests import check_domain
from headrace.domain.messages.sending_policies import PAUSED_DOMAINS_MAX

_POLICY = "sending_paused"
_CHANNELS = ("mail", "push")


async def stop(visit: PageRequest) -> Response:
    """Stop what the form names; a domain is added to those already stopped."""
    wanted = visit.form.one_of("what", ("all", *_CHANNELS, "domain"))
    value: Any = wanted
    if wanted == "domain":
        policies = await visit.store.messages.emails.policies(visit.project.id)
        paused = policies.sending_paused
        try:
            name = check_domain(visit.form.text("domain"))
        except ValueError as error:
            return visit.go(_back(visit), f"Nothing was stopped: the domain {error}.", kind="bad")
        if paused.channels & {Channel.MAIL}:
            return visit.go(_back(visit), "All mail is already stopped.", kind="bad")
        value = sorted({*paused.domains, name})
        if len(value) > PAUSED_DOMAINS_MAX or paused.channels:
            text = "Nothing was stopped: stop all mail instead."
            return visit.go(_back(visit), text, kind="bad")
    elif not wanted:
        return visit.go(_back(visit), "Nothing was stopped: choose what to stop.", kind="bad")
    await _set(visit, value)
    return visit.go(_back(visit), "Sending is stopped. Messages wait until you resume it.")


async def resume(visit: PageRequest) -> Response:
    """Resume; waiting messages are sent."""
    await _set(visit, "none")
    return visit.go(
        _back(visit), "Sending is resumed. Waiting messages are sent within 30 seconds."
    )


async def _set(visit: PageRequest, value: Any) -> None:
    await visit.store.projects.set_policy(
        visit.project.id, _POLICY, value, visit.now_us, actor=visit.actor
    )


def _back(visit: PageRequest) -> str:
    back = visit.form.text("back")
    return visit.safe_address(back) if back else visit.project_url("/messages")


SCREENS = (
    post("/projects/{project}/messages/stop", stop, Access.OPERATOR),
    post("/projects/{project}/messages/resume", resume, Access.OPERATOR),
)

"""The emergency stop of sending, for a whole project, one channel, or one sending domain."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response

from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, post
from headrace.domain.messages.kinds import Channel
from headrace.domain.messages.pausing import (
    Pause,
    PauseError,
    pause_all,
    pause_domain,
    resume_all,
    resume_domain,
)
from headrace.domain.messages.requests import check_domain

_POLICY = "sending_paused"
_WHOLE = ("all", *Channel)


async def stop(visit: PageRequest) -> Response:
    """Stop what the form names, in addition to what is stopped already."""
    return await _change(
        visit,
        (pause_all, pause_domain),
        "Nothing was stopped",
        "Sending is stopped. Messages wait until you resume it.",
    )


async def resume(visit: PageRequest) -> Response:
    """Resume what the form names and nothing else; its waiting messages are sent."""
    return await _change(
        visit,
        (resume_all, resume_domain),
        "Nothing was resumed",
        "Sending is resumed. Waiting messages are sent within 30 seconds.",
    )


async def _change(
    visit: PageRequest,
    changes: tuple[Callable[[str], Pause], Callable[[str], Pause]],
    unchanged: str,
    done: str,
) -> Response:
    of_channel, of_domain = changes
    wanted = visit.form.one_of("what", (*_WHOLE, "domain"))
    if not wanted:
        return visit.go(_back(visit), f"{unchanged}: choose what.", kind="bad")
    try:
        change = (
            of_domain(check_domain(visit.form.text("domain")))
            if wanted == "domain"
            else of_channel(wanted)
        )
    except ValueError as error:
        return visit.go(_back(visit), f"{unchanged}: the domain {error}.", kind="bad")
    try:
        # Reads and writes in one transaction: operators may change it at the same time.
        await visit.store.projects.change_policy(
            visit.project.id, _POLICY, change, visit.now_us, actor=visit.actor
        )
    except PauseError as error:
        return visit.go(_back(visit), f"{unchanged}: {error}", kind="bad")
    return visit.go(_back(visit), done)


def _back(visit: PageRequest) -> str:
    back = visit.form.text("back")
    return visit.safe_address(back) if back else visit.project_url("/messages")


SCREENS = (
    post("/projects/{project}/messages/stop", stop, Access.OPERATOR),
    post("/projects/{project}/messages/resume", resume, Access.OPERATOR),
)

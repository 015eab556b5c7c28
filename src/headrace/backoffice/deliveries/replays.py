"""Replays of many dead letters: preview, start, watch and stop."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.deliveries.dead_letters import (
    filter_fields,
    names_of_subscribers,
    read_filter,
)
from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.deliveries.dead_letters import (
    PER_SECOND_DEFAULT,
    PER_SECOND_MAX,
    check_per_second,
)
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.contract.dead_letters import (
    RUNNING_MAX,
    SAMPLE_MAX,
    NewReplay,
    ReplayStatus,
    TooManyReplaysError,
)


async def dry_run(visit: PageRequest) -> Response:
    """Show how many dead letters match and a sample; changes nothing."""
    wanted, project_id = read_filter(visit), visit.project.id
    count, _ = await visit.store.dead_letters.count(project_id, wanted)
    page = await visit.store.dead_letters.list(project_id, wanted, before=None, limit=SAMPLE_MAX)
    return visit.page(
        "replay_new.html",
        count=count,
        sample=page.dead_letters,
        wanted=filter_fields(wanted),
        subscribers=await names_of_subscribers(visit),
        per_second=PER_SECOND_DEFAULT,
        per_second_max=PER_SECOND_MAX,
    )


async def start(visit: PageRequest) -> Response:
    """Create the replay; a worker runs it."""
    wanted, project_id = read_filter(visit, visit.form), visit.project.id
    back = visit.project_url("/dead-letters/replay", **filter_fields(wanted))
    try:
        per_second = check_per_second(visit.form.text("per_second"))
    except ValueError as error:
        return visit.go(back, f"Not started: the rate {error}.", kind="bad")
    total, last_number = await visit.store.dead_letters.count(project_id, wanted)
    replay = NewReplay(
        id=uuid_text(new_uuid()),
        project_id=project_id,
        wanted=wanted,
        per_second=per_second,
        total=total,
        last_number=last_number,
        actor=visit.actor,
    )
    try:
        created = await visit.store.replays.create(replay, visit.now_us)
    except TooManyReplaysError:
        text = f"{RUNNING_MAX} replays of this project are already running; stop one or wait."
        return visit.go(back, text, kind="bad")
    return visit.go(visit.project_url(f"/replays/{created.id}"))


async def show_replay(visit: PageRequest) -> Response:
    """Show progress; the page reloads itself while the replay runs."""
    replay = await visit.store.replays.get(visit.project.id, _replay_id(visit))
    if replay is None:
        raise HTTPException(404)
    outcome = await visit.store.replays.outcome(replay)
    running = replay.status is ReplayStatus.RUNNING or outcome.pending > 0
    response = visit.page(
        "replay.html",
        replay=replay,
        outcome=outcome,
        running=running,
        wanted={"subscriber_id": replay.resend.webhook_id}
        if replay.resend is not None
        else filter_fields(replay.wanted),
        subscribers=await names_of_subscribers(visit),
    )
    if running:
        # A header and not a script, so that the page also reloads where scripts are off.
        response.headers["Refresh"] = "2"
    return response


async def stop(visit: PageRequest) -> Response:
    """Stop it; what is already replayed stays replayed."""
    replay_id = _replay_id(visit)
    stopped, found = await visit.store.replays.stop(
        visit.project.id, replay_id, visit.now_us, actor=visit.actor
    )
    if found is None:
        raise HTTPException(404)
    address = visit.project_url(f"/replays/{replay_id}")
    if not stopped:
        return visit.go(address, f"It is already {found.status.value}.", kind="bad")
    return visit.go(address, "Stopped. What was already queued again stays queued.")


def _replay_id(visit: PageRequest) -> str:
    raw = read_uuid(visit.request.path_params["replay"])
    if raw is None:
        raise HTTPException(404)
    return uuid_text(raw)


SCREENS = (
    get("/projects/{project}/dead-letters/replay", dry_run, Access.OPERATOR),
    post("/projects/{project}/dead-letters/replay", start, Access.OPERATOR),
    get("/projects/{project}/replays/{replay}", show_replay, Access.VIEWER),
    post("/projects/{project}/replays/{replay}/stop", stop, Access.OPERATOR),
)

"""Push apps: what a website or app needs to register, and the devices that have."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.push.words import not_sent_words, reason_words
from headrace.backoffice.shell.deletion import forced, still_used
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.errors import ApiError
from headrace.domain.push.app_requests import push_app_fields
from headrace.domain.push.devices import is_app_id, is_device_id
from headrace.store.access.automation_use import UsedByAutomationsError
from headrace.store.contract.push import APPS_MAX, DeviceFilter, PushApp

#: Devices of one page.
ROWS = 50


async def list_apps(visit: PageRequest) -> Response:
    """List all push apps of the project, by name, and the form for a new one."""
    return await _list(visit)


async def _list(
    visit: PageRequest, status: int = 200, *, name: str = "", origins: str = "", problem: str = ""
) -> Response:
    apps = await visit.store.push.apps.list(visit.project.id, before=None, limit=APPS_MAX)
    return visit.page(
        "push_apps.html",
        status,
        apps=sorted(apps, key=lambda app: app.name),
        name=name,
        origins=origins,
        problem=problem,
    )


async def create(visit: PageRequest) -> Response:
    """Create an app with its own keys."""
    name, origins = visit.form.text("name"), visit.form.text("origins")
    try:
        fields = push_app_fields(name, origins.replace(",", " ").split())
        made = await visit.backoffice.push_apps.create(visit.project.id, fields, actor=visit.actor)
    except ApiError as error:
        status = 409 if error.status == 409 else 422
        return await _list(visit, status, name=name, origins=origins, problem=f"{error.message}.")
    return visit.go(_address(visit, made), "Push app created.")


async def show_app(visit: PageRequest) -> Response:
    """One app with its newest devices."""
    app = await _find(visit)
    before = visit.query.number("before")
    devices = await visit.store.push.devices.list(
        app.id,
        DeviceFilter(),
        before=None if before is None else (before, ""),
        limit=ROWS + 1,
    )
    following = devices[ROWS - 1].created_us if len(devices) > ROWS else None
    return visit.page(
        "push_app.html",
        app=app,
        devices=devices[:ROWS],
        next_before=following,
        reason_words=reason_words,
    )


async def show_device(visit: PageRequest) -> Response:
    """One device with its newest notifications."""
    app = await _find(visit)
    device_id = visit.request.path_params["device"]
    found = None
    if is_device_id(device_id):
        found = await visit.store.push.devices.history(app.id, device_id)
    if found is None:
        raise HTTPException(404)
    return visit.page(
        "push_device.html",
        app=app,
        device=found.device,
        notifications=found.notifications,
        reason_words=reason_words,
        not_sent_words=not_sent_words,
    )


async def delete(visit: PageRequest) -> Response:
    """Delete the app; its clients are rejected from then on."""
    app = await _find(visit)
    try:
        await visit.store.push.apps.delete(
            visit.project.id, app.id, visit.now_us, force=forced(visit), actor=visit.actor
        )
    except UsedByAutomationsError as error:
        return still_used(visit, _address(visit, app), error)
    return visit.go(visit.project_url("/push-apps"), f"{app.name} is deleted.")


async def _find(visit: PageRequest) -> PushApp:
    app_id = visit.request.path_params["app"]
    found = None
    if is_app_id(app_id):
        found = await visit.store.push.apps.get(visit.project.id, app_id)
    if found is None:
        raise HTTPException(404)
    return found


def _address(visit: PageRequest, app: PushApp) -> str:
    return visit.project_url(f"/push-apps/{app.id}")


_ALL = "/projects/{project}/push-apps"
_ONE = f"{_ALL}/{{app}}"
SCREENS = (
    get(_ALL, list_apps, Access.VIEWER),
    post(_ALL, create, Access.OPERATOR),
    get(_ONE, show_app, Access.VIEWER),
    post(f"{_ONE}/delete", delete, Access.OPERATOR),
    get(f"{_ONE}/devices/{{device}}", show_device, Access.VIEWER),
)

"""API keys of a project: create one (shown once), see its last use, revoke it."""

from __future__ import annotations

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.shell.forms import Fields
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.access.api_keys import SECRET_SCOPES, ApiKey, Scope, issue_key
from headrace.domain.access.names import name_problem

_DAY_US = 86_400 * 1_000_000
#: Form value and label.
EXPIRIES = (("", "Never"), ("7", "7 days"), ("30", "30 days"), ("90", "90 days"), ("365", "1 year"))
#: What each scope allows.
SCOPES = (
    (Scope.INGEST, "Send events."),
    (Scope.READ, "Read events, traces, contacts, dead letters and webhooks."),
    (Scope.MANAGE, "Change contacts and webhooks, replay and discard dead letters; send mail."),
    (Scope.SEND, "Only send mail."),
)


class KeyRow(msgspec.Struct, frozen=True):
    """A key as the list shows it."""

    key: ApiKey
    status: str
    used_us: int | None


async def list_keys(visit: PageRequest) -> Response:
    """All keys, newest first, without their secrets."""
    return await _list(visit)


async def create_key(visit: PageRequest) -> Response:
    """Create a key and show it, this once."""
    name = visit.form.text("name")
    chosen = frozenset(Scope(text) for text in visit.form.all("scope") if text in SECRET_SCOPES)
    days = visit.form.one_of("expires", tuple(key for key, _ in EXPIRIES))
    problems: dict[str, str] = {}
    if name and (problem := name_problem(name)):
        problems["name"] = f"The name {problem}."
    if not chosen:
        problems["scope"] = "Choose at least one scope."
    if problems:
        return await _list(visit, 422, problems=problems)
    expires_us = visit.now_us + int(days) * _DAY_US if days else None
    issued = issue_key(
        visit.project.id, chosen, name=name, now_us=visit.now_us, expires_us=expires_us
    )
    await visit.store.projects.add_key(issued.key, actor=visit.actor)
    return await _list(visit, issued=issued.text)


async def revoke_key(visit: PageRequest) -> Response:
    """Revoke a key of this project."""
    wanted = visit.request.path_params["key"]
    keys = await visit.store.projects.list_keys(visit.project.id)
    if all(key.public_id != wanted for key in keys):
        raise HTTPException(404)
    revoked = await visit.store.projects.revoke_key(wanted, visit.now_us, actor=visit.actor)
    back = visit.project_url("/keys")
    if not revoked:
        return visit.go(back, "That key was already revoked.", kind="bad")
    return visit.go(back, f"Key {wanted} is revoked; every server rejects it within 5 s.")


async def _list(
    visit: PageRequest,
    status: int = 200,
    *,
    problems: dict[str, str] | None = None,
    issued: str = "",
) -> Response:
    keys = await visit.store.projects.list_keys(visit.project.id)
    uses = await visit.store.members.key_uses(visit.project.id)
    rows = [KeyRow(key, key_status(key, visit.now_us), uses.get(key.public_id)) for key in keys]
    return visit.page(
        "keys.html",
        status,
        rows=rows,
        scopes=SCOPES,
        expiries=EXPIRIES,
        form=Fields([]) if issued else visit.form,
        problems=problems or {},
        issued=issued,
    )


def key_status(key: ApiKey, now_us: int) -> str:
    """`active`, `expired` or `revoked`."""
    if key.revoked_us is not None:
        return "revoked"
    return "active" if key.usable_at(now_us) else "expired"


SCREENS = (
    get("/projects/{project}/keys", list_keys, Access.VIEWER),
    post("/projects/{project}/keys", create_key, Access.OWNER),
    post("/projects/{project}/keys/{key}/revoke", revoke_key, Access.OWNER),
)

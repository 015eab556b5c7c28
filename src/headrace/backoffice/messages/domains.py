"""Sending domains: the DNS records to publish, and whether they were found."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.responses import Response

from headrace.backoffice.events.search import read_uuid
from headrace.backoffice.messages.notices import mail_page
from headrace.backoffice.shell.deletion import forced, still_used
from headrace.backoffice.shell.request import PageRequest
from headrace.backoffice.shell.screen import Access, get, post
from headrace.domain.errors import ApiError
from headrace.domain.ids import uuid_text
from headrace.domain.messages.dns_records import RecordCheck
from headrace.domain.messages.kinds import DomainStatus
from headrace.domain.messages.requests import DomainFields, check_domain
from headrace.domain.messages.warm_up import DAILY_START_DEFAULT, DAILY_START_MAX, WarmUpChange
from headrace.domain.messages.warm_up import DAYS_DEFAULT as WARM_UP_DAYS
from headrace.domain.messages.warm_up import DAYS_MAX as WARM_UP_DAYS_MAX
from headrace.pipeline.messages.deliverability import read_deliverability
from headrace.store.access.automation_use import UsedByAutomationsError
from headrace.store.contract.messages import DOMAINS_MAX, Domain

_PURPOSES = {
    "dkim": "Signs mail and proves ownership of the domain",
    "spf": "Says which servers may send",
    "dmarc": "Says what receivers do with unsigned mail",
    "bounce": "Where bounces are delivered",
}
_DEFAULT_PLAN = {"daily_start": DAILY_START_DEFAULT, "days": WARM_UP_DAYS}


async def list_domains(visit: PageRequest) -> Response:
    """List all domains of the project, by name, and the form for a new one."""
    return await _list(visit)


async def _list(
    visit: PageRequest, status: int = 200, *, name: str = "", problem: str = ""
) -> Response:
    domains = await visit.store.messages.domains.list(
        visit.project.id, before=None, limit=DOMAINS_MAX
    )
    return await mail_page(
        visit,
        "domains.html",
        status,
        domains=sorted(domains, key=lambda domain: domain.name),
        name=name,
        problem=problem,
    )


async def create(visit: PageRequest) -> Response:
    """Create a domain with its own key; its page shows the records."""
    typed = visit.form.text("name")
    tracks = visit.form.text("track") == "yes"
    try:
        fields = DomainFields(name=check_domain(typed), track_opens=tracks, track_clicks=tracks)
        made = await visit.backoffice.mail.domains.create(
            visit.project.id, fields, verified=False, actor=visit.actor
        )
    except ValueError as error:
        return await _list(visit, 422, name=typed, problem=f"This {error}.")
    except ApiError as error:
        text = f"This {error.message}." if error.details else error.message
        return await _list(visit, 409, name=typed, problem=text)
    text = "Domain created. Publish its DNS records, then look them up."
    return visit.go(_address(visit, made), text)


async def show_domain(visit: PageRequest) -> Response:
    """One domain with the records to publish."""
    return await _page(visit, await _find(visit))


async def _page(
    visit: PageRequest, domain: Domain, checks: Sequence[RecordCheck] | None = None
) -> Response:
    if checks is None:
        records = visit.backoffice.mail.domains.records(domain)
        rows: list[tuple[object, RecordCheck | None]] = [(record, None) for record in records]
    else:
        rows = [(check.record, check) for check in checks]
    on_word = domain.verified_by not in {None, "dns"}
    return await mail_page(
        visit,
        "domain.html",
        domain=domain,
        verified=domain.status is DomainStatus.VERIFIED,
        on_word=on_word,
        rows=rows,
        figures=await read_deliverability(
            visit.store.messages.receivers, visit.project.id, domain.name, visit.now_us
        ),
        looked_up=checks is not None,
        warm_up=await visit.store.messages.warm_ups.get(
            visit.project.id, domain.name, visit.now_us
        ),
        default_plan=_DEFAULT_PLAN,
        limits={"start": DAILY_START_MAX, "days": WARM_UP_DAYS_MAX},
        last_check=await visit.store.messages.domain_checks.get(visit.project.id, domain.name),
        purposes=_PURPOSES,
    )


async def look_up(visit: PageRequest) -> Response:
    """Look up the records now; the page shows the result for each."""
    domain = await _find(visit)
    checked = await visit.backoffice.mail.domains.verify(
        visit.project.id, domain.id, actor=visit.actor
    )
    if checked is None:
        raise HTTPException(404)
    return await _page(visit, checked.domain, checked.checks)


async def verify(visit: PageRequest) -> Response:
    """Mark the domain as verified without DNS, on the operator's word; audited."""
    domain = await _find(visit)
    address = _address(visit, domain)
    if visit.form.text("sure") != "yes":
        text = "Not verified: confirm that the domain is yours."
        return visit.go(address, text, kind="bad")
    await visit.store.messages.domains.verify(
        visit.project.id, domain.id, visit.now_us, verified_by=visit.actor, actor=visit.actor
    )
    return visit.go(
        address, "The domain is verified without a check. This is recorded in the audit."
    )


async def warm_up(visit: PageRequest) -> Response:
    """Begin, change or end the warm-up plan; audited."""
    domain = await _find(visit)
    address = _address(visit, domain)
    off = visit.form.text("off") == "yes"
    start = _whole(visit.form.text("daily_start"), DAILY_START_MAX)
    days = _whole(visit.form.text("days"), WARM_UP_DAYS_MAX)
    if not off and (start is None or days is None):
        text = (
            f"Not changed: the first day has 1 to {DAILY_START_MAX} mails, "
            f"the plan 1 to {WARM_UP_DAYS_MAX} days."
        )
        return visit.go(address, text, kind="bad")
    change = WarmUpChange(enabled=False)
    if not off:
        change = WarmUpChange(daily_start=start, days=days)
    await visit.store.messages.domains.update(
        visit.project.id, domain.id, visit.now_us, warm_up=change, actor=visit.actor
    )
    return visit.go(address, "The warm-up plan is ended." if off else "The warm-up plan is set.")


def _whole(text: str, most: int) -> int | None:
    """A whole number from 1 to `most`; None for anything else."""
    stripped = text.strip()
    if not stripped.isascii() or not stripped.isdigit() or len(stripped) > len(str(most)):
        return None
    return int(stripped) if 1 <= int(stripped) <= most else None


async def delete(visit: PageRequest) -> Response:
    """Delete it; messages waiting to be sent from it fail."""
    domain = await _find(visit)
    try:
        await visit.store.messages.domains.delete(
            visit.project.id, domain.id, visit.now_us, force=forced(visit), actor=visit.actor
        )
    except UsedByAutomationsError as error:
        return still_used(visit, _address(visit, domain), error)
    return visit.go(visit.project_url("/domains"), f"{domain.name} is deleted.")


async def _find(visit: PageRequest) -> Domain:
    raw = read_uuid(visit.request.path_params["domain"])
    found = None
    if raw is not None:
        found = await visit.store.messages.domains.get(visit.project.id, uuid_text(raw))
    if found is None:
        raise HTTPException(404)
    return found


def _address(visit: PageRequest, domain: Domain) -> str:
    return visit.project_url(f"/domains/{domain.id}")


_ALL = "/projects/{project}/domains"
_ONE = f"{_ALL}/{{domain}}"
SCREENS = (
    get(_ALL, list_domains, Access.VIEWER),
    post(_ALL, create, Access.OPERATOR),
    get(_ONE, show_domain, Access.VIEWER),
    post(f"{_ONE}/look-up", look_up, Access.OPERATOR),
    post(f"{_ONE}/verify", verify, Access.OPERATOR),
    post(f"{_ONE}/warm-up", warm_up, Access.OPERATOR),
    post(f"{_ONE}/delete", delete, Access.OPERATOR),
)

"""`/domains`: sending domains."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.errors import ErrorCode
from headrace.domain.messages.dns_records import DnsRecord, RecordCheck, RecordState
from headrace.domain.messages.kinds import DomainStatus
from headrace.domain.messages.requests import DOMAIN_CHARACTERS_MAX, decode_domain
from headrace.domain.messages.warm_up import DAILY_START_DEFAULT, DAILY_START_MAX, WarmUp
from headrace.domain.messages.warm_up import DAYS_DEFAULT as WARM_UP_DAYS
from headrace.domain.messages.warm_up import DAYS_MAX as WARM_UP_DAYS_MAX
from headrace.domain.timestamps import to_text
from headrace.http.routing.context import Context, context_of, json_response
from headrace.http.routing.deletion import FORCE, used_by_automations
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE
from headrace.http.routing.path import not_found, path_uuid
from headrace.http.routing.route import (
    created,
    delete,
    get,
    json_body,
    no_content,
    ok,
    page,
    patch,
    post,
)
from headrace.http.routing.schema import Id, Time, about
from headrace.store.access.automation_use import UsedByAutomationsError
from headrace.store.contract.messages import DOMAINS_MAX, Domain
from headrace.store.messages.content.domains import Domains

_DomainName = Annotated[str, about(maxLength=DOMAIN_CHARACTERS_MAX, examples=["example.org"])]
_OPENS = about("Whether opens of marketing mail are tracked; true if absent.")
_CLICKS = about("Whether clicks in marketing mail are tracked; true if absent.")


class DomainCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new sending domain."""

    name: _DomainName
    track_opens: Annotated[bool | None, _OPENS] = None
    track_clicks: Annotated[bool | None, _CLICKS] = None


class WarmUpUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A warm-up plan: a limit a day (UTC) that doubles each day.

    Marketing mail beyond it waits. A plan that runs keeps its first day.
    """

    enabled: Annotated[bool | None, about("False ends the plan; true if absent.")] = None
    daily_start: Annotated[
        int | None,
        about(
            f"The limit of the first day; {DAILY_START_DEFAULT} in a new plan if absent.",
            minimum=1,
            maximum=DAILY_START_MAX,
        ),
    ] = None
    days: Annotated[
        int | None,
        about(
            f"Days with a limit; {WARM_UP_DAYS} in a new plan if absent.",
            minimum=1,
            maximum=WARM_UP_DAYS_MAX,
        ),
    ] = None


class DomainUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a sending domain. Members that are absent or null stay as they are."""

    track_opens: Annotated[bool | None, about("Whether opens of marketing mail are tracked.")] = (
        None
    )
    track_clicks: Annotated[bool | None, about("Whether clicks in marketing mail are tracked.")] = (
        None
    )
    warm_up: WarmUpUpdate | None = None


class WarmUpResponse(msgspec.Struct, kw_only=True):
    """The warm-up plan of a sending domain, as of today."""

    daily_start: Annotated[int, about("The limit of the first day.")]
    days: int
    started_on: Annotated[str, about("In UTC.", format="date", examples=["2026-06-08"])]
    day: Annotated[int, about("Number of today, from 1; the plan is over after `days`.")]
    ceiling: Annotated[int | None, about("The limit of today; null once the plan is over.")]
    sent_today: Annotated[int, about("Mails of both kinds handed over for the first time today.")]


class RecordResponse(msgspec.Struct, kw_only=True):
    """A DNS record to publish."""

    type: str
    name: str
    value: str
    purpose: Annotated[str, about(enum=["dkim", "spf", "dmarc", "bounce"])]
    required: Annotated[bool, about("Without it the domain is not verified.")]


class DomainResponse(msgspec.Struct, kw_only=True):
    """A sending domain, with the DNS records that it needs."""

    id: Id
    name: str
    status: DomainStatus
    track_opens: bool
    track_clicks: bool
    warm_up: Annotated[WarmUpResponse | None, about("Null: there is no plan.")]
    verified_at: Time | None
    records: list[RecordResponse]
    created_at: Time
    updated_at: Time


class RecordCheckResponse(msgspec.Struct, kw_only=True):
    """What was found of one record."""

    type: str
    name: str
    purpose: Annotated[str, about(enum=["dkim", "spf", "dmarc", "bounce"])]
    required: bool
    state: Annotated[RecordState, about("`unknown`: the look-up failed.")]
    message: Annotated[str, about("What to do; empty when all is well.")]
    found: Annotated[list[str], about("What is published now.")]


class CheckedDomainResponse(DomainResponse, kw_only=True):
    """A sending domain, and what was found of its records just now."""

    checks: list[RecordCheckResponse]


def record_response(record: DnsRecord) -> RecordResponse:
    """A record as the API shows it."""
    return RecordResponse(
        type=record.type,
        name=record.name,
        value=record.value,
        purpose=record.purpose.value,
        required=record.required,
    )


def _warm_up(plan: WarmUp | None) -> WarmUpResponse | None:
    if plan is None:
        return None
    return WarmUpResponse(
        daily_start=plan.daily_start,
        days=plan.days,
        started_on=plan.started_on,
        day=plan.number,
        ceiling=plan.ceiling,
        sent_today=plan.sent,
    )


async def _one(context: Context, domain: Domain) -> DomainResponse:
    plans, now_us = context.services.store.messages.warm_ups, context.services.clock_us()
    return _response(context, domain, await plans.get(domain.project_id, domain.name, now_us))


def _response(context: Context, domain: Domain, plan: WarmUp | None) -> DomainResponse:
    return DomainResponse(
        id=domain.id,
        name=domain.name,
        status=domain.status,
        track_opens=domain.track_opens,
        track_clicks=domain.track_clicks,
        warm_up=_warm_up(plan),
        verified_at=None if domain.verified_us is None else to_text(domain.verified_us),
        records=[record_response(one) for one in context.services.mail.domains.records(domain)],
        created_at=to_text(domain.created_us),
        updated_at=to_text(domain.updated_us),
    )


def check_response(check: RecordCheck) -> RecordCheckResponse:
    """The check of a record as the API shows it."""
    return RecordCheckResponse(
        type=check.record.type,
        name=check.record.name,
        purpose=check.record.purpose.value,
        required=check.record.required,
        state=check.state,
        message=check.message,
        found=list(check.found),
    )


async def create_domain(request: Request) -> Response:
    """`POST /domains`."""
    context = context_of(request)
    fields = decode_domain(await read_body(request), required=True)
    made = await context.services.mail.domains.create(
        context.project_id, fields, verified=False, actor=context.principal.key_id
    )
    return json_response({"data": _response(context, made, None)}, 201)


async def list_domains(request: Request) -> Response:
    """`GET /domains`: newest first."""
    context = context_of(request)
    limit = context.limit
    scope, cursors = f"domains {context.project_id}", context.services.cursors
    found = await _store(context).list(
        context.project_id, before=context.before(scope), limit=limit + 1
    )
    following = cursors.make(found[limit - 1].created_us, scope) if len(found) > limit else None
    plans = await context.services.store.messages.warm_ups.of_project(
        context.project_id, context.services.clock_us()
    )
    shown = [_response(context, domain, plans.get(domain.name)) for domain in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_domain(request: Request) -> Response:
    """`GET /domains/{id}`."""
    context = context_of(request)
    found = await _store(context).get(context.project_id, path_uuid(request))
    if found is None:
        raise not_found()
    return json_response({"data": await _one(context, found)})


async def verify_domain(request: Request) -> Response:
    """`POST /domains/{id}/verify`: looks the records up."""
    context = context_of(request)
    checked = await context.services.mail.domains.verify(
        context.project_id, path_uuid(request), actor=context.principal.key_id
    )
    if checked is None:
        raise not_found()
    shown = CheckedDomainResponse(
        **msgspec.structs.asdict(await _one(context, checked.domain)),
        checks=[check_response(each) for each in checked.checks],
    )
    return json_response({"data": shown})


async def patch_domain(request: Request) -> Response:
    """`PATCH /domains/{id}`: sets what is tracked, and the warm-up plan."""
    context = context_of(request)
    fields = decode_domain(await read_body(request), required=False)
    changed = await _store(context).update(
        context.project_id,
        path_uuid(request),
        context.services.clock_us(),
        track_opens=fields.track_opens,
        track_clicks=fields.track_clicks,
        warm_up=fields.warm_up,
        actor=context.principal.key_id,
    )
    if changed is None:
        raise not_found()
    return json_response({"data": await _one(context, changed)})


async def delete_domain(request: Request) -> Response:
    """`DELETE /domains/{id}`: messages that wait to be sent from it fail."""
    context = context_of(request)
    try:
        removed = await _store(context).delete(
            context.project_id,
            path_uuid(request),
            context.services.clock_us(),
            force=context.query.get("force", False),
            actor=context.principal.key_id,
        )
    except UsedByAutomationsError as error:
        raise used_by_automations(error) from None
    if not removed:
        raise not_found()
    return Response(status_code=204)


def _store(context: Context) -> Domains:
    return context.services.store.messages.domains


ROUTES = (
    post(
        "/domains",
        create_domain,
        name="createDomain",
        summary="Create a sending domain",
        description="It is verified once its required records are found in DNS. A project has at "
        f"most {DOMAINS_MAX} domains.",
        bodies=json_body(DomainCreate, example={"name": "example.org"}),
        responses=(created("Created, with the DNS records to publish.", DomainResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/domains",
        list_domains,
        name="listDomains",
        summary="List sending domains",
        parameters=PAGE,
        responses=(page(DomainResponse),),
    ),
    get(
        "/domains/{id}",
        get_domain,
        name="getDomain",
        summary="Get a sending domain",
        responses=(ok("The domain.", DomainResponse),),
    ),
    post(
        "/domains/{id}/verify",
        verify_domain,
        name="verifyDomain",
        summary="Look up the DNS records of a sending domain",
        description="It is verified once its required records are there, and no more when they "
        "are gone. A domain that an operator has verified by word stays so.",
        responses=(ok("The updated domain.", CheckedDomainResponse),),
    ),
    patch(
        "/domains/{id}",
        patch_domain,
        name="patchDomain",
        summary="Change tracking and warm-up of a sending domain",
        description="Members that are absent or null stay as they are; the name cannot be changed.",
        bodies=json_body(DomainUpdate, example={"track_opens": False}),
        responses=(ok("The updated domain.", DomainResponse),),
    ),
    delete(
        "/domains/{id}",
        delete_domain,
        name="deleteDomain",
        summary="Delete a sending domain",
        description="Messages waiting to be sent from it fail.",
        parameters=(FORCE,),
        responses=(no_content("Deleted."),),
        errors=(ErrorCode.CONFLICT,),
    ),
)

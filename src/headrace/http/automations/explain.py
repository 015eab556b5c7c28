"""Why an event or a contact started no run, and what became of mails."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.email import normalize_email
from headrace.domain.errors import FieldProblem, invalid
from headrace.domain.events.fields import check_external_id
from headrace.http.automations.drafts import found_automation
from headrace.http.routing.context import context_of, json_response
from headrace.http.routing.parameters import text, uuid
from headrace.http.routing.path import not_found, path_uuid, read_uuid
from headrace.http.routing.route import get, ok
from headrace.pipeline.automations.explanation import (
    ContactExplanation,
    StartExplanation,
    explain_contact,
    explain_event,
    find_contact,
)

_NAMES = ("contact_id", "external_id", "email")


async def event_automations(request: Request) -> Response:
    """`GET /events/{id}/automations`."""
    context = context_of(request)
    event_id = read_uuid(request.path_params["id"])
    found = await explain_event(context.services.store, context.project_id, event_id)
    if found is None:
        raise not_found()
    return json_response({"data": found})


async def explain_automation(request: Request) -> Response:
    """`GET /automations/{id}/explain`."""
    context, automation_id = context_of(request), path_uuid(request)
    of = await found_automation(context, automation_id)
    given = {name: context.query[name] for name in _NAMES if name in context.query}
    if len(given) != 1:
        message = f"give exactly one of {', '.join(_NAMES)}"
        raise invalid(FieldProblem("", message))
    contact = await find_contact(context.services.store, context.project_id, **given)
    if contact is None:
        raise not_found()
    return json_response({"data": await explain_contact(context.services.store, of, contact)})


ROUTES = (
    get(
        "/events/{id}/automations",
        event_automations,
        name="listEventAutomations",
        summary="Explain which automations an event has started, and which not",
        description="For each automation that this event would start, or for which something is "
        "stored: the verdict, with the reason. `basis` is `recorded` if it was stored when it was "
        "decided. A filter that does not match is not stored, so it is `evaluated_now`, with the "
        "contact as it is now.",
        responses=(ok("One entry for each automation.", list[StartExplanation]),),
    ),
    get(
        "/automations/{id}/explain",
        explain_automation,
        name="explainAutomation",
        summary="Explain what became of a contact in an automation",
        description="The newest 20 events of the contact with the name of the trigger, each with "
        "its verdict, and the newest 20 runs with what became of their mails. If there is no such "
        "event, names of events of the contact that are similar. Give exactly one identifier.",
        parameters=(
            uuid("contact_id", "The contact."),
            text("external_id", check_external_id, "The contact with this `external_id`."),
            text("email", normalize_email, "The contact with this address."),
        ),
        responses=(ok("Events and runs, newest first.", ContactExplanation),),
    ),
)

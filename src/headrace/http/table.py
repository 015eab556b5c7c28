"""All routes of the API. Each module of handlers declares its own; this module collects them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from headrace.http.access import alerts, health
from headrace.http.access import policies as admin_policies
from headrace.http.automations import drafts, explain, pausing, publishing, versions
from headrace.http.automations import operations as run_operations
from headrace.http.automations import runs as automation_runs
from headrace.http.catalog import catalog
from headrace.http.compat import segment
from headrace.http.contacts import (
    audiences,
    contacts,
    erasures,
    merges,
    person_export,
    topics,
)
from headrace.http.contacts import batch as contact_batch
from headrace.http.contacts import lists as contact_lists
from headrace.http.deliveries import dead_letters, event_deliveries, replays, resends, webhooks
from headrace.http.events import events, rejections, trace
from headrace.http.ingest import batch as ingest_batch
from headrace.http.ingest import single as ingest
from headrace.http.ingest import validate
from headrace.http.messages import (
    deliverability,
    domains,
    emails,
    mail_links,
    mail_notifications,
    messages,
    provider_webhooks,
    suppressions,
    template_versions,
    templates,
)
from headrace.http.openapi import docs
from headrace.http.openapi.document import WEBHOOKS_TAG
from headrace.http.push import apps as push_apps
from headrace.http.push import clients as push_clients
from headrace.http.push import devices as push_devices
from headrace.http.push import notifications as push_notifications
from headrace.http.routing.route import Route

EVENTS, CONTACTS, TOPICS = "Events", "Contacts", "Topics"
AUDIENCES, MAIL, CATALOG, DEAD_LETTERS = "Audiences", "Mail", "Catalog", "Dead letters"
WEBHOOKS, ADMINISTRATION, SERVER = WEBHOOKS_TAG, "Administration", "Server"
AUTOMATIONS = "Automations"
PUSH, CLIENTS = "Push", "Push clients"
COMPAT = "Other client libraries"

#: Groups of the OpenAPI document, in their order.
TAGS = {
    EVENTS: "Send events, find them and read their traces.",
    CONTACTS: "The people that events are about: their properties, merges and erasures.",
    TOPICS: "What contacts are subscribed to.",
    AUDIENCES: "Lists of contacts.",
    MAIL: "E-mails and messages, sending domains, templates and suppressed addresses.",
    AUTOMATIONS: "What events start: definitions with versions, and runs of contacts.",
    PUSH: "Push apps and the devices that register with them.",
    CLIENTS: "What apps and websites send to register devices and report events, without a key.",
    COMPAT: "What client libraries of Segment, RudderStack and Jitsu send.",
    CATALOG: "Event names, the structure of their payloads, and how it has changed.",
    DEAD_LETTERS: "Events and deliveries that failed permanently, and their replays.",
    WEBHOOKS: "Endpoints that events are delivered to.",
    ADMINISTRATION: "Projects and their policies; for operator tokens, not for API keys.",
    SERVER: "Health of the server, and this document.",
}


def _tagged(tag: str, *groups: Iterable[Route]) -> tuple[Route, ...]:
    return tuple(msgspec.structs.replace(route, tag=tag) for group in groups for route in group)


ROUTES = (
    *_tagged(
        EVENTS,
        ingest.ROUTES,
        ingest_batch.ROUTES,
        validate.ROUTES,
        events.ROUTES,
        trace.ROUTES,
        event_deliveries.ROUTES,
        rejections.ROUTES,
    ),
    *_tagged(
        CONTACTS,
        contacts.ROUTES,
        contact_lists.ROUTES,
        contact_batch.ROUTES,
        merges.ROUTES,
        erasures.ROUTES,
        person_export.ROUTES,
    ),
    *_tagged(TOPICS, topics.ROUTES),
    *_tagged(AUDIENCES, audiences.ROUTES),
    *_tagged(
        MAIL,
        emails.ROUTES,
        messages.ROUTES,
        domains.ROUTES,
        deliverability.ROUTES,
        templates.ROUTES,
        template_versions.ROUTES,
        suppressions.ROUTES,
        mail_notifications.ROUTES,
    ),
    *_tagged(
        AUTOMATIONS,
        drafts.ROUTES,
        publishing.ROUTES,
        pausing.ROUTES,
        versions.ROUTES,
        automation_runs.ROUTES,
        run_operations.ROUTES,
        explain.ROUTES,
    ),
    *_tagged(PUSH, push_apps.ROUTES, push_devices.ROUTES, push_notifications.ROUTES),
    # Before those of push clients: they share the path of `/v1/track`.
    *_tagged(COMPAT, segment.ROUTES),
    *_tagged(CLIENTS, push_clients.ROUTES),
    *_tagged(CATALOG, catalog.ROUTES),
    *_tagged(DEAD_LETTERS, dead_letters.ROUTES, replays.ROUTES),
    *_tagged(WEBHOOKS, webhooks.ROUTES, resends.ROUTES),
    *_tagged(ADMINISTRATION, admin_policies.ROUTES),
    *_tagged(
        SERVER,
        health.ROUTES,
        alerts.ROUTES,
        docs.ROUTES,
        mail_links.ROUTES,
        provider_webhooks.ROUTES,
    ),
)


def served_routes(families: Collection[str]) -> tuple[Route, ...]:
    """Headrace's own routes, and those for clients of other services.

    Args:
        families: which of these services, see the setting `compat`.
    """
    return tuple(each for each in ROUTES if not each.family or each.family in families)

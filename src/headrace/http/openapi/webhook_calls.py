"""What Headrace sends: webhook calls, and the payloads of system events."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from headrace.domain.contacts.audiences import AUDIENCE_ENTERED, AUDIENCE_EXITED
from headrace.domain.contacts.contact import CONTACT_CREATED, CONTACT_DELETED, CONTACT_UPDATED
from headrace.domain.contacts.properties import PropertyValue
from headrace.domain.contacts.topics import TOPIC_SUBSCRIBED, TOPIC_UNSUBSCRIBED
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.http.events.responses import Event
from headrace.http.openapi.schemas import Schemas
from headrace.http.routing.schema import EventName, Id, Time, about

_Source = Literal["api", "event", "import", "handler", "merge", "undo", "erase", "client"]
_BY = about("What wrote the contact.")


class WebhookCall(msgspec.Struct, kw_only=True):
    """The body of a call to a webhook."""

    type: Annotated[EventName, about("Name of the event.")]
    timestamp: Annotated[Time, about("When the event occurred, not when it is delivered.")]
    data: Event


class CloudEventCall(msgspec.Struct, kw_only=True):
    """The body of a call to a webhook whose format is `cloudevents`: CloudEvents 1.0."""

    specversion: Literal["1.0"]
    id: Annotated[Id, about("Id of the event.")]
    source: Annotated[str, about("The project.", examples=["urn:headrace:project:1"])]
    type: Annotated[EventName, about("Name of the event.")]
    subject: Annotated[str | None, about("`external_id` of the event, if it has one.")] = None
    time: Annotated[Time, about("When the event occurred.")]
    datacontenttype: Literal["application/json"]
    data: Event


class ContactCreatedPayload(msgspec.Struct, kw_only=True):
    """Payload of `sendrealm.contact.created`."""

    contact_id: Id
    source: Annotated[_Source, _BY]


class ValueChange(msgspec.Struct, rename={"from_": "from"}):
    """A field before and after; null where there was or is no value."""

    from_: PropertyValue | None
    to: PropertyValue | None


class ContactUpdatedPayload(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Payload of `sendrealm.contact.updated`."""

    contact_id: Id
    source: Annotated[_Source, _BY]
    changes: Annotated[
        dict[str, ValueChange],
        about("By field: `email`, `external_id`, `properties.<name>`."),
    ]
    merged_from: Annotated[Id | None, about("The contact that was merged into this one.")] = None


class ContactDeletedPayload(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Payload of `sendrealm.contact.deleted`."""

    contact_id: Id
    source: Annotated[_Source, _BY]
    merged_into: Annotated[Id | None, about("The contact that this one was merged into.")] = None


class SubscriptionPayload(msgspec.Struct, kw_only=True):
    """Payload of `sendrealm.topic.subscribed` and `.unsubscribed`."""

    topic_id: Id
    topic_name: str
    contact_id: Id


class MembershipPayload(msgspec.Struct, kw_only=True):
    """Payload of `sendrealm.audience.entered` and `.exited`."""

    audience_id: Id
    audience_name: str
    contact_id: Id


#: Event, the operation's name, what it says, and the type of its payload.
_CALLS: tuple[tuple[str, str, str, Any], ...] = (
    (CONTACT_CREATED, "onContactCreated", "A contact was created", ContactCreatedPayload),
    (CONTACT_UPDATED, "onContactUpdated", "A contact was changed", ContactUpdatedPayload),
    (CONTACT_DELETED, "onContactDeleted", "A contact was deleted", ContactDeletedPayload),
    (TOPIC_SUBSCRIBED, "onTopicSubscribed", "A contact was subscribed", SubscriptionPayload),
    (TOPIC_UNSUBSCRIBED, "onTopicUnsubscribed", "A contact unsubscribed", SubscriptionPayload),
    (AUDIENCE_ENTERED, "onAudienceEntered", "A contact joined an audience", MembershipPayload),
    (AUDIENCE_EXITED, "onAudienceExited", "A contact left an audience", MembershipPayload),
)
#: Described beside the types of the routes.
TYPES = (WebhookCall, CloudEventCall, *dict.fromkeys(payload for *_, payload in _CALLS))

_BODIES = {BodyFormat.HEADRACE: WebhookCall, BodyFormat.CLOUDEVENTS: CloudEventCall}
_HEADERS = {
    "webhook-id": "Id of the delivery; the same for all its attempts.",
    "webhook-timestamp": "When this attempt was made, in seconds since 1970.",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of id, timestamp and body, in base64; two of "
    "them separated by a space while a secret is rotated.",
}
_ABOUT = (
    "Signed by [Standard Webhooks](https://www.standardwebhooks.com). Any 2xx means delivered; "
    "anything else is retried, except 4xx other than 408, 425 and 429."
)


def webhook_calls(schemas: Schemas, tag: str) -> dict[str, Any]:
    """The `webhooks` of the document: one for events of callers, one for each system event."""
    calls = {"event": _call(schemas, "onEvent", "An event for a webhook", tag, None)}
    for event, name, summary, payload in _CALLS:
        narrowed = {
            "properties": {
                "type": {"type": "string", "const": event},
                "data": {"type": "object", "properties": {"payload": schemas.of(payload)}},
            }
        }
        calls[event] = _call(schemas, name, summary, tag, narrowed)
    return calls


def _call(
    schemas: Schemas, name: str, summary: str, tag: str, narrowed: dict[str, Any] | None
) -> dict[str, Any]:
    content = {}
    for body_format, body in _BODIES.items():
        schema = schemas.of(body)
        if narrowed is not None:
            schema = {"allOf": [schema, narrowed]}
        content[body_format.content_type] = {"schema": schema}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "description": _ABOUT,
            "tags": [tag],
            "security": [],
            "parameters": [
                {
                    "name": header,
                    "in": "header",
                    "required": True,
                    "description": text,
                    "schema": {"type": "string"},
                }
                for header, text in _HEADERS.items()
            ],
            "requestBody": {"required": True, "content": content},
            "responses": {
                "2XX": {"description": "Delivered."},
                "410": {"description": "Permanent; the webhook is disabled."},
                "default": {"description": "Not delivered."},
            },
        }
    }

"""Description of `/topics` and of how contacts stand to them."""

from __future__ import annotations

from typing import Any

from headrace.domain.errors import ErrorCode
from headrace.domain.labels import DESCRIPTION_CHARACTERS_MAX, NAME_CHARACTERS_MAX
from headrace.http.openapi_parts import (
    BODY,
    KEYED,
    answer,
    data,
    failures,
    json_body,
    listing,
    path_id,
    ref,
)
from headrace.http.topics import (
    OptOutShown,
    SubscribedInput,
    SubscriptionShown,
    TopicInput,
    TopicOfContactShown,
    TopicShown,
)

TYPES = (
    TopicInput,
    TopicShown,
    SubscribedInput,
    SubscriptionShown,
    TopicOfContactShown,
    OptOutShown,
)

NAME: dict[str, Any] = {
    "type": ["string", "null"],
    "minLength": 1,
    "maxLength": NAME_CHARACTERS_MAX,
    "description": "Unique in the project; blanks around it are left out.",
}
DESCRIPTION = {"type": ["string", "null"], "maxLength": DESCRIPTION_CHARACTERS_MAX}
ONE = (*KEYED, ErrorCode.NOT_FOUND, ErrorCode.VALIDATION)
WRITE = (*KEYED, *BODY, ErrorCode.STORAGE_UNAVAILABLE)


def refine(schemas: dict[str, Any]) -> None:
    """Add what the types cannot say."""
    schemas["TopicInput"] |= {
        "additionalProperties": False,
        "properties": {
            "name": NAME,
            "description": DESCRIPTION,
            "default_subscribed": {
                "type": ["boolean", "null"],
                "description": "Holds for every contact that has not chosen. false if absent.",
            },
        },
    }


def named(item: str) -> dict[str, Any]:
    """Body of what needs a name."""
    body = json_body(item)
    needed = {"required": ["name"], "properties": {"name": {"type": "string"}}}
    body["content"]["application/json"]["schema"] = {"allOf": [ref(item), needed]}
    return body


def paths() -> dict[str, Any]:
    """Paths by template."""
    topic = data(ref("TopicShown"))
    return {
        "/topics": {
            "post": {
                "summary": "Create a topic",
                "operationId": "createTopic",
                "requestBody": named("TopicInput"),
                "responses": {
                    "201": answer("Created.", topic),
                    **failures(*WRITE, ErrorCode.CONFLICT),
                },
            },
            "get": listing("List topics", "listTopics", "TopicShown", []),
        },
        "/topics/{id}": {
            "get": {
                "summary": "Get a topic",
                "operationId": "getTopic",
                "parameters": [path_id()],
                "responses": {"200": answer("The topic.", topic), **failures(*ONE)},
            },
            "patch": {
                "summary": "Change a topic; members that are absent or null stay as they are",
                "operationId": "patchTopic",
                "parameters": [path_id()],
                "requestBody": json_body("TopicInput"),
                "responses": {
                    "200": answer("The topic as it is now.", topic),
                    **failures(*WRITE, ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
                },
            },
            "delete": {
                "summary": "Delete a topic and all subscriptions to it",
                "operationId": "deleteTopic",
                "parameters": [path_id()],
                "responses": {
                    "204": {"description": "Gone."},
                    **failures(*ONE, ErrorCode.STORAGE_UNAVAILABLE),
                },
            },
        },
        **_contact_paths(),
    }


def _contact_paths() -> dict[str, Any]:
    listed = listing(
        "List every topic and how a contact stands to it",
        "listTopicsOfContact",
        "TopicOfContactShown",
        [],
    )
    listed["parameters"].insert(0, path_id())
    listed["responses"] |= failures(*ONE)
    only_false = {"properties": {"is_subscribed": {"const": False}}}
    body = json_body("SubscribedInput")
    body["content"]["application/json"]["schema"] = {"allOf": [ref("SubscribedInput"), only_false]}
    return {
        "/contacts/{id}/topics": {
            "get": listed,
            "put": {
                "summary": "Unsubscribe a contact from everything, later topics included",
                "operationId": "unsubscribeFromEverything",
                "parameters": [path_id()],
                "requestBody": body,
                "responses": {
                    "200": answer("It is subscribed to nothing now.", data(ref("OptOutShown"))),
                    **failures(*WRITE, ErrorCode.NOT_FOUND),
                },
            },
        },
        "/contacts/{contact_id}/topics/{topic_id}": {
            "put": {
                "summary": "Subscribe a contact to a topic, or unsubscribe it",
                "operationId": "putSubscription",
                "parameters": [path_id("contact_id"), path_id("topic_id")],
                "requestBody": json_body("SubscribedInput"),
                "responses": {
                    "200": answer(
                        "How the contact stands to the topic now.", data(ref("SubscriptionShown"))
                    ),
                    **failures(*WRITE, ErrorCode.NOT_FOUND),
                },
            }
        },
    }

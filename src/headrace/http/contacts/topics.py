"""`/topics`, and the subscriptions of contacts to them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain import timestamps
from headrace.domain.contacts.topics import (
    TOPICS_MAX,
    OptOut,
    Subscription,
    Topic,
    decode_subscribed,
    decode_topic,
    reject_everything,
    subscription_id,
)
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem
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
    put,
)
from headrace.http.routing.schema import Description, Id, Name, Time, about
from headrace.store.access.automation_use import UsedByAutomationsError
from headrace.store.contacts.groups.topics import TooManyTopicsError, Topics
from headrace.store.contract.errors import StoreConflictError

_UNIQUE = about("Unique in the project; surrounding whitespace is removed.")
_DEFAULT = "Applies to every contact that has not chosen."


class TopicCreate(msgspec.Struct, forbid_unknown_fields=True):
    """A new topic."""

    name: Annotated[Name, _UNIQUE]
    description: Description | None = None
    default_subscribed: Annotated[bool | None, about(f"{_DEFAULT} false if absent.")] = None


class TopicUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A change of a topic. Fields that are absent or null are not changed."""

    name: Annotated[Name | None, _UNIQUE] = None
    description: Description | None = None
    default_subscribed: Annotated[bool | None, about(_DEFAULT)] = None


class TopicResponse(msgspec.Struct, kw_only=True):
    """A topic."""

    id: Id
    name: str
    description: str
    default_subscribed: bool
    created_at: Time
    updated_at: Time


class SubscriptionUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """A subscription choice."""

    is_subscribed: bool


class UnsubscribeAll(msgspec.Struct, forbid_unknown_fields=True):
    """Unsubscribes a contact from everything."""

    is_subscribed: Annotated[Literal[False], about(type="boolean", const=False)]


class SubscriptionResponse(msgspec.Struct, kw_only=True):
    """Subscription of a contact to a topic; both times are null while the default applies."""

    id: Id
    contact_id: Id
    topic_id: Id
    is_subscribed: bool
    subscribed_at: Time | None
    unsubscribed_at: Time | None


class TopicOfContactResponse(SubscriptionResponse, kw_only=True):
    """Subscription of a contact to a topic, with the name of the topic."""

    topic_name: str


class OptOutResponse(msgspec.Struct, kw_only=True):
    """Record of an opt-out from everything."""

    contact_id: Id
    is_subscribed: bool
    unsubscribed_at: Annotated[Time, about("When the contact did so first.")]
    changed: Annotated[int, about("Topics that the contact was subscribed to before this request.")]


def topic_response(topic: Topic) -> TopicResponse:
    """A topic as the API shows it."""
    return TopicResponse(
        id=topic.id,
        name=topic.name,
        description=topic.description,
        default_subscribed=topic.default_subscribed,
        created_at=timestamps.to_text(topic.created_us),
        updated_at=timestamps.to_text(topic.updated_us),
    )


def subscription_response(held: Subscription) -> SubscriptionResponse:
    """A subscription as the API shows it."""
    at = None if held.changed_us is None else timestamps.to_text(held.changed_us)
    return SubscriptionResponse(
        id=subscription_id(held.contact_id, held.topic.id),
        contact_id=held.contact_id,
        topic_id=held.topic.id,
        is_subscribed=held.is_subscribed,
        subscribed_at=at if held.is_subscribed else None,
        unsubscribed_at=None if held.is_subscribed else at,
    )


def _opt_out_response(opted: OptOut) -> OptOutResponse:
    return OptOutResponse(
        contact_id=opted.contact_id,
        is_subscribed=False,
        unsubscribed_at=timestamps.to_text(opted.at_us),
        changed=opted.changed,
    )


async def create_topic(request: Request) -> Response:
    """`POST /topics`."""
    context = context_of(request)
    fields = decode_topic(await read_body(request), required=True)
    try:
        made = await _store(context).create(_project(context), fields, _now_us(context))
    except StoreConflictError:
        raise name_taken("topic") from None
    except TooManyTopicsError:
        message = f"A project has at most {TOPICS_MAX} topics; delete one first."
        raise ApiError(ErrorCode.CONFLICT, message) from None
    return json_response({"data": topic_response(made)}, 201)


def name_taken(what: str) -> ApiError:
    """409: another one of the project has the name."""
    problem = FieldProblem("name", f"belongs to another {what}")
    message = f"name: belongs to another {what} of this project"
    return ApiError(ErrorCode.CONFLICT, message, details=(problem,))


async def list_topics(request: Request) -> Response:
    """`GET /topics`: newest first."""
    context = context_of(request)
    limit = context.limit
    scope, cursors = f"topics {_project(context)}", context.services.cursors
    before = context.before(scope)
    found = await _store(context).list(_project(context), before=before, limit=limit + 1)
    following = cursors.make(found[limit - 1].created_us, scope) if len(found) > limit else None
    shown = [topic_response(topic) for topic in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


async def get_topic(request: Request) -> Response:
    """`GET /topics/{id}`."""
    context = context_of(request)
    found = await _store(context).get(_project(context), path_uuid(request))
    return json_response({"data": topic_response(_found(found))})


async def patch_topic(request: Request) -> Response:
    """`PATCH /topics/{id}`: members that are absent or null stay as they are."""
    context = context_of(request)
    topic_id = path_uuid(request)
    fields = decode_topic(await read_body(request), required=False)
    try:
        changed = await _store(context).update(
            _project(context), topic_id, fields, _now_us(context)
        )
    except StoreConflictError:
        raise name_taken("topic") from None
    return json_response({"data": topic_response(_found(changed))})


async def delete_topic(request: Request) -> Response:
    """`DELETE /topics/{id}`: its subscriptions end without unsubscribe events."""
    context = context_of(request)
    topic_id = path_uuid(request)
    force = context.query.get("force", False)
    try:
        removed = await _store(context).delete(
            _project(context), topic_id, _now_us(context), force=force
        )
    except UsedByAutomationsError as error:
        raise used_by_automations(error) from None
    if not removed:
        raise not_found()
    return Response(status_code=204)


async def list_topics_of_contact(request: Request) -> Response:
    """`GET /contacts/{id}/topics`: every topic with the contact's subscription."""
    context = context_of(request)
    limit = context.limit
    contact_id = path_uuid(request)
    scope = f"topics of {_project(context)} {contact_id}"
    cursors = context.services.cursors
    before = context.before(scope)
    found = await _store(context).subscriptions(
        _project(context), contact_id, before=before, limit=limit + 1
    )
    if found is None:
        raise not_found()
    last = found[limit - 1].topic.created_us if len(found) > limit else None
    following = None if last is None else cursors.make(last, scope)
    shown = [_with_name(held) for held in found[:limit]]
    return json_response({"data": shown, "next_cursor": following})


def _with_name(held: Subscription) -> TopicOfContactResponse:
    shown = msgspec.structs.asdict(subscription_response(held))
    return TopicOfContactResponse(**shown, topic_name=held.topic.name)


async def put_subscription(request: Request) -> Response:
    """`PUT /contacts/{contact_id}/topics/{topic_id}`: subscribe or unsubscribe."""
    context = context_of(request)
    contact_id, topic_id = path_uuid(request, "contact_id"), path_uuid(request, "topic_id")
    wanted = decode_subscribed(await read_body(request))
    held = await _store(context).subscribe(
        _project(context), contact_id, topic_id, _now_us(context), wanted=wanted
    )
    if held is None:
        raise not_found()
    return json_response({"data": subscription_response(held)})


async def put_all_subscriptions(request: Request) -> Response:
    """`PUT /contacts/{id}/topics`: unsubscribe from everything, including later topics."""
    context = context_of(request)
    contact_id = path_uuid(request)
    if decode_subscribed(await read_body(request)):
        reject_everything()
    opted = await _store(context).opt_out(_project(context), contact_id, _now_us(context))
    if opted is None:
        raise not_found()
    return json_response({"data": _opt_out_response(opted)})


def _found(topic: Topic | None) -> Topic:
    if topic is None:
        raise not_found()
    return topic


def _store(context: Context) -> Topics:
    return context.services.store.topics


def _project(context: Context) -> int:
    return context.project_id


def _now_us(context: Context) -> int:
    return context.services.clock_us()


ROUTES = (
    post(
        "/topics",
        create_topic,
        name="createTopic",
        summary="Create a topic",
        description=f"A project has at most {TOPICS_MAX} topics.",
        bodies=json_body(TopicCreate, example={"name": "News", "default_subscribed": True}),
        responses=(created("Created.", TopicResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/topics",
        list_topics,
        name="listTopics",
        summary="List topics",
        parameters=PAGE,
        responses=(page(TopicResponse),),
    ),
    get(
        "/topics/{id}",
        get_topic,
        name="getTopic",
        summary="Get a topic",
        responses=(ok("The topic.", TopicResponse),),
    ),
    patch(
        "/topics/{id}",
        patch_topic,
        name="patchTopic",
        summary="Change a topic",
        description="Fields that are absent or null are not changed.",
        bodies=json_body(TopicUpdate, example={"description": "What is new, once a month."}),
        responses=(ok("The updated topic.", TopicResponse),),
        errors=(ErrorCode.CONFLICT,),
    ),
    delete(
        "/topics/{id}",
        delete_topic,
        name="deleteTopic",
        summary="Delete a topic and all subscriptions to it",
        description="Its subscriptions end; this does not count as unsubscribing.",
        parameters=(FORCE,),
        responses=(no_content("Deleted."),),
        errors=(ErrorCode.CONFLICT,),
    ),
    get(
        "/contacts/{id}/topics",
        list_topics_of_contact,
        name="listTopicsOfContact",
        summary="List all topics and whether a contact is subscribed to them",
        parameters=PAGE,
        responses=(page(TopicOfContactResponse),),
    ),
    put(
        "/contacts/{id}/topics",
        put_all_subscriptions,
        name="unsubscribeFromEverything",
        summary="Unsubscribe a contact from everything, later topics included",
        description="The contact can subscribe to single topics again later.",
        bodies=json_body(UnsubscribeAll, example={"is_subscribed": False}),
        responses=(ok("The contact is not subscribed to any topic.", OptOutResponse),),
    ),
    put(
        "/contacts/{contact_id}/topics/{topic_id}",
        put_subscription,
        name="putSubscription",
        summary="Subscribe a contact to a topic, or unsubscribe it",
        bodies=json_body(SubscriptionUpdate, example={"is_subscribed": True}),
        responses=(ok("The updated subscription.", SubscriptionResponse),),
    ),
)

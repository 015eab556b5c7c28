"""Sending pushes for the edges: checked requests in, stored messages out."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from headrace.delivery.contract import DeliveryError
from headrace.delivery.mail.liquid import TemplateError
from headrace.delivery.webhook.addresses import Network
from headrace.delivery.webhook.guard import check_url
from headrace.domain.access.policies import IdempotencyConflict, Policies
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.push.content import choose_text
from headrace.domain.push.device_tests import PushTest
from headrace.domain.push.devices import is_app_id, is_device_id
from headrace.domain.push.hosts import PushHosts
from headrace.domain.push.kinds import Platform
from headrace.domain.push.request import PushRequest, decode_push
from headrace.pipeline.messages.push_templates import (
    publish_push,
    push_values,
    render_data,
    render_text,
)
from headrace.store.contract.push import Device
from headrace.store.push.sends import PushSend
from headrace.store.store import Store


class PushSending:
    """Sends for all projects.

    Args:
        hosts: push services that may be called.
        allowed: networks that the operator allows.
    """

    def __init__(self, store: Store, hosts: PushHosts, allowed: tuple[Network, ...]) -> None:
        self._store = store
        self._hosts = hosts
        self._allowed = allowed

    async def send(
        self, project_id: int, request: PushRequest, policies: Policies, *, actor: str
    ) -> PushSend:
        """Send one push; its messages are on stable storage once this returns.

        Raises:
            ApiError: 422, with every problem; 422 too for a key that was used for something else,
                where the policy says so.
        """
        await self._check(project_id, request)
        sends = self._store.push.sends
        sent = await sends.send(project_id, request, self._store.clock_us(), actor=actor)
        if sent.mismatch and policies.idempotency_conflict is IdempotencyConflict.REJECT:
            message = "idempotency_key was used for something else"
            raise ApiError(ErrorCode.IDEMPOTENCY_KEY_REUSED, message)
        return sent

    async def send_test(
        self,
        project_id: int,
        test: PushTest,
        *,
        actor: str,
        policies: Policies | None = None,
        header_key: str | None = None,
    ) -> PushSend:
        """Send a text, or the draft of a template, to one device.

        Args:
            policies: needed with an idempotency key.
            header_key: the header `Idempotency-Key`.

        Raises:
            ApiError: 422 with every problem, also those that publishing the draft would find.
        """
        device = await self._device(project_id, test)
        body: dict[str, Any] = {"app_id": test.app_id, "device_ids": [test.device_id]}
        if device is not None:
            body["environment"] = device.environment.value
        if test.template_id is None:
            body["notification"] = {"title": test.title, "body": test.body}
        elif device is None:
            raise invalid(FieldProblem("device_id", "is no device of a push app of this project"))
        else:
            body |= await self._of_template(project_id, test, device)
        now_us = self._store.clock_us()
        request = decode_push(json.dumps(body).encode(), now_us, header_key=header_key)
        return await self.send(project_id, request, policies or Policies(), actor=actor)

    async def _of_template(self, project_id: int, test: PushTest, device: Device) -> dict[str, Any]:
        """What the draft of a template says in the language of the device."""
        held = await self._store.messages.templates.get(project_id, test.template_id or "")
        if held is None or held.channel != "push":
            raise invalid(FieldProblem("template_id", "is no push template of this project"))
        contact_id = test.contact_id or device.contact_id
        contact = None
        if contact_id is not None:
            contact = await self._store.contacts.get(project_id, contact_id)
        if contact is None and test.contact_id is not None:
            raise invalid(FieldProblem("contact_id", "is no contact of this project"))
        draft = publish_push(held.draft)
        values = push_values(test.variables, {}, contact)
        now_us = self._store.clock_us()
        chosen = choose_text(draft.texts, device.facts.locale, lambda one: one.code)
        try:
            default = shown = render_text(draft.texts[0], values, now_us)
            if chosen is not None:
                shown = render_text(chosen, values, now_us)
            data = render_data(draft.data, values, now_us)
        except TemplateError as error:
            raise invalid(FieldProblem("", str(error))) from None
        notification = {
            "title": shown.title,
            "body": shown.body,
            "launch_url": shown.launch_url or default.launch_url,
            "image_url": shown.image_url or default.image_url,
        }
        buttons = msgspec.to_builtins(shown.buttons or default.buttons)
        return {"notification": notification, "buttons": buttons, "data": data}

    async def _device(self, project_id: int, test: PushTest) -> Device | None:
        app_id, device_id = test.app_id, test.device_id
        if not isinstance(app_id, str) or not isinstance(device_id, str):
            return None
        if not is_app_id(app_id) or not is_device_id(device_id):
            return None
        if await self._store.push.apps.get(project_id, app_id) is None:
            return None
        return await self._store.push.devices.get(app_id, device_id)

    async def _check(self, project_id: int, request: PushRequest) -> None:
        problems: list[FieldProblem] = []
        if await self._store.push.apps.get(project_id, request.app_id) is None:
            problems.append(FieldProblem("app_id", "is no push app of this project"))
        topic_id = request.content.topic_id
        if topic_id is not None and await self._store.topics.get(project_id, topic_id) is None:
            problems.append(FieldProblem("topic_id", "is no topic of this project"))
        for field in ("audiences", "excluded_audiences"):
            for place, audience_id in enumerate(getattr(request, field)):
                if await self._store.audiences.get(project_id, audience_id) is None:
                    message = "is no audience of this project"
                    problems.append(FieldProblem(f"{field}[{place}]", message))
        for place, one in enumerate(request.raw):
            problem = self._endpoint_problem(one.address) if one.platform is Platform.WEB else None
            if problem is not None:
                problems.append(FieldProblem(f"web_subscriptions[{place}].endpoint", problem))
        if problems:
            raise invalid(*problems)

    def _endpoint_problem(self, endpoint: str) -> str | None:
        try:
            url = check_url(endpoint, self._allowed)
        except DeliveryError as error:
            return str(error)
        if not self._hosts.allows(url.scheme, url.host, url.port):
            return "is not of a known push service (HEADRACE_PUSH_HOSTS)"
        return None

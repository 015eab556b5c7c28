"""Sending pushes for the edges: checked requests in, stored messages out."""

from __future__ import annotations

from headrace.delivery.contract import DeliveryError
from headrace.delivery.webhook.addresses import Network
from headrace.delivery.webhook.guard import check_url
from headrace.domain.access.policies import IdempotencyConflict, Policies
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.push.hosts import PushHosts
from headrace.domain.push.kinds import Platform
from headrace.domain.push.request import PushRequest
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

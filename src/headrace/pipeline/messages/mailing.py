"""Sending for the edges: checked requests in, stored messages out.

Checks that need the store are made here: the domain of the sender, the template version, topic,
contact and audiences. All problems of a request are reported at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.access.policies import DEFAULTS, IdempotencyConflict, Policies
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.messages.email_request import EmailRequest
from headrace.domain.messages.kinds import DomainStatus
from headrace.store.contract.messages import Domain
from headrace.store.messages.sending.emails import SendContext, SentEmail, UnknownContactError
from headrace.store.messages.sending.job_preview import Forecast, Target
from headrace.store.messages.sending.jobs import Preview, SendJob
from headrace.store.store import Store


class StartedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A send to audiences, or that of the first request with its key."""

    job: SendJob
    deduplicated: bool = False
    mismatch: bool = False


class Mailing:
    """Sends for all projects.

    Args:
        needs_domain: whether the domain of the sender must be a verified one; not with `capture:`.
    """

    def __init__(self, store: Store, *, needs_domain: bool) -> None:
        self._store = store
        self._needs_domain = needs_domain

    async def allows_topicless_marketing(self, project_id: int) -> bool:
        """Whether marketing mail may be sent without a topic; policy of the project."""
        policies = await self._store.messages.emails.policies(project_id)
        return policies.topicless_marketing

    async def send(self, project_id: int, request: EmailRequest, policies: Policies) -> SentEmail:
        """Send one e-mail; its messages are on stable storage once this returns.

        Raises:
            ApiError: 422, with every problem; 422 too for a key that was used for something else,
                where the policy says so.
        """
        context = await self._context(project_id, request, policies)
        try:
            sent = await self._store.messages.emails.send(
                project_id, request, context, self._store.clock_us()
            )
        except UnknownContactError:
            raise _no_contact() from None
        return _raise_if_rejected(sent, policies)

    async def send_batch(
        self, project_id: int, requests: Sequence[EmailRequest | ApiError], policies: Policies
    ) -> list[SentEmail | ApiError]:
        """Send each separately; one outcome for each, same order. Earlier errors are kept."""
        outcomes: list[SentEmail | ApiError] = []
        contexts: list[tuple[EmailRequest, SendContext]] = []
        places: list[int] = []
        for request in requests:
            if isinstance(request, ApiError):
                outcomes.append(request)
                continue
            try:
                contexts.append((request, await self._context(project_id, request, policies)))
            except ApiError as error:
                outcomes.append(error)
            else:
                places.append(len(outcomes))
                # A placeholder until it is sent.
                outcomes.append(_no_contact())
        sent = await self._store.messages.emails.send_many(
            project_id, contexts, self._store.clock_us()
        )
        for place, one in zip(places, sent, strict=True):
            if isinstance(one, UnknownContactError):
                continue
            try:
                outcomes[place] = _raise_if_rejected(one, policies)
            except ApiError as error:
                outcomes[place] = error
        return outcomes

    async def preview(self, project_id: int, request: EmailRequest, policies: Policies) -> Preview:
        """The recipients of a send to audiences.

        Raises:
            ApiError: as `start`.
        """
        await self._context(project_id, request, policies)
        return await self._store.messages.jobs.preview(project_id, request)

    async def forecast(self, project_id: int, request: EmailRequest) -> Forecast:
        """What a send to audiences would do now, by reason; changes nothing."""
        target = Target(
            audiences=request.audiences,
            excluded=request.excluded_audiences,
            topic_id=request.topic_id,
            domain=request.sender.domain,
        )
        previews = self._store.messages.previews
        return await previews.forecast(project_id, target, self._store.clock_us())

    async def forecast_job(self, job: SendJob) -> Forecast | None:
        """As `forecast`, for a job; None when its e-mail is gone."""
        found = await self._store.messages.emails.get(job.project_id, job.id)
        if found is None:
            return None
        content = found.email.content
        target = Target(
            audiences=job.audiences,
            excluded=job.excluded,
            topic_id=content.topic_id,
            domain=content.sender.domain,
        )
        previews = self._store.messages.previews
        return await previews.forecast(job.project_id, target, self._store.clock_us())

    async def draft(self, project_id: int, request: EmailRequest, *, actor: str) -> SendJob:
        """Create a send to audiences that waits until it is started.

        Raises:
            ApiError: 422, with every problem.
        """
        await self._context(project_id, request, DEFAULTS)
        now_us = self._store.clock_us()
        jobs = self._store.messages.jobs
        job, _, _ = await jobs.create(project_id, request, now_us, actor=actor, draft=True)
        return job

    async def start(
        self, project_id: int, request: EmailRequest, policies: Policies, *, actor: str
    ) -> StartedJob:
        """Begin a send to audiences.

        Raises:
            ApiError: as `send`.
        """
        await self._context(project_id, request, policies)
        now_us = self._store.clock_us()
        job, deduplicated, mismatch = await self._store.messages.jobs.create(
            project_id, request, now_us, actor=actor
        )
        if mismatch and policies.idempotency_conflict is IdempotencyConflict.REJECT:
            raise _reused()
        return StartedJob(job=job, deduplicated=deduplicated, mismatch=mismatch)

    async def _context(
        self, project_id: int, request: EmailRequest, policies: Policies
    ) -> SendContext:
        problems: list[FieldProblem] = []
        domain = await self._domain(project_id, request, problems)
        await self._check_version(project_id, request, problems)
        if request.topic_id is not None:
            topic = await self._store.topics.get(project_id, request.topic_id)
            if topic is None:
                problems.append(FieldProblem("topic_id", "is no topic of this project"))
        for field in ("audiences", "excluded_audiences"):
            for place, audience_id in enumerate(getattr(request, field)):
                if await self._store.audiences.get(project_id, audience_id) is None:
                    message = "is no audience of this project"
                    problems.append(FieldProblem(f"{field}[{place}]", message))
        if problems:
            raise invalid(*problems)
        return SendContext(domain=domain, create_contacts=policies.create_contacts)

    async def _domain(
        self, project_id: int, request: EmailRequest, problems: list[FieldProblem]
    ) -> Domain | None:
        name = request.sender.domain
        domain = await self._store.messages.domains.by_name(project_id, name)
        if self._needs_domain and (domain is None or domain.status is not DomainStatus.VERIFIED):
            state = "is not verified" if domain is not None else "is no domain of this project"
            problems.append(FieldProblem("from", f"its domain {state}: {name[:64]}"))
        return domain

    async def _check_version(
        self, project_id: int, request: EmailRequest, problems: list[FieldProblem]
    ) -> None:
        if request.template_version_id is None:
            return
        templates = self._store.messages.templates
        version = await templates.version(project_id, request.template_version_id)
        template = None
        if version is not None:
            template = await templates.get(project_id, version.template_id)
        if template is None or template.channel != "email":
            message = "is no published version of an e-mail template of this project"
            problems.append(FieldProblem("template_version_id", message))


def _no_contact() -> ApiError:
    return invalid(FieldProblem("contact_id", "is no contact of this project"))


def _raise_if_rejected(sent: SentEmail, policies: Policies) -> SentEmail:
    if sent.mismatch and policies.idempotency_conflict is IdempotencyConflict.REJECT:
        raise _reused()
    return sent


def _reused() -> ApiError:
    message = "idempotency_key was used for something else"
    return ApiError(ErrorCode.IDEMPOTENCY_KEY_REUSED, message)

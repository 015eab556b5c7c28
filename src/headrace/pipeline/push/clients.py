"""What clients without a key may do: register devices, log in and out, report events and tags."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.config import SettingError, Settings
from headrace.delivery.contract import DeliveryError
from headrace.delivery.push.keys import is_public_key
from headrace.delivery.webhook.addresses import Network, parse_networks
from headrace.delivery.webhook.guard import check_url
from headrace.domain.access.policies import LinkIdentifiers
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, invalid
from headrace.domain.events.placeholders import placeholders
from headrace.domain.ids import new_uuid, uuid_text
from headrace.domain.push.client_events import (
    REPORTS,
    event_key,
    event_name_of,
    payload_with_name,
)
from headrace.domain.push.client_requests import (
    Address,
    Identity,
    Report,
    Tracked,
    address_of,
    identity_of,
    report_of,
    require_platform,
    tags_of,
    tracked_of,
)
from headrace.domain.push.hosts import PushHosts, parse_push_hosts
from headrace.domain.push.kinds import Platform
from headrace.pipeline.access.keys import AccessCache
from headrace.pipeline.intake.accept import Acceptor, rate_limited
from headrace.pipeline.intake.rejections import RejectionLog
from headrace.pipeline.push.app_cache import AppCache
from headrace.pipeline.push.client_events import ClientEvents
from headrace.pipeline.push.limits import DeviceGrowth, RequestRate
from headrace.store.contract.push import Device, KeptEvent, PushApp
from headrace.store.contract.rejections import Rejection
from headrace.store.push.devices import (
    Linking,
    Registered,
    Registration,
    TooManyKeptError,
    UnknownDeviceError,
)
from headrace.store.store import Store


class ClientLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator allows clients."""

    hosts: PushHosts
    #: Private networks that may be called.
    networks: tuple[Network, ...]
    #: New devices of one address in an hour, and devices of one app.
    registrations_per_hour_max: int
    devices_max: int


def client_limits(settings: Settings) -> ClientLimits:
    """The limits of the settings.

    Raises:
        SettingError: one cannot be used.
    """
    try:
        hosts = parse_push_hosts(settings.push_hosts)
    except ValueError as error:
        message = f"HEADRACE_PUSH_HOSTS: {error}"
        raise SettingError(message) from None
    return ClientLimits(
        hosts=hosts,
        networks=parse_networks(settings.webhook_allow_networks),
        registrations_per_hour_max=settings.push_registrations_max,
        devices_max=settings.push_devices_max,
    )


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a client, whose app is known."""

    app: PushApp
    members: dict[str, Any]
    body: bytes
    #: Path, for the list of rejections.
    route: str
    #: Of the client; empty: unknown.
    address: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether something was taken, and if not, why."""

    accepted: bool
    reason: str | None = None


_ACCEPTED = Answer(accepted=True)


class PushClients:
    """The client protocol."""

    def __init__(
        self,
        store: Store,
        acceptor: Acceptor,
        access: AccessCache,
        rejections: RejectionLog,
        limits: ClientLimits,
    ) -> None:
        self._push = store.push
        self._devices = store.push.devices
        self._clock_us = store.clock_us
        self._acceptor = acceptor
        self._access = access
        self._rejections = rejections
        self._limits = limits
        self._apps = AppCache(store.push.apps, store.clock_us)
        self._rate = RequestRate()
        self._growth = DeviceGrowth(
            limits.registrations_per_hour_max, limits.devices_max, store.push.devices.count
        )
        self.events = ClientEvents(store.push.devices, acceptor, access, store.clock_us)

    async def admit(self, app_id: str, origin: str | None, address: str) -> PushApp:
        """The app of a request.

        Args:
            origin: of the page, None for other programs.

        Raises:
            ApiError: 404 for an unknown app, 403 for another origin, 429 past a limit, 503 when
                nothing can be stored.
        """
        self._acceptor.check_open()
        self._rate.take(address, app_id, self._clock_us())
        app = await self._apps.get(app_id)
        if app is None:
            raise ApiError(ErrorCode.NOT_FOUND, "No push app has this app_id.")
        if origin is not None and app.origins and origin not in app.origins:
            raise ApiError(ErrorCode.FORBIDDEN, "This origin is not one of the push app.")
        return app

    async def init(self, request: Request) -> Device:
        """Begin the life of a device, or note that it is still alive.

        Raises:
            ApiError: 422 for a website's mistake, 429 when there are too many devices.
        """
        report = report_of(request.members)
        require_platform(report)
        device_id = report.device_id
        if device_id is None:
            if report.platform is Platform.WEB:
                raise _no_device_id()
            device_id = uuid_text(new_uuid())
        registration = Registration(report=report)
        done = await self._write(request, device_id, registration)
        return done.device

    async def register(self, request: Request) -> Registered:
        """Register an address, and log somebody in or out.

        Raises:
            ApiError: 422 for an endpoint that must not be called, 429 for too many devices.
        """
        report = report_of(request.members)
        platform = require_platform(report)
        address = self._checked(address_of(request.members, platform), platform)
        policies = self._access.project(request.app.project_id).policies
        identity = identity_of(request.members, placeholders(policies.placeholder_identifiers))
        device_id = self._device_id(report, platform)
        registration = Registration(report=report, address=address, identity=identity)
        done = await self._write(request, device_id, registration)
        await self._move_kept(request, done.device)
        return done

    async def subscribe(self, request: Request) -> Device:
        """Switch push on or off; may bring a new address.

        Raises:
            ApiError: as `register`.
        """
        report = report_of(request.members)
        platform = require_platform(report)
        address = self._checked(address_of(request.members, platform), platform)
        device_id = self._device_id(report, platform)
        registration = Registration(report=report, address=address, identity=Identity(keep=True))
        done = await self._write(request, device_id, registration)
        return done.device

    async def track(self, request: Request) -> Answer:
        """Take an event. What cannot be stored is recorded as a rejection, and not an error.

        Raises:
            ApiError: 429 or 503; safe to send again.
        """
        report = report_of(request.members)
        policies = self._access.project(request.app.project_id).policies
        try:
            if report.device_id is None:
                raise _no_device_id()
            tracked = tracked_of(request.body, request.members, policies.event_payload_limit_bytes)
        except ApiError as error:
            return self._reject(request, error)
        if tracked.name in REPORTS:
            return await self._note_report(request, report.device_id, tracked)
        return await self._take_event(request, report, report.device_id, tracked)

    async def _note_report(self, request: Request, device_id: str, tracked: Tracked) -> Answer:
        now_us = self._clock_us()
        device = await self._devices.get(request.app.id, device_id)
        if device is not None:
            await self._devices.seen(device, now_us)
        if tracked.notification_id is not None and await self._push.reports.note(
            *(request.app.id, device_id, tracked.notification_id),
            *(tracked.name, tracked.action_id, now_us),
        ):
            return _ACCEPTED
        return Answer(accepted=False, reason="unknown_notification")

    async def _take_event(
        self, request: Request, report: Report, device_id: str, tracked: Tracked
    ) -> Answer:
        app, now_us = request.app, self._clock_us()
        project = self._access.project(app.project_id)
        if project.bucket is not None and (wait_s := project.bucket.take(now_us)):
            raise rate_limited(project.bucket.rate, wait_s)
        name, renamed = event_name_of(tracked.name)
        payload = tracked.payload
        if renamed:
            payload = payload_with_name(payload, tracked.name)
        key = tracked.idempotency_key
        own_key = event_key(app.id, device_id, key or uuid_text(new_uuid()))
        event = KeptEvent(id=own_key, event=name, payload=payload, received_us=now_us)
        device = await self._devices.get(app.id, device_id)
        if device is None:
            await self._growth.add(request.address, app.id, now_us)
        if device is None or device.contact_id is None:
            try:
                device = await self._devices.keep_event(
                    app.project_id, app.id, device_id, event, report
                )
            except TooManyKeptError:
                error = ApiError(
                    ErrorCode.VALIDATION,
                    "The device keeps as many events as it may until somebody logs in.",
                )
                return self._reject(request, error)
            if device is None or device.contact_id is None:
                return _ACCEPTED
        if device.kept_events:
            await self._move_kept(request, device)
        sent = [(event, own_key if key else None)]
        (failure,) = await self.events.accept(app.project_id, device.contact_id, sent)
        if failure is not None:
            raise failure
        await self._devices.seen(device, now_us)
        return _ACCEPTED

    async def tag(self, request: Request) -> Answer:
        """Set and remove tags: properties of the contact.

        Raises:
            ApiError: 429 or 503; safe to send again.
        """
        report = report_of(request.members)
        if report.device_id is None:
            return self._reject(request, _no_device_id())
        tags = tags_of(request.members)
        if not tags:
            return _ACCEPTED
        app, now_us = request.app, self._clock_us()
        if await self._devices.get(app.id, report.device_id) is None:
            await self._growth.add(request.address, app.id, now_us)
        written = await self._devices.tag(
            app.project_id, app.id, report.device_id, tags, report, now_us
        )
        if written:
            return _ACCEPTED
        message = "The contact would have too many properties, or too large ones."
        return self._reject(request, invalid(FieldProblem("tags", message)))

    # --- helpers ---

    async def _write(
        self, request: Request, device_id: str, registration: Registration
    ) -> Registered:
        app, now_us = request.app, self._clock_us()
        policies = self._access.project(app.project_id).policies
        linking = Linking(
            create=policies.create_contacts,
            link=policies.link_identifiers is LinkIdentifiers.FILL,
        )
        # Whether the device is new shows when it is written: looking it up before would take as
        # long again.
        problem = await self._growth.take(request.address, app.id, now_us)
        created = False
        try:
            done = await self._devices.register(
                *(app.project_id, app.id, device_id, registration, now_us, linking),
                may_add=problem is None,
            )
            created = done.created
        except UnknownDeviceError:
            assert problem is not None
            raise problem from None
        finally:
            if problem is None and not created:
                self._growth.give_back(request.address, app.id)
        return done

    async def _move_kept(self, request: Request, device: Device) -> None:
        if device.kept_events and device.contact_id is not None:
            try:
                await self.events.move_kept(request.app.project_id, device)
            except ApiError:
                # They stay with the device, and `ClientEvents` moves them later.
                return

    def _device_id(self, report: Report, platform: Platform) -> str:
        if report.device_id is not None:
            return report.device_id
        if platform is Platform.WEB:
            raise _no_device_id()
        return uuid_text(new_uuid())

    def _checked(self, address: Address | None, platform: Platform) -> Address | None:
        """The address, with the endpoint of a website as it is called."""
        if address is None or platform is not Platform.WEB:
            return address
        field = "web_push_subscription.endpoint"
        try:
            url = check_url(address.address, self._limits.networks)
        except DeliveryError as error:
            raise invalid(FieldProblem(field, str(error))) from None
        if not self._limits.hosts.allows(url.scheme, url.host, url.port):
            message = "is not the address of a push service that this server may call"
            raise invalid(FieldProblem(field, message))
        if not is_public_key(address.p256dh or ""):
            message = "is not a point of the curve P-256"
            raise invalid(FieldProblem("web_push_subscription.keys.p256dh", message))
        return msgspec.structs.replace(address, address=url.text)

    def _reject(self, request: Request, error: ApiError) -> Answer:
        """Record what is not taken. Phones would send a rejected request again for ever."""
        self._rejections.add(
            Rejection(
                project_id=request.app.project_id,
                at_us=self._clock_us(),
                status=error.status,
                code=error.code.value,
                message=error.message,
                details=[(problem.field, problem.message) for problem in error.details],
                route=request.route,
                api_key_id=None,
                request_id=None,
                body_shape={},
                body_bytes=len(request.body),
            )
        )
        return Answer(accepted=False, reason=error.message)


def _no_device_id() -> ApiError:
    return invalid(FieldProblem("device_id", "must be 1 to 64 letters, digits and . _ : -"))

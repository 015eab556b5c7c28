"""Events of devices become events of contacts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.events.event import Source
from headrace.domain.events.event_types import Draft
from headrace.domain.events.identity import IdentityType
from headrace.observability.events import STORE_UNAVAILABLE
from headrace.pipeline.access.keys import AccessCache, ProjectAccess
from headrace.pipeline.intake.accept import Acceptor, Origin
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreError
from headrace.store.contract.push import Device, KeptEvent
from headrace.store.push.devices import Devices

#: Devices that one round moves the events of.
WAITING_MAX = 100
PAUSE_SECONDS = 30.0
ERROR_SECONDS = 5.0


class ClientEvents:
    """Accepts events of devices on which somebody is logged in.

    An event is accepted under a key of its own before it leaves the device, so moving the same one
    twice stores it once, and none is lost when a server ends in between.
    """

    def __init__(
        self,
        devices: Devices,
        acceptor: Acceptor,
        access: AccessCache,
        clock_us: Callable[[], int],
    ) -> None:
        self._devices = devices
        self._acceptor = acceptor
        self._access = access
        self._clock_us = clock_us

    async def accept(
        self, project_id: int, contact_id: str, events: Sequence[tuple[KeptEvent, str | None]]
    ) -> list[ApiError | None]:
        """Accept events of a contact, each with its idempotency key.

        Returns:
            For each event None when it is on stable storage, else why not.
        """
        project = self._access.project(project_id)
        origin = Origin(project, Source.CLIENT, None, None)
        waiting: list[asyncio.Future[Pending] | ApiError] = []
        for event, key in events:
            draft = Draft(
                event=event.event,
                contact_id=contact_id,
                external_id=None,
                email=None,
                email_original=None,
                payload=event.payload,
                occurred_us=event.received_us,
                idempotency_key=key,
                identity_type=IdentityType.CONTACT_ID,
                identity_value=contact_id,
            )
            settled: asyncio.Future[Pending] = asyncio.get_running_loop().create_future()
            try:
                self._acceptor.submit(draft, origin, self._clock_us(), _setter(settled))
                waiting.append(settled)
            except ApiError as error:
                waiting.append(error)
        return [await self._outcome(each, project) for each in waiting]

    async def _outcome(
        self, waiting: asyncio.Future[Pending] | ApiError, project: ProjectAccess
    ) -> ApiError | None:
        if isinstance(waiting, ApiError):
            return waiting
        try:
            self._acceptor.result(await waiting, project)
        except ApiError as error:
            # A repeat with other content: the first one is stored.
            return None if error.code is ErrorCode.IDEMPOTENCY_KEY_REUSED else error
        return None

    async def move_kept(self, project_id: int, device: Device) -> None:
        """Make the kept events of a device events of its contact.

        Raises:
            ApiError: some cannot be accepted now; they stay with the device.
        """
        contact_id = device.contact_id
        if contact_id is None:
            return
        while kept := await self._devices.kept_events(device.app_id, device.id):
            failures = await self.accept(project_id, contact_id, [(each, each.id) for each in kept])
            stored = [each for each, error in zip(kept, failures, strict=True) if error is None]
            if stored:
                await self._devices.drop_kept(device.app_id, device.id, stored)
            failure = next((error for error in failures if error is not None), None)
            if failure is not None:
                raise failure

    async def run(self) -> None:
        """Move events that stayed although somebody is logged in, until cancelled."""
        options = LoopOptions(
            name="client events",
            pause_s=PAUSE_SECONDS,
            error_s=ERROR_SECONDS,
            failures={StoreError: STORE_UNAVAILABLE, ApiError: STORE_UNAVAILABLE},
        )
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        waiting = await self._devices.waiting(WAITING_MAX)
        for device in waiting:
            await self.move_kept(device.project_id, device)
        return 0.0 if len(waiting) == WAITING_MAX else None


def _setter(settled: asyncio.Future[Pending]) -> Callable[[Pending], None]:
    def settle(pending: Pending) -> None:
        # The request may have been cancelled meanwhile.
        if not settled.done():
            settled.set_result(pending)

    return settle

"""Creating and changing push apps, with the errors that callers get."""

from __future__ import annotations

from headrace.delivery.push.keys import new_vapid_keys
from headrace.domain.errors import ApiError, ErrorCode, FieldProblem
from headrace.domain.push.app_requests import PushAppFields
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.push import APPS_MAX, PushApp
from headrace.store.push.apps import TooManyAppsError
from headrace.store.store import Store


class PushAppSetup:
    """Push apps of all projects."""

    def __init__(self, store: Store) -> None:
        self._apps = store.push.apps
        self._clock_us = store.clock_us

    async def create(self, project_id: int, fields: PushAppFields, *, actor: str) -> PushApp:
        """Create an app with new keys.

        Args:
            fields: with a name.

        Raises:
            ApiError: 409 when the name is taken or there are too many.
        """
        keys = new_vapid_keys()
        vapid = (keys.public, keys.private_pem)
        try:
            return await self._apps.create(
                project_id, fields, self._clock_us(), vapid=vapid, actor=actor
            )
        except StoreConflictError:
            raise _taken() from None
        except TooManyAppsError:
            message = f"A project has at most {APPS_MAX} push apps."
            raise ApiError(ErrorCode.CONFLICT, message) from None

    async def update(
        self, project_id: int, app_id: str, fields: PushAppFields, *, actor: str
    ) -> PushApp | None:
        """Change an app; None when there is none.

        Raises:
            ApiError: 409 when the name is taken.
        """
        try:
            return await self._apps.update(
                project_id, app_id, fields, self._clock_us(), actor=actor
            )
        except StoreConflictError:
            raise _taken() from None


def _taken() -> ApiError:
    problem = FieldProblem("name", "is the name of another push app")
    message = f"{problem.field}: {problem.message}"
    return ApiError(ErrorCode.CONFLICT, message, details=(problem,))

"""Deletion of objects that automations may use."""

from __future__ import annotations

from headrace.domain.errors import ApiError, ErrorCode, FieldProblem, as_written
from headrace.http.routing.parameters import flag
from headrace.store.access.automation_use import UsedByAutomationsError

#: Parameter of routes that delete such an object.
FORCE = flag("force", "`true` deletes it even if automations use it; their steps are then skipped.")


def used_by_automations(error: UsedByAutomationsError) -> ApiError:
    """409 with every automation that uses the object."""
    users = error.users
    problems = tuple(
        FieldProblem(f"automations[{index}]", f"{user.id} uses it: {as_written(user.name)}")
        for index, user in enumerate(users)
    )
    more = f" (and {len(users) - 1} more)" if len(users) > 1 else ""
    message = f"The automation {as_written(users[0].name)}{more} uses it; force=true deletes it."
    return ApiError(ErrorCode.CONFLICT, message, details=problems)

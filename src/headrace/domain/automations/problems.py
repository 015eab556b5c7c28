"""Problems of a definition, each with a stable code and its path."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.domain.automations.limits import PROBLEMS_MAX


class Code(StrEnum):
    """Kinds of problems and warnings; they are never renamed."""

    # Syntax.
    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    DUPLICATE_MEMBER = "duplicate_member"
    UNKNOWN_MEMBER = "unknown_member"
    WRONG_TYPE = "wrong_type"
    INVALID_VALUE = "invalid_value"
    OUT_OF_RANGE = "out_of_range"
    TOO_MANY = "too_many"
    MISSING = "missing"
    EXCLUSIVE = "exclusive"
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_PATH = "invalid_path"
    INVALID_FILTER = "invalid_filter"
    RESERVED_EVENT_NAME = "reserved_event_name"

    # Problems that prevent publishing.
    TRIGGER_NOT_CONNECTED = "trigger_not_connected"
    UNKNOWN_STEP = "unknown_step"
    UNKNOWN_BRANCH = "unknown_branch"
    DUPLICATE_BRANCH = "duplicate_branch"
    BRANCH_NEVER_TAKEN = "branch_never_taken"
    UNREACHABLE_STEP = "unreachable_step"
    CYCLE = "cycle"
    NOT_UPSTREAM = "not_upstream"
    WAIT_TOO_LONG = "wait_too_long"
    TOPIC_REQUIRED = "topic_required"
    NOT_FOUND = "not_found"
    NOT_PUBLISHED = "not_published"
    WRONG_CHANNEL = "wrong_channel"
    NOT_VERIFIED = "not_verified"
    VARIABLE_WITHOUT_SOURCE = "variable_without_source"

    # Warnings.
    WAIT_WITHOUT_TIMEOUT = "wait_without_timeout"
    OPEN_AS_DECISION = "open_as_decision"
    EVENT_NEVER_SEEN = "event_never_seen"
    PATH_NEVER_SEEN = "path_never_seen"
    UNCONNECTED_BRANCH = "unconnected_branch"
    NIGHT_TIME = "night_time"
    MAY_SEND_TWICE = "may_send_twice"
    LONG_LOOK_BACK = "long_look_back"
    CAUSES_ITSELF = "causes_itself"
    ANY_MESSAGE = "any_message"


#: A draft with only these can be saved: it is still being edited.
UNFINISHED = frozenset(
    {
        Code.MISSING,
        Code.EXCLUSIVE,
        Code.TRIGGER_NOT_CONNECTED,
        Code.UNKNOWN_STEP,
        Code.UNKNOWN_BRANCH,
        Code.DUPLICATE_BRANCH,
        Code.BRANCH_NEVER_TAKEN,
        Code.UNREACHABLE_STEP,
        Code.CYCLE,
        Code.NOT_UPSTREAM,
        Code.WAIT_TOO_LONG,
        Code.TOPIC_REQUIRED,
        Code.NOT_FOUND,
        Code.NOT_PUBLISHED,
        Code.WRONG_CHANNEL,
        Code.NOT_VERIFIED,
        Code.VARIABLE_WITHOUT_SOURCE,
    }
)


class Problem(msgspec.Struct, frozen=True):
    """One problem or warning.

    `field` is a path such as `definition.steps[2].config.audience_id`; empty when it is about the
    whole document. `step` is the key of the step that it is in, where there is one.
    """

    code: Code
    field: str
    message: str
    step: str | None = None


class Problems:
    """Collects problems up to a limit, so that a caller sees all of them at once."""

    def __init__(self) -> None:
        self.found: list[Problem] = []
        #: How many are not listed.
        self.left_out = 0

    def add(self, code: Code, field: str, message: str, step: str | None = None) -> None:
        """Add a problem."""
        if len(self.found) < PROBLEMS_MAX:
            self.found.append(Problem(code, field, message, step))
        else:
            self.left_out += 1

    def __len__(self) -> int:
        return len(self.found) + self.left_out

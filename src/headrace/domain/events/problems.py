"""The thorough parser of an event: checks every rule and reports every problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headrace.domain.email import normalize_email
from headrace.domain.errors import (
    ApiError,
    ErrorCode,
    FieldProblem,
    TooDeepError,
    echo,
    invalid,
    malformed_json,
)
from headrace.domain.events.event_types import Draft, DraftLimits
from headrace.domain.events.fields import (
    MEMBERS,
    check_contact_id,
    check_event_name,
    check_external_id,
    check_idempotency_key,
    check_occurred_at,
    check_payload,
    is_reserved,
    nearest_member,
    unknown_hint,
)
from headrace.domain.events.identity import IdentityType
from headrace.domain.json_text import (
    DEPTH_ABSURD,
    DuplicateMemberError,
    deeper_than,
    forbidden_escape,
    parse_object,
)

#: Unknown members that a response lists.
PROBLEMS_MAX = 50
#: How many of those are compared with all known members to find the intended one.
HINTS_MAX = 3


class _PayloadOnly(msgspec.Struct):
    payload: msgspec.Raw = msgspec.Raw(b"")


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a request body that must be one JSON object.

    Raises:
        ApiError: 400 with what is wrong with the JSON.
    """
    if not body.strip(b" \t\r\n"):
        message = "The body is empty; send one JSON object."
        raise malformed_json(message)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8: byte {error.start} does not belong there."
        raise malformed_json(message) from None
    if text.startswith("\ufeff"):
        message = "The body starts with a byte order mark; send plain UTF-8 without it."
        raise malformed_json(message)
    # Also protects the parser below, which recurses as deeply as the text nests.
    if deeper_than(body, DEPTH_ABSURD):
        message = f"The body nests deeper than {DEPTH_ABSURD} levels."
        raise TooDeepError(message)
    try:
        return parse_object(text)
    except DuplicateMemberError as error:
        message = f"The key '{echo(error.args[0])}' occurs twice."
        raise malformed_json(message) from None
    except TypeError:
        message = "The body must be one JSON object."
        raise malformed_json(message) from None
    except (ValueError, RecursionError) as error:
        message = f"The body is not valid JSON: {echo(str(error))}"
        raise malformed_json(message) from None


def draft_or_problems(body: bytes, limits: DraftLimits) -> Draft:
    """Check one event by every rule.

    Raises:
        ApiError: 400 for the JSON; 413 for a payload that is the only problem; 422 otherwise,
            with all problems listed.
    """
    members = read_object(body)
    check = _Check()
    _unknown_members(members, check)
    name = check.text(members, "event", check_event_name)
    if "event" not in members or members["event"] is None:
        check.add("event", "is required")
    contact_id = check.text(members, "contact_id", check_contact_id)
    external_id = check.text(members, "external_id", check_external_id)
    email = check.text(members, "email", normalize_email)
    if all(members.get(kind) is None for kind in IdentityType):
        check.add("", "one of contact_id, external_id and email is required")
    occurred_us = check.text(
        members, "occurred_at", lambda text: check_occurred_at(text, limits.now_us)
    )
    key = check.text(
        members, "idempotency_key", lambda text: check_idempotency_key(text, limits.placeholders)
    )
    key = _key_of_header(key, limits, check)
    payload = _payload(members, body, limits, check)
    _name_valid_identifiers(
        {"contact_id": contact_id, "external_id": external_id, "email": email}, check
    )
    check.raise_if_any(reserved=name is not None and is_reserved(name))
    identity = {
        IdentityType.CONTACT_ID: contact_id,
        IdentityType.EXTERNAL_ID: external_id,
        IdentityType.EMAIL: email,
    }
    kind, value = next((k, v) for k, v in identity.items() if v is not None)
    sent_email = members.get("email")
    return Draft(
        event=name,
        contact_id=contact_id,
        external_id=external_id,
        email=email,
        email_original=None if sent_email == email else sent_email,
        payload=payload,
        occurred_us=limits.now_us if occurred_us is None else occurred_us,
        idempotency_key=key,
        identity_type=kind,
        identity_value=value,
    )


class _Check:
    """Collects problems so that a caller sees all of them at once."""

    def __init__(self) -> None:
        self.problems: list[FieldProblem] = []
        self.too_large: ApiError | None = None

    def add(self, field: str, message: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(FieldProblem(field, message))

    def text(self, members: dict[str, Any], field: str, rule: Callable[[str], Any]) -> Any:
        """Apply `rule` to a member that must be a string; None when absent or wrong."""
        value = members.get(field)
        if value is None:
            return None
        # Numbers arrive as a kind of str, see `json_text.Number`.
        if type(value) is not str:
            self.add(field, f"must be a string, got {_kind_of(value)}")
            return None
        try:
            value.encode()
        except UnicodeEncodeError:
            self.add(field, "must not contain a lone surrogate")
            return None
        try:
            return rule(value)
        except ValueError as error:
            self.add(field, str(error))
            return None

    def raise_if_any(self, *, reserved: bool) -> None:
        """Raise the problems; with a more specific code if there is only one."""
        if reserved:
            problem = FieldProblem("event", "names starting with sendrealm. are reserved")
            if not self.problems:
                raise ApiError(
                    ErrorCode.RESERVED_EVENT_NAME,
                    "event: names starting with sendrealm. are reserved for system events",
                    details=(problem,),
                )
            self.problems.insert(0, problem)
        if self.problems:
            if self.too_large is not None:
                self.add("payload", self.too_large.message.removeprefix("payload: "))
            raise invalid(*self.problems)
        if self.too_large is not None:
            raise self.too_large


def _unknown_members(members: dict[str, Any], check: _Check) -> None:
    unknown = [name for name in members if name not in MEMBERS]
    for number, name in enumerate(unknown[:PROBLEMS_MAX]):
        nearest = nearest_member(name) if number < HINTS_MAX else None
        hint = unknown_hint(name, nearest, "payload") if number < HINTS_MAX else ""
        check.add(echo(name), f"is an unknown field of an event{hint}")


def _name_valid_identifiers(checked: dict[str, str | None], check: _Check) -> None:
    """Say which identifiers are valid when others are not: the event is rejected all the same."""
    valid = " and ".join(name for name, value in checked.items() if value is not None)
    if not valid:
        return
    verb = "are" if " and " in valid else "is"
    check.problems = [
        FieldProblem(each.field, f"{each.message}; {valid} {verb} valid")
        if each.field in checked
        else each
        for each in check.problems
    ]


def _key_of_header(key: str | None, limits: DraftLimits, check: _Check) -> str | None:
    header_key = limits.header_key
    if header_key is None:
        return key
    if key is not None and key != header_key:
        check.add("idempotency_key", "differs from the header Idempotency-Key")
    try:
        return check_idempotency_key(header_key, limits.placeholders)
    except ValueError as error:
        check.add("Idempotency-Key", str(error))
        return None


def _payload(members: dict[str, Any], body: bytes, limits: DraftLimits, check: _Check) -> str:
    value = members.get("payload")
    if value is None:
        return "{}"
    if not isinstance(value, dict):
        check.add("payload", f"must be an object, got {_kind_of(value)}")
        return "{}"
    # Escapes first: the typed decoder below rejects lone surrogates as malformed.
    found = forbidden_escape(body)
    if found is not None:
        if not check.problems:
            check.add("payload", f"must not contain {found}")
        return "{}"
    try:
        return check_payload(
            bytes(msgspec.json.decode(body, type=_PayloadOnly).payload), limits.payload_bytes_max
        )
    except ApiError as error:
        check.too_large = error
    except ValueError as error:
        check.add("payload", str(error))
    except (msgspec.MsgspecError, RecursionError):
        check.add("payload", "is not valid JSON")
    return "{}"


def _kind_of(value: Any) -> str:
    """JSON's own name for the type of a parsed value."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None:
        return "null"
    return "a string" if type(value) is str else "a number"

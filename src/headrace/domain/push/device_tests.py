"""The body of `POST /push/tests`: one device, and a text or a template."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.events.fields import check_contact_id
from headrace.domain.events.problems import read_object
from headrace.domain.json_fields import FieldReader
from headrace.domain.messages.email_request import read_variables

MEMBERS = ("app_id", "device_id", "title", "body", "template_id", "contact_id", "variables")


class PushTest(msgspec.Struct, frozen=True, kw_only=True):
    """A test to one device. Values of the text are checked with the push that they make."""

    app_id: Any
    device_id: Any
    #: None: a template.
    title: Any = None
    body: Any = None
    #: Whose draft is sent.
    template_id: str | None = None
    #: Whose data the template is rendered with; None: that of the contact of the device.
    contact_id: str | None = None
    variables: dict[str, Any] = {}


def decode_push_test(body: bytes) -> PushTest:
    """Decode a test.

    Raises:
        ApiError: 400 for the JSON, 422 with every problem listed.
    """
    check = FieldReader(read_object(body), MEMBERS, "a test")
    template_id = check.text("template_id", check_contact_id)
    if check.members.get("template_id") is None:
        check.require("app_id", "device_id", "title", "body")
        others, why = ("contact_id", "variables"), "needs a template_id"
    else:
        check.require("app_id", "device_id")
        others, why = ("title", "body"), "is that of the template"
    for name in others:
        if check.members.get(name) is not None:
            check.add(name, why)
    test = PushTest(
        app_id=check.members.get("app_id"),
        device_id=check.members.get("device_id"),
        title=check.members.get("title"),
        body=check.members.get("body"),
        template_id=template_id,
        contact_id=check.text("contact_id", check_contact_id),
        variables=read_variables(check) or {},
    )
    check.raise_if_any()
    return test

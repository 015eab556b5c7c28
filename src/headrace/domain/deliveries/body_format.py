"""Forms of the body that a webhook gets."""

from __future__ import annotations

from enum import StrEnum


class BodyFormat(StrEnum):
    """A closed list; stored with the webhook."""

    #: Type, time, and the event as the API shows it.
    HEADRACE = "headrace"
    #: CloudEvents 1.0 in structured mode, with the same event as its data.
    CLOUDEVENTS = "cloudevents"

    @property
    def content_type(self) -> str:
        """Media type of the body."""
        return _CONTENT_TYPES[self]


_CONTENT_TYPES = {
    BodyFormat.HEADRACE: "application/json",
    BodyFormat.CLOUDEVENTS: "application/cloudevents+json",
}


def check_format(text: str) -> BodyFormat:
    """The format of that name.

    Raises:
        ValueError: with a sentence for the caller.
    """
    try:
        return BodyFormat(text)
    except ValueError:
        message = f"must be one of {', '.join(BodyFormat)}"
        raise ValueError(message) from None

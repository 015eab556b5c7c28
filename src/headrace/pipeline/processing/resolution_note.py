"""What is noted with an event about its contact, for its trace: `events.resolution`.

JSON, or of nearly all events only reason and field, such as `matched external_id`: a note is stored
with every event, and the contact is stored beside it. Names of fields only, never their values.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.errors import as_written

#: Names of each kind that are noted; an event can write hundreds.
NAMES_NOTED_MAX = 20


class ConflictNoted(msgspec.Struct):
    """An identifier that belongs to another contact."""

    field: str
    other_contact_id: str


class KeptNoted(msgspec.Struct, omit_defaults=True):
    """A field that keeps its value."""

    field: str
    since_us: int
    #: Whether the event was only to set what nothing had set before.
    once: bool = False


class ResolutionNote(msgspec.Struct, omit_defaults=True):
    """Which contact, why, and what the event did to it."""

    reason: str
    by: str
    contact_id: str | None = None
    filled: list[str] = []
    #: Identifiers that the payload has changed or cleared.
    changed: list[str] = []
    conflicts: list[ConflictNoted] = []
    #: Of the other contacts in `conflicts`, the one that is merged into this contact.
    merging: str | None = None
    #: Fields of the event that hold a placeholder.
    placeholders: list[str] = []
    #: Names of properties that were set or removed.
    written: list[str] = []
    kept: list[KeptNoted] = []
    #: Property or member of the payload that was left out, and why.
    ignored: list[tuple[str, str]] = []
    #: How many more of `written`, `kept` and `ignored` there were.
    unnoted: int = 0

    def text(self) -> str:
        """JSON to keep with the event."""
        for name in ("written", "kept", "ignored"):
            noted = getattr(self, name)
            if len(noted) > NAMES_NOTED_MAX:
                self.unnoted += len(noted) - NAMES_NOTED_MAX
                setattr(self, name, noted[:NAMES_NOTED_MAX])
        return msgspec.json.encode(self).decode()


def plain_text(reason: str, by: str) -> str:
    """A note with only these two and the contact that is stored beside it."""
    return f"{reason} {by}"


def conflicts_noted(conflicts: Sequence[tuple[str, str]]) -> list[ConflictNoted]:
    """`(field, contact id of the other)`, noted."""
    return [ConflictNoted(field, other) for field, other in conflicts]


def kept_noted(
    kept: Sequence[tuple[str, int]], prefix: str = "properties.", *, once: bool = False
) -> list[KeptNoted]:
    """`(name, since)`, noted."""
    return [KeptNoted(f"{prefix}{as_written(name)}", since_us, once) for name, since_us in kept]


def read_note(text: str, contact_id: str | None) -> ResolutionNote | None:
    """Decode a stored note; None for one of a newer release.

    Args:
        contact_id: what is stored beside it.
    """
    reason, _, by = text.partition(" ")
    if by.isidentifier():
        return ResolutionNote(reason, by, contact_id)
    try:
        return msgspec.json.decode(text, type=ResolutionNote)
    except msgspec.DecodeError:
        return None

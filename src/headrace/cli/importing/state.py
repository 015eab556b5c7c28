"""Progress of an import, kept beside the file so that the next run continues from there."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from headrace.cli.shared.failure import usage
from headrace.private_files import replace_private


class State(msgspec.Struct):
    """Position after the last line with a response; saved after each batch."""

    #: See `lines.fingerprint`.
    fingerprint: str
    #: Server or store the lines were sent to.
    target: str
    offset: int = 0
    line: int = 0
    #: Length of the file of rejected lines; anything beyond belongs to an unfinished batch.
    rejected_bytes: int = 0
    #: Number of lines with a decision.
    decided: int = 0
    #: The same by result; see `kinds.Kind.counts`.
    counts: dict[str, int] = {}


class StateFile:
    """`FILE.import-state.json`; removed when an import is complete."""

    def __init__(self, source: Path) -> None:
        self.path = source.with_name(source.name + ".import-state.json")

    def load(self, fresh: State) -> State:
        """The state of an interrupted import of this file to this target, else `fresh`.

        Raises:
            CommandFailed: it belongs to another file or target.
        """
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=State)
        except FileNotFoundError:
            return fresh
        except (OSError, msgspec.MsgspecError) as error:
            raise usage(f"{self.path} cannot be read ({error}); --restart starts over") from None
        if found.fingerprint != fresh.fingerprint:
            raise usage(
                "The file has changed since its import was interrupted. --restart imports it as a "
                "new file: lines without an idempotency_key of their own are then stored again."
            )
        if found.target != fresh.target:
            raise usage(
                f"The interrupted import went to {found.target}, this one goes to {fresh.target}. "
                "Name the same target, or start over with --restart."
            )
        return found

    def save(self, state: State) -> None:
        """Replace the state atomically: a kill leaves the old one or the new one."""
        partial = self.path.with_name(self.path.name + ".partial")
        with os.fdopen(replace_private(partial), "wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)

    def remove(self) -> None:
        """Remove the state of a complete import."""
        self.path.unlink(missing_ok=True)

"""The file of secret keys beside an embedded store."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.domain.access.sealing import KEYS_MAX, SealingKey, new_key_text, parse_keys
from headrace.private_files import replace_private
from headrace.store.contract.errors import StoreSetupError


class KeyFile:
    """Keys in a file beside an embedded store: one per line, the first one seals.

    Older keys stay, so that processes that have not read the file again and backups of the store
    can still be opened; only their owner can read the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[SealingKey, ...]:
        """Its keys; none when there is no file.

        Raises:
            StoreSetupError: it cannot be read, or holds something else.
        """
        try:
            return parse_keys(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return ()
        except UnicodeDecodeError:
            reason = "it is no text in UTF-8"
        except OSError as error:
            reason = error.strerror or str(error)
        except ValueError as error:
            reason = f"each line {error}"
        message = f"The file of secret keys {self.path} cannot be used: {reason}"
        raise StoreSetupError(message)

    def add(self) -> tuple[SealingKey, ...]:
        """Put a new key before the others, durably; returns all of them.

        Raises:
            StoreSetupError: the file cannot be read or written.
        """
        texts = [new_key_text(), *(key.text for key in self.read())][:KEYS_MAX]
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            with os.fdopen(replace_private(fresh), "w") as file:
                file.write("".join(f"{text}\n" for text in texts))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            message = f"The file of secret keys {self.path} cannot be written: {error.strerror}"
            raise StoreSetupError(message) from error
        return self.read()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Parsed versions of automations."""

from __future__ import annotations

from collections import OrderedDict

from headrace.domain.automations.definition.parsing import parse_document
from headrace.domain.automations.running.version import Version
from headrace.store.automations.automations import find_version
from headrace.store.engine.transaction import Transaction

#: Versions that are kept parsed.
VERSIONS_KEPT = 256


class VersionCache:
    """Parsed versions, which never change."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], Version] = OrderedDict()

    async def get(self, tx: Transaction, automation_id: str, number: int) -> Version:
        """One version.

        Raises:
            LookupError: there is none, although a row refers to it.
        """
        key = (automation_id, number)
        found = self._kept.get(key)
        if found is None:
            stored = await find_version(tx, automation_id, number)
            document = None if stored is None else parse_document(stored.definition.encode())
            if document is None or document.definition is None:
                message = f"version {number} of automation {automation_id} cannot be read"
                raise LookupError(message)
            found = self._kept[key] = Version(automation_id, number, document.definition)
            if len(self._kept) > VERSIONS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return found

"""What a mail is composed of, read for one claimed message."""

from __future__ import annotations

from msgspec import structs

from headrace.domain.access.sealing import KeyRing, Purpose
from headrace.store.access.sealing import opened
from headrace.store.contacts.contact_writes import by_id
from headrace.store.contract.messages import Claimed, Material
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.messages.content.bodies import HTML, TEXT, read_parts
from headrace.store.messages.content.domains import BY_NAME, domain
from headrace.store.messages.content.templates import find_version
from headrace.store.messages.message_rows import find_content


class Materials:
    """Reads what mails are composed of, without taking the writer."""

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    async def read(self, claimed: Claimed) -> Material | None:
        """What to compose of; None when the e-mail or its template version is gone.

        Raises:
            SecretKeyError: the key of the domain cannot be opened.
        """
        found = await self._database.read(lambda tx: read_material(tx, claimed), snapshot=True)
        if found is None or found.domain is None:
            return found
        key = opened(self._keys, found.domain.dkim_key, Purpose.DKIM)
        return structs.replace(found, domain=structs.replace(found.domain, dkim_key=key))


async def read_material(tx: Transaction, claimed: Claimed) -> Material | None:
    """See `Materials.read`; in the caller's transaction."""
    message = claimed.message
    content = await find_content(tx, message)
    if content is None:
        return None
    version = None
    if content.template_version_id is not None:
        version = await find_version(tx, message.project_id, content.template_version_id)
        if version is None:
            return None
    parts: dict[str, bytes] = {}
    if message.email_id is not None:
        parts = await read_parts(tx, message.project_id, message.email_id)
    contact = None
    if message.contact_id is not None:
        contact = await by_id(tx, message.project_id, message.contact_id)
    row = await tx.row(BY_NAME, message.project_id, content.sender.domain)
    return Material(
        content=content,
        text=parts[TEXT].decode() if TEXT in parts else None,
        html=parts[HTML].decode() if HTML in parts else None,
        files=tuple(parts[str(number)] for number in range(len(content.files))),
        version=version,
        contact=contact,
        domain=None if row is None else domain(row),
    )

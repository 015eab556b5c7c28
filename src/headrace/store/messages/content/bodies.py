"""Bodies and files of direct sends, deduplicated by content; in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from headrace.domain.messages.email_request import EmailRequest
from headrace.domain.messages.places import lane_of_uuid
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

#: Names of the parts that are bodies; files are named by their number.
TEXT, HTML = "text", "html"

# `used_us` is updated, so that a concurrent removal finds the row changed and keeps it.
KEEP = sql(
    "INSERT INTO message_bodies (lane, project_id, hash, content, used_us) "
    "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (lane, project_id, hash) DO UPDATE SET "
    "used_us = greatest(message_bodies.used_us, excluded.used_us)"
)
_NAME = sql(
    "INSERT INTO email_parts (lane, email_id, part, project_id, hash) VALUES ($1, $2, $3, $4, $5)"
)
PARTS = sql("SELECT part, hash FROM email_parts WHERE lane = $1 AND email_id = $2 ORDER BY part")
READ = sql("SELECT content FROM message_bodies WHERE lane = $1 AND project_id = $2 AND hash = $3")
UNNAME = sql("DELETE FROM email_parts WHERE lane = $1 AND email_id = $2 RETURNING hash")
# Keeps contents that an e-mail began to use since, even in an uncommitted transaction.
DROP = sql(
    "DELETE FROM message_bodies WHERE lane = $1 AND project_id = $2 AND hash = $3 "
    "AND used_us <= $4 AND NOT EXISTS "
    "(SELECT 1 FROM email_parts p WHERE p.project_id = $2 AND p.hash = $3)"
)


def parts_of(request: EmailRequest) -> dict[str, bytes]:
    """Contents of a request by the name of their part."""
    parts = {str(number): one.data for number, one in enumerate(request.attachments)}
    if request.text is not None:
        parts[TEXT] = request.text.encode()
    if request.html is not None:
        parts[HTML] = request.html.encode()
    return parts


async def keep_parts(
    tx: Transaction, project_id: int, email_id: str, parts: Mapping[str, bytes], now_us: int
) -> None:
    """Keep the contents of an e-mail."""
    hashes = {part: blake2b(content, digest_size=16).digest() for part, content in parts.items()}
    # Always lock contents in this order, to avoid deadlocks.
    for part in sorted(parts, key=lambda part: hashes[part]):
        hashed = hashes[part]
        await tx.run(KEEP, hashed[0], project_id, hashed, parts[part], now_us)
    lane = lane_of_uuid(email_id)
    await tx.run_many(
        _NAME, [(lane, email_id, part, project_id, hashes[part]) for part in sorted(parts)]
    )


async def read_parts(tx: Transaction, project_id: int, email_id: str) -> dict[str, bytes]:
    """Contents of an e-mail by the name of their part."""
    found: dict[str, bytes] = {}
    for part, hashed in await tx.rows(PARTS, lane_of_uuid(email_id), email_id):
        content = await tx.value(READ, hashed[0], project_id, hashed)
        if content is not None:
            found[part] = bytes(content)
    return found


async def drop_parts(
    tx: Transaction, project_id: int, email_ids: Sequence[str], until_us: int
) -> int:
    """Remove unused contents of removed e-mails; returns how many."""
    hashes: set[bytes] = set()
    for email_id in sorted(email_ids):
        rows = await tx.rows(UNNAME, lane_of_uuid(email_id), email_id)
        hashes.update(bytes(row[0]) for row in rows)
    dropped = 0
    for hashed in sorted(hashes):
        dropped += await tx.run(DROP, hashed[0], project_id, hashed, until_us)
    return dropped

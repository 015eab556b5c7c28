"""Which stored secrets are sealed with which key, and sealing them with the current one."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headrace.domain.access.sealing import (
    KEY_ID_CHARACTERS,
    PREFIX,
    KeyRing,
    Purpose,
    SealedError,
    key_id_of,
)
from headrace.domain.deliveries.attempt_requests import (
    WebhookVersion,
    earlier_with,
    read_earlier,
)
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.deliveries.own_headers import decode
from headrace.store.access.audit import write_audit
from headrace.store.contract.errors import StoreError
from headrace.store.engine.dialect import Statement, sql
from headrace.store.engine.transaction import Database, Transaction

#: Secrets read at a time while all are sealed again.
BATCH = 500
_SEALED_CHARACTERS = len(PREFIX) + KEY_ID_CHARACTERS


class SecretKeyError(StoreError):
    """A stored secret cannot be opened by this process."""


class _Column(msgspec.Struct, frozen=True):
    """A column with secrets."""

    purpose: Purpose
    #: Starts of the values and how many have each.
    count: Statement
    #: Values that do not begin with `$1`, by id above `$2`, at most `$3`.
    others: Statement
    #: Replace a value, unless it was changed meanwhile.
    replace: Statement


def _column(table: str, column: str, purpose: Purpose) -> _Column:
    start = f"substr({column}, 1, {_SEALED_CHARACTERS})"
    # Plain secrets are one group: the start of one must not leave the database.
    group = f"CASE WHEN {column} LIKE '{PREFIX}%' THEN {start} ELSE '' END"
    return _Column(
        purpose,
        count=sql(
            f"SELECT {group}, count(*) FROM {table} WHERE {column} IS NOT NULL GROUP BY {group}"
        ),
        others=sql(
            f"SELECT id, {column} FROM {table} "
            f"WHERE {column} IS NOT NULL AND {start} <> $1 AND id > $2 ORDER BY id LIMIT $3"
        ),
        replace=sql(f"UPDATE {table} SET {column} = $3 WHERE id = $1 AND {column} = $2"),
    )


COLUMNS = (
    _column("subscribers", "secret", Purpose.WEBHOOK),
    _column("subscribers", "previous_secret", Purpose.WEBHOOK),
    _column("subscribers", "header_values", Purpose.WEBHOOK),
    _column("domains", "dkim_key", Purpose.DKIM),
    _column("push_apps", "vapid_private_key", Purpose.VAPID),
)


class Sealed(msgspec.Struct, frozen=True):
    """How the secrets of a store are stored."""

    #: Key id -> secrets sealed with it.
    by_key: dict[str, int]
    plain: int

    @property
    def total(self) -> int:
        """All secrets."""
        return self.plain + sum(self.by_key.values())


async def sealed_secrets(database: Database) -> Sealed:
    """Count the secrets of a store by key."""

    async def read(tx: Transaction) -> Sealed:
        by_key: dict[str, int] = {}
        plain = 0
        for column in COLUMNS:
            for start, count in await tx.rows(column.count):
                if start:
                    key_id = start.removeprefix(PREFIX)
                    by_key[key_id] = by_key.get(key_id, 0) + count
                else:
                    plain += count
        return Sealed(by_key, plain)

    return await database.read(read)


async def seal_all(database: Database, ring: KeyRing, now_us: int, *, actor: str) -> int:
    """Seal every secret with the first key of the ring, in one transaction; returns how many.

    Raises:
        SecretKeyError: one was sealed with a key that is not in the ring; nothing is changed.
    """

    async def work(tx: Transaction) -> int:
        sealed = 0
        for column in COLUMNS:
            sealed += await _seal_column(tx, column, ring)
        if sealed:
            detail = {"key": ring.ids[0], "secrets": sealed}
            await write_audit(tx, now_us, actor, None, "secrets.seal", detail)
        return sealed

    return await database.write(work)


async def _seal_column(tx: Transaction, column: _Column, ring: KeyRing) -> int:
    start, after, sealed = PREFIX + ring.ids[0], "", 0
    while rows := await tx.rows(column.others, start, after, BATCH):
        for row_id, text in rows:
            fresh = ring.seal(opened(ring, text, column.purpose), column.purpose)
            sealed += await tx.run(column.replace, row_id, text, fresh)
        after = rows[-1][0]
    return sealed


_SECRETS = sql("SELECT id, secret, previous_secret FROM subscribers WHERE secret IS NOT NULL")
_HEADERS = sql(
    "SELECT id, header_values, version, target, header_names, "
    "format, earlier FROM subscribers "
    "WHERE header_values IS NOT NULL"
)
# Requests without them could be rejected for good, so deliveries wait for new ones.
_NO_HEADERS = sql(
    "UPDATE subscribers SET header_names = NULL, header_values = NULL, "
    "paused_us = coalesce(paused_us, $2), resume_per_second = NULL, resume_from_us = NULL, "
    "version = version + 1, earlier = $3 WHERE id = $1"
)
_NEW_SECRET = sql(
    "UPDATE subscribers SET secret = $2, previous_secret = NULL, previous_until_us = NULL "
    "WHERE id = $1"
)
_DKIM_KEYS = sql("SELECT id, dkim_key FROM domains")
_NEW_DKIM_KEY = sql(
    "UPDATE domains SET dkim_key = $2, status = 'pending', verified_us = NULL, "
    "verified_by = NULL WHERE id = $1"
)
_VAPID_KEYS = sql("SELECT id, vapid_private_key FROM push_apps")
_NEW_VAPID_KEYS = sql(
    "UPDATE push_apps SET vapid_public_key = $2, vapid_private_key = $3 WHERE id = $1"
)


class Replaced(msgspec.Struct, frozen=True):
    """How many of each got a new secret."""

    webhooks: int
    domains: int
    push_apps: int
    #: Webhooks whose own headers are gone; they are paused.
    headers: int = 0


async def replace_lost(
    database: Database,
    ring: KeyRing,
    now_us: int,
    *,
    new_secret: Callable[[], str],
    new_dkim_key: Callable[[], str],
    new_vapid_keys: Callable[[], tuple[str, str]],
    actor: str,
) -> Replaced:
    """Replace secrets whose key is not in the ring by new ones, in one transaction.

    Receivers of these webhooks need the new secret, the domains have to be verified again, and
    browsers subscribe again when their page is opened. Own headers of webhooks cannot be replaced:
    they are removed, and their webhooks are paused.

    Args:
        new_vapid_keys: makes a public and a private key.
    """

    def is_lost(text: str | None) -> bool:
        key_id = None if text is None else key_id_of(text)
        return key_id is not None and key_id not in ring.ids

    async def work(tx: Transaction) -> Replaced:
        webhooks = [row[0] for row in await tx.rows(_SECRETS) if any(map(is_lost, row[1:]))]
        domains = [row[0] for row in await tx.rows(_DKIM_KEYS) if is_lost(row[1])]
        for webhook_id in webhooks:
            await tx.run(_NEW_SECRET, webhook_id, ring.seal(new_secret(), Purpose.WEBHOOK))
        for domain_id in domains:
            await tx.run(_NEW_DKIM_KEY, domain_id, ring.seal(new_dkim_key(), Purpose.DKIM))
        apps = [row[0] for row in await tx.rows(_VAPID_KEYS) if is_lost(row[1])]
        for app_id in apps:
            public, private = new_vapid_keys()
            await tx.run(_NEW_VAPID_KEYS, app_id, public, ring.seal(private, Purpose.VAPID))
        bare = [row for row in await tx.rows(_HEADERS) if is_lost(row[1])]
        for webhook_id, _, number, url, names, body_format, earlier in bare:
            before = WebhookVersion(number, url, decode(names), BodyFormat(body_format))
            kept = earlier_with(before, read_earlier(earlier))
            await tx.run(_NO_HEADERS, webhook_id, now_us, kept)
        done = Replaced(len(webhooks), len(domains), len(apps), len(bare))
        if webhooks or domains or apps or bare:
            detail = msgspec.structs.asdict(done)
            await write_audit(tx, now_us, actor, None, "secrets.replace_lost", detail)
        return done

    return await database.write(work)


def opened(ring: KeyRing, text: str, purpose: Purpose) -> str:
    """The secret of a stored text.

    Raises:
        SecretKeyError: its key is not there, or it was altered.
    """
    try:
        return ring.open(text, purpose)
    except SealedError as error:
        message = f"{error}; see HEADRACE_SECRET_KEY"
        raise SecretKeyError(message) from None

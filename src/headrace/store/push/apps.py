"""Push apps; every change is audited in its transaction."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.access.sealing import KeyRing, Purpose
from headrace.domain.push.app_requests import WORKER_PATH, WORKER_SCOPE, PushAppFields
from headrace.domain.push.devices import new_app_id
from headrace.store.access.audit import write_audit
from headrace.store.access.automation_use import reject_used
from headrace.store.access.sealing import opened
from headrace.store.contract.errors import StoreConflictError
from headrace.store.contract.push import APPS_MAX, PushApp
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Database, Row, Transaction

COLUMNS = (
    "id, project_id, name, origins, vapid_public_key, vapid_private_key, worker_path, "
    "worker_scope, fcm_app, created_us, updated_us"
)
#: Of any project: clients name nothing but the app.
FIND = sql(f"SELECT {COLUMNS} FROM push_apps WHERE id = $1")
_GET_TEXT = f"SELECT {COLUMNS} FROM push_apps WHERE project_id = $1"
GET = sql(f"{_GET_TEXT} AND id = $2")
BY_NAME = sql(f"{_GET_TEXT} AND name = $2")
LIST = sql(f"{_GET_TEXT} AND created_us < $2 ORDER BY created_us DESC LIMIT $3")
_INSERT = sql(
    f"INSERT INTO push_apps ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
_COUNT = sql("SELECT count(*), coalesce(max(created_us), 0) FROM push_apps WHERE project_id = $1")
# Serializes names and creation times of a project.
_LOCK = sql("SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE")
_UPDATE = sql(
    "UPDATE push_apps SET name = $3, origins = $4, worker_path = $5, worker_scope = $6, "
    "fcm_app = $7, updated_us = $8 "
    "WHERE project_id = $1 AND id = $2"
)
_DELETE = sql("DELETE FROM push_apps WHERE project_id = $1 AND id = $2")


class TooManyAppsError(Exception):
    """The project has `APPS_MAX` push apps."""


class PushApps:
    """Push apps of all projects. A name that is taken raises `StoreConflictError`.

    Args:
        keys: seal the private keys.
    """

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    async def create(
        self,
        project_id: int,
        fields: PushAppFields,
        now_us: int,
        *,
        vapid: tuple[str, str],
        actor: str,
    ) -> PushApp:
        """Create an app.

        Args:
            fields: with a name; what is absent gets its default.
            vapid: public key in base64url, private key in PEM.

        Raises:
            TooManyAppsError: there are `APPS_MAX` already.
        """

        async def work(tx: Transaction) -> PushApp:
            await tx.rows(_LOCK, project_id)
            await _reject_taken(tx, project_id, fields.name)
            count, newest_us = await tx.row(_COUNT, project_id) or (0, 0)
            if count >= APPS_MAX:
                raise TooManyAppsError
            made_us = max(now_us, newest_us + 1)
            app_id = new_app_id()
            sealed = self._keys.seal(vapid[1], Purpose.VAPID)
            origins = fields.origins or ()
            await tx.run(
                _INSERT,
                *(app_id, project_id, fields.name, _origins_text(origins), vapid[0], sealed),
                *(fields.worker_path or WORKER_PATH, fields.worker_scope or WORKER_SCOPE),
                *(fields.fcm_app or None, made_us, made_us),
            )
            detail = {"push_app": app_id, "name": fields.name, "origins": list(origins)}
            await write_audit(tx, now_us, actor, project_id, "push_app.create", detail)
            made = await _one(tx, project_id, app_id)
            assert made is not None
            return made

        return await self._database.write(work)

    def private_key(self, app: PushApp) -> str:
        """The private VAPID key of an app, in PEM.

        Raises:
            SecretKeyError: it cannot be opened.
        """
        return opened(self._keys, app.vapid_private_key, Purpose.VAPID)

    async def find(self, app_id: str) -> PushApp | None:
        """An app of any project."""
        row = await self._database.read(lambda tx: tx.row(FIND, app_id))
        return None if row is None else push_app(row)

    async def get(self, project_id: int, app_id: str) -> PushApp | None:
        """One app, None when the project has no such app."""
        return await self._database.read(lambda tx: _one(tx, project_id, app_id))

    async def by_name(self, project_id: int, name: str) -> PushApp | None:
        """The app of that name."""
        row = await self._database.read(lambda tx: tx.row(BY_NAME, project_id, name))
        return None if row is None else push_app(row)

    async def list(self, project_id: int, *, before: int | None, limit: int) -> Sequence[PushApp]:
        """Apps of a project, newest first, created before `before`."""
        below = BIGINT_MAX if before is None else before
        rows = await self._database.read(lambda tx: tx.rows(LIST, project_id, below, limit))
        return [push_app(row) for row in rows]

    async def update(
        self, project_id: int, app_id: str, fields: PushAppFields, now_us: int, *, actor: str
    ) -> PushApp | None:
        """Change an app; None leaves a field as it is. None when there is no such app."""

        async def work(tx: Transaction) -> PushApp | None:
            await tx.rows(_LOCK, project_id)
            held = await _one(tx, project_id, app_id)
            if held is None:
                return None
            name = held.name if fields.name is None else fields.name
            if name != held.name:
                await _reject_taken(tx, project_id, name)
            origins = held.origins if fields.origins is None else fields.origins
            fcm_app = held.fcm_app if fields.fcm_app is None else fields.fcm_app or None
            await tx.run(
                _UPDATE,
                *(project_id, app_id, name, _origins_text(origins)),
                *(fields.worker_path or held.worker_path, fields.worker_scope or held.worker_scope),
                *(fcm_app, max(now_us, held.updated_us)),
            )
            detail = {"push_app": app_id, "name": name, "origins": list(origins)}
            await write_audit(tx, now_us, actor, project_id, "push_app.update", detail)
            return await _one(tx, project_id, app_id)

        return await self._database.write(work)

    async def delete(
        self, project_id: int, app_id: str, now_us: int, *, force: bool = False, actor: str
    ) -> bool:
        """Delete an app. Its devices are removed by retention. False when there is none.

        Args:
            force: also if automations use it.

        Raises:
            UsedByAutomationsError: automations use it.
        """

        async def work(tx: Transaction) -> bool:
            held = await _one(tx, project_id, app_id)
            if held is None:
                return False
            if not force:
                await reject_used(tx, project_id, app_id)
            await tx.run(_DELETE, project_id, app_id)
            detail = {"push_app": app_id, "name": held.name}
            await write_audit(tx, now_us, actor, project_id, "push_app.delete", detail)
            return True

        return await self._database.write(work)


async def _reject_taken(tx: Transaction, project_id: int, name: str | None) -> None:
    if await tx.row(BY_NAME, project_id, name) is not None:
        field = "name"
        raise StoreConflictError(field)


async def _one(tx: Transaction, project_id: int, app_id: str) -> PushApp | None:
    row = await tx.row(GET, project_id, app_id)
    return None if row is None else push_app(row)


def _origins_text(origins: Sequence[str]) -> str:
    return msgspec.json.encode(list(origins)).decode()


def push_app(row: Row) -> PushApp:
    """The app of a row of `COLUMNS`."""
    values = dict(zip(COLUMNS.split(", "), row, strict=True))
    values["origins"] = msgspec.json.decode(values["origins"], type=tuple[str, ...])
    return PushApp(**values)

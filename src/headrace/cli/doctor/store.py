"""Checks of the store: what the database itself reports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from headrace.cli.doctor.finding import Finding, fail, ok, warn
from headrace.cli.doctor.retention import Kept, check_retention, look_at_retention
from headrace.cli.doctor.surroundings import check_clock
from headrace.cli.shared.stores import in_store
from headrace.config import Settings
from headrace.domain.ids import first_sequence_at
from headrace.domain.timestamps import now_us
from headrace.store.access.sealing import Sealed, sealed_secrets
from headrace.store.contract.errors import StoreError
from headrace.store.contract.health import StoreHealth
from headrace.store.store import Store

#: What the durability of a 202 rests on, by kind of store.
DURABLE = {
    "sqlite": {"journal_mode": {"wal"}, "synchronous": {"full"}},
    "postgresql": {
        "fsync": {"on"},
        "full_page_writes": {"on"},
        "synchronous_commit": {"on", "remote_apply"},
    },
}
#: A log larger than this is kept from being truncated by an open snapshot.
LOG_BYTES_MAX = 256 * 1024 * 1024
_SEQUENCES_A_MILLISECOND = first_sequence_at(1000)
_MIB = 1024 * 1024


class Secrets(msgspec.Struct, frozen=True):
    """How secrets are stored, and the ids of the keys of this process."""

    stored: Sealed
    key_ids: tuple[str, ...]


def check_store(settings: Settings) -> list[Finding]:
    """All findings about the store; changes nothing."""
    from headrace.stores import schema_versions, store_url

    at_us = now_us()
    try:
        url = store_url(settings.store)
    except StoreError as error:
        return [fail("store", "not the address of a store", str(error)), check_clock(at_us, 0)]
    try:
        if url.path is not None and not url.path.exists():
            return [_missing(url.path), check_clock(at_us, 0)]
        current, newest = asyncio.run(schema_versions(settings))
        if current != newest:
            return [ok("store", url.shown), _schema(current, newest), check_clock(at_us, 0)]
        health, last, kept, secrets, is_held = in_store(settings, _look)
    except StoreError as error:
        return [fail("store", url.shown, str(error)), check_clock(at_us, 0)]
    newest_us = last // _SEQUENCES_A_MILLISECOND * 1000
    return [
        *_report(health, newest, settings.disk_free_min_bytes),
        _secrets(secrets),
        _work(is_held=is_held),
        *check_retention(kept, health, at_us, settings.disk_free_min_bytes),
        check_clock(at_us, newest_us),
    ]


async def _look(store: Store) -> tuple[StoreHealth, int, Kept, Secrets, bool]:
    last = await store.events.last_sequence()
    secrets = Secrets(await sealed_secrets(store.database), store.secret_keys.ids)
    is_held = await store.held_work.get() is not None
    return await store.health(), last, await look_at_retention(store), secrets, is_held


def _work(*, is_held: bool) -> Finding:
    if is_held:
        found = "held after a restore: events are accepted, and workers do nothing"
        return warn("work", found, "See what waits, and decide: headrace release")
    return ok("work", "not held")


def _secrets(secrets: Secrets) -> Finding:
    # Opening the store has already rejected a key that is missing.
    stored = secrets.stored
    if not secrets.key_ids:
        found = f"{stored.plain} webhook secrets and DKIM keys are stored in plain"
        advice = "Set HEADRACE_SECRET_KEY on every process, such as: openssl rand -base64 32"
        return warn("secrets", found, advice)
    current = secrets.key_ids[0]
    older = stored.total - stored.by_key.get(current, 0)
    if older:
        found = f"{older} of {stored.total} are not sealed with the current key {current}"
        return warn("secrets", found, "Seal them again: headrace secrets rotate")
    return ok("secrets", f"{stored.total} sealed with key {current}")


def _missing(path: Path) -> Finding:
    folder = next(each for each in path.absolute().parents if each.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        return fail("store", f"{path} does not exist", f"Make {folder} writable for this user.")
    return warn("store", f"{path} does not exist", "The first start creates it: headrace serve")


def _schema(current: int, newest: int) -> Finding:
    found = f"{current}, this release has {newest}"
    if current > newest:
        return fail("schema", found, "Run the newer release that created the store.")
    return fail("schema", found, "Bring it up to date: headrace migrate")


def _report(health: StoreHealth, newest: int, free_bytes_min: int) -> Iterator[Finding]:
    size = f"{health.size_bytes / _MIB:.1f} MiB"
    if health.problem:
        yield fail("store", f"{health.location}, {size}", health.problem)
    else:
        yield ok("store", f"{health.location}, {size}")
    # Opening the store already rejects a library that is too old.
    yield ok("database", f"{health.kind} {health.version}")
    yield ok("schema", str(newest))
    yield _durability(health)
    if health.kind == "postgresql":
        yield _vacuum(health.vacuum_problems)
    if health.free_bytes is not None:
        yield _modes(health.exposed_files)
        yield _log(health.log_bytes)
        yield _disk(health.free_bytes, free_bytes_min)


def _modes(exposed: list[str]) -> Finding:
    # Opening the store has already fixed the modes that this user may change.
    if exposed:
        found = f"readable by other users: {', '.join(exposed)}"
        return warn("file modes", found, "Run chmod 600 on each of them, as their owner.")
    return ok("file modes", "0600, owner only")


def _log(log_bytes: int) -> Finding:
    found = f"{log_bytes / _MIB:.1f} MiB"
    if log_bytes > LOG_BYTES_MAX:
        return warn("log", found, "Stop long reads of the store, such as a backup.")
    return ok("log", found)


def _vacuum(problems: list[str]) -> Finding:
    if problems:
        advice = "Tables will grow and slow down. Restore these settings, see docs/operations.md."
        return warn("vacuum", ", ".join(problems), advice)
    return ok("vacuum", "autovacuum is on, with the settings that the tables need")


def _durability(health: StoreHealth) -> Finding:
    found = ", ".join(f"{name}={value}" for name, value in health.durability.items())
    wrong = [
        f"{name} must be {' or '.join(sorted(values))}"
        for name, values in DURABLE.get(health.kind, {}).items()
        if health.durability.get(name) not in values
    ]
    if wrong:
        return fail(
            "durability", found, f"An event answered 202 could be lost: {', '.join(wrong)}."
        )
    return ok("durability", found)


def _disk(free_bytes: int, free_bytes_min: int) -> Finding:
    found = f"{free_bytes // _MIB} MiB free, ingest stops below {free_bytes_min // _MIB} MiB"
    if free_bytes < free_bytes_min:
        return fail(
            "disk", found, "Free disk space, shorten event_retention_days, or move the store."
        )
    if free_bytes < 4 * free_bytes_min:
        return warn("disk", found, "Free disk space soon, or shorten event_retention_days.")
    return ok("disk", found)

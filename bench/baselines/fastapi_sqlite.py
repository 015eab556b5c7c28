"""A typical hand-written endpoint: FastAPI, pydantic, sqlite3, one commit a request.

Run by `uvicorn --factory bench.baselines.fastapi_sqlite:create_app`, with `BASELINE_DB` as the
path of the database and `BASELINE_API_KEY` as the one key it accepts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from fastapi import Depends, FastAPI, HTTPException, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    EmailStr,
    StringConstraints,
    model_validator,
)

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id              TEXT PRIMARY KEY,
    event           TEXT NOT NULL,
    contact_id      TEXT,
    external_id     TEXT,
    email           TEXT,
    payload         TEXT NOT NULL,
    occurred_at     TEXT NOT NULL,
    received_at     TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    status          TEXT NOT NULL DEFAULT 'accepted'
);
CREATE INDEX IF NOT EXISTS events_by_external_id ON events (external_id);
CREATE INDEX IF NOT EXISTS events_pending ON events (received_at) WHERE status = 'accepted';
"""
INSERT = """
INSERT INTO events (id, event, contact_id, external_id, email, payload,
                    occurred_at, received_at, idempotency_key)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (idempotency_key) DO NOTHING
"""

EventName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$", max_length=200)
]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=255)]
bearer = HTTPBearer()


class EventIn(BaseModel):
    """The request."""

    model_config = ConfigDict(extra="forbid")

    event: EventName
    contact_id: uuid.UUID | None = None
    external_id: Identifier | None = None
    email: EmailStr | None = None
    payload: dict[str, Any] = {}
    occurred_at: AwareDatetime | None = None
    idempotency_key: Identifier | None = None

    @model_validator(mode="after")
    def names_somebody(self) -> Self:
        """Reject an event without an identity."""
        if self.contact_id is None and self.external_id is None and self.email is None:
            message = "one of contact_id, external_id or email is required"
            raise ValueError(message)
        return self


class EventOut(BaseModel):
    """The response for an event."""

    id: str
    event: str
    occurred_at: datetime
    resolved_identity_type: str | None = None
    resolved_identity_value: str | None = None
    deduplicated: bool | None = None


class Answer(BaseModel):
    """The envelope of the response."""

    data: EventOut


def open_database(path: str) -> sqlite3.Connection:
    """Open the database durably: WAL, and a commit waits for the disk."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA busy_timeout = 5000")
    database.executescript(SCHEMA)
    return database


def create_app() -> FastAPI:
    """Make the application with one connection to its database."""
    app = FastAPI()
    database = open_database(os.environ["BASELINE_DB"])
    key_hash = hashlib.sha256(os.environ["BASELINE_API_KEY"].encode()).digest()

    async def authenticated(
        credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
    ) -> None:
        given = hashlib.sha256(credentials.credentials.encode()).digest()
        if not hmac.compare_digest(given, key_hash):
            raise HTTPException(status_code=401)

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        return {"status": "ok"}

    @app.post(
        "/events",
        status_code=202,
        response_model_exclude_none=True,
        dependencies=[Depends(authenticated)],
    )
    async def ingest(event: EventIn, response: Response) -> Answer:
        # Each statement is its own transaction: the insert has reached the disk when it returns.
        stored = store(database, event)
        if stored.deduplicated:
            response.status_code = 200
        return Answer(data=stored)

    return app


def store(database: sqlite3.Connection, event: EventIn) -> EventOut:
    """Insert the event, or find the one that had its idempotency key first."""
    now = datetime.now(UTC)
    event_id = str(uuid.uuid4())
    occurred_at = event.occurred_at or now
    contact_id = str(event.contact_id) if event.contact_id else None
    row = (
        event_id,
        event.event,
        contact_id,
        event.external_id,
        event.email,
        json.dumps(event.payload),
        occurred_at.isoformat(),
        now.isoformat(),
        event.idempotency_key,
    )
    if database.execute(INSERT, row).rowcount == 0:
        first = database.execute(
            "SELECT id, event, occurred_at FROM events WHERE idempotency_key = ?",
            (event.idempotency_key,),
        ).fetchone()
        return EventOut(id=first[0], event=first[1], occurred_at=first[2], deduplicated=True)
    named = (("contact_id", contact_id), ("external_id", event.external_id), ("email", event.email))
    kind, value = next((kind, value) for kind, value in named if value is not None)
    return EventOut(
        id=event_id,
        event=event.event,
        occurred_at=occurred_at,
        resolved_identity_type=kind,
        resolved_identity_value=value,
    )

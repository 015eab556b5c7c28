"""Names of all log events.

A log line is one of these plus fields: ids, sizes and codes, never a payload, a key or an address.
"""

from __future__ import annotations

SERVER_STARTED = "server.started"
SERVER_STOPPING = "server.stopping"
SERVER_STOPPED = "server.stopped"
STORE_OPENED = "store.opened"
STORE_MIGRATING = "store.migrating"
STORE_MIGRATED = "store.migrated"
STORE_FAILED = "store.failed"
STORE_UNAVAILABLE = "store.unavailable"
STORE_EXPOSED = "store.exposed"
ACCESS_REFRESH_FAILED = "access.refresh_failed"
DISK_LOW = "disk.low"
DISK_ENOUGH = "disk.enough"
REJECTIONS_DROPPED = "rejections.dropped"
REQUEST_FAILED = "request.failed"
KEY_USES_LOST = "key_uses.lost"
LOOP_FAILED = "loop.failed"
LIBRARY_WARNED = "library.warned"
RETENTION_SWEPT = "retention.swept"
RETENTION_CLOCK_DOUBTED = "retention.clock_doubted"
RULES_REFRESH_FAILED = "rules.refresh_failed"
LEADERSHIP_ACQUIRED = "leadership.acquired"
EVENT_FAILED = "event.failed"
CATALOG_FAILED = "catalog.failed"
WORKER_STARTED = "worker.started"
WORKER_STOPPED = "worker.stopped"
WORKER_DIED = "worker.died"
DELIVERIES_RESCUED = "deliveries.rescued"
ERASURE_DONE = "erasure.done"
AUTOMATION_FAILED = "automation.failed"
DELIVERY_DROPPED = "delivery.dropped"
MESSAGES_RESCUED = "messages.rescued"
MAIL_RELAY_HELD = "mail.relay_held"
MAIL_SENDER_REJECTED = "mail.sender_rejected"
MAIL_BOUNCES_UNREADABLE = "mail.bounces_unreadable"
MAIL_BOUNCE_FAILED = "mail.bounce_failed"

ALL = tuple(value for name, value in sorted(globals().items()) if name.isupper())

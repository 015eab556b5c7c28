"""Python handlers: functions that receive events, instead of an HTTP endpoint.

from headrace.delivery.handlers import Event, Permanent, on

@on("order.completed")
async def thank(event: Event) -> None:
if not event.email:
raise Permanent("nobody to write to")
...
"""

from headrace.delivery.handlers.event import Event
from headrace.delivery.handlers.loading import load_handlers
from headrace.delivery.handlers.registry import (
    Handler,
    HandlerRegistry,
    Permanent,
    on,
    registered,
)
from headrace.delivery.handlers.transport import HandlerLimits, HandlerTransport

__all__ = [
    "Event",
    "Handler",
    "HandlerLimits",
    "HandlerRegistry",
    "HandlerTransport",
    "Permanent",
    "load_handlers",
    "on",
    "registered",
]

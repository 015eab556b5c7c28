"""`/healthz`, `/readyz` and `/metrics`: for load balancers and operators."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.http.routing.context import Services, json_response
from headrace.http.routing.route import PUBLIC, get, ok, unavailable, whole
from headrace.http.routing.schema import about
from headrace.observability.metrics import StoreStats, render_metrics
from headrace.pipeline.delivering.breakers import pauses
from headrace.store.contract.errors import StoreError
from headrace.store.store import Store


class Health(msgspec.Struct):
    """Liveness of the process."""

    status: Literal["ok"]


class Readiness(msgspec.Struct, omit_defaults=True):
    """Whether the server accepts events."""

    status: Literal["ready", "not_ready"]
    reason: Annotated[str | None, about("Why the server is not ready.")] = None
    worker: Annotated[str | None, about("Why the worker of this server is not working.")] = None


def _services(request: Request) -> Services:
    services: Services = request.scope["state"]["services"]
    return services


async def healthz(request: Request) -> Response:
    """200 while the process responds at all."""
    del request
    return json_response({"data": Health("ok")})


async def readyz(request: Request) -> Response:
    """200 when events can be accepted now, else 503 with the reason.

    The worker's state is reported but does not count: events are accepted without it.
    """
    services = _services(request)
    reason = await _not_ready(services)
    problem = services.worker_problem() if services.worker_problem is not None else None
    if reason is None:
        return json_response({"data": Readiness("ready", worker=problem)})
    response = json_response({"data": Readiness("not_ready", reason, problem)}, 503)
    response.headers["retry-after"] = "1"
    return response


async def _not_ready(services: Services) -> str | None:
    if services.stopping.is_set():
        return "stopping"
    if services.acceptor.blocked is not None:
        return services.acceptor.blocked.message
    if problem := services.acceptor.queue.problem():
        return problem
    try:
        health = await services.store.health()
    except StoreError as error:
        return str(error)
    return health.problem or None


async def metrics(request: Request) -> Response:
    """Prometheus text format."""
    services = _services(request)
    try:
        stats = await _store_stats(services.store)
    except StoreError:
        stats = None
    text = render_metrics(
        services.acceptor.stats,
        services.store.commit_stats,
        queue_depth=services.acceptor.queue.depth,
        stats=stats,
        now_us=services.clock_us(),
        worker_ready=None if services.worker_problem is None else not services.worker_problem(),
        blocked=services.acceptor.blocked is not None
        or services.acceptor.queue.problem() is not None,
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def _store_stats(store: Store) -> StoreStats:
    deliveries = await store.delivery_counts.numbers()
    return StoreStats(
        health=await store.health(),
        retention=await store.retention.state(),
        work=await store.processing.stats(),
        deliveries=deliveries,
        breakers_open=sum(map(pauses, deliveries.breakers)),
        alerts=await store.alerts.open_by_kind(),
    )


ROUTES = (
    get(
        "/healthz",
        healthz,
        PUBLIC,
        name="healthz",
        summary="Whether the process is alive",
        responses=(ok("It is alive.", Health),),
    ),
    get(
        "/readyz",
        readyz,
        PUBLIC,
        name="readyz",
        summary="Whether the server accepts events",
        responses=(ok("Ready.", Readiness), unavailable("Not ready, with the reason.", Readiness)),
    ),
    get(
        "/metrics",
        metrics,
        PUBLIC,
        name="metrics",
        summary="Metrics in the text format of Prometheus",
        responses=(whole("All metrics.", {"type": "string"}, media="text/plain"),),
    ),
)

"""Workers crash with claimed deliveries, killed from outside and by handlers.

Only a delivery that crashes its process each time, the last one with no other work, becomes poison.
Everything else is delivered, whatever crashes around it.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headrace.delivery.webhook.signing import new_secret
from headrace.domain.timestamps import now_us
from headrace.store.contract.deliveries import NewWebhook
from tests.delivery.receiver import Behaviour, Exchange, answers, receiver
from tests.support.deliveries import Queue
from tests.support.events import new_event
from tests.support.places import PLACES, Place
from tests.support.server import HEADRACE, clean_environment
from tests.support.session import StoreSession
from tests.support.waiting import wait_until

STOP_SECONDS_MAX = 15.0
SETTLED_SECONDS_MAX = 60.0
#: Each records its calls. Slow ones wait until the test says `go`.
HANDLERS = """
import asyncio, ctypes, os, signal, time
from pathlib import Path
from headrace.delivery.handlers import Event, on

HERE = Path(__file__).parent


def note(name, event):
    with (HERE / "calls").open("a") as file:
        file.write(f"{name} {event.delivery_id} {os.getpid()}\\n")


@on("shop.*", name="healthy")
async def healthy(event: Event) -> None:
    note("healthy", event)


@on("shop.*", name="slow")
def slow(event: Event) -> None:
    note("slow", event)
    until = time.monotonic() + event.payload["seconds"]
    while time.monotonic() < until and not (HERE / "go").exists():
        time.sleep(0.01)


@on("shop.exit", name="exits")
def exits(event: Event) -> None:
    note("exits", event)
    os._exit(1)


@on("shop.crash", name="crashes")
async def crashes(event: Event) -> None:
    note("crashes", event)
    ctypes.string_at(0)


@on("shop.kill", "shop.exit", name="killed")
def killed(event: Event) -> None:
    note("killed", event)
    os.kill(os.getpid(), signal.SIGKILL)


@on("shop.order", name="raises once")
def raises_once(event: Event) -> None:
    note("raises once", event)
    if event.attempt == 1:
        raise ValueError("not yet")
"""
#: Events, and the handlers that crash their process over each.
KILLERS = {
    "shop.exit": {"exits", "killed"},
    "shop.crash": {"crashes"},
    "shop.kill": {"killed"},
}
_DELIVERIES = (
    "SELECT s.target, e.event, d.state, d.id FROM deliveries AS d "
    "JOIN subscribers AS s ON s.id = d.subscriber_id JOIN events AS e ON e.sequence = d.sequence"
)
_UNPROCESSED = "SELECT count(*) FROM event_queue"
_DEAD = (
    "SELECT s.target, l.event, l.cause FROM dead_letters AS l "
    "LEFT JOIN subscribers AS s ON s.id = l.subscriber_id"
)
DELIVERED, DEAD_LETTERED = 3, 4


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    made = PLACES[request.param](tmp_path)
    yield made
    made.remove()


@pytest.fixture
def session(place: Place) -> Iterator[StoreSession]:
    opened = StoreSession(place)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "crashing_handlers.py").write_text(HANDLERS)
    return tmp_path


class Workers:
    """Workers that are restarted whenever they crash."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.deaths = 0
        #: Of the next worker to start.
        self.environment: dict[str, str] = {}
        self._url = place.url
        self._folder = folder
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = False

    async def _start(self) -> asyncio.subprocess.Process:
        environment, self.environment = self.environment, {}
        allowed = {"HEADRACE_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}
        with (self._folder / "workers.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(*HEADRACE, "worker", "--store", self._url, "--handlers", "crashing_handlers"),
                env=clean_environment(allowed | environment),
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def keep(self) -> None:
        """Keep one running until `stop`."""
        while not self._stopping:
            process = await self._start()
            self._running[process.pid] = process
            await process.wait()
            del self._running[process.pid]
            self.deaths += 1

    async def kill(self, rng: random.Random) -> None:
        """Kill one like the system does when memory is short; another is started."""
        if self._running:
            process = self._running[rng.choice(sorted(self._running))]
            process.kill()
            await process.wait()

    async def stop(self) -> None:
        self._stopping = True
        for process in [*self._running.values()]:
            process.kill()


class Deployment:
    """A store with webhooks and handlers, and workers on it."""

    def __init__(self, session: StoreSession, folder: Path, *, attempts_max: int = 14) -> None:
        self.session = session
        self.place = session.place
        self.folder = folder
        self.workers = Workers(session.place, folder)
        queue = Queue(session, lanes=False)
        queue.clock.now_us = now_us()
        self.queue = queue
        self.project_id = queue.project()
        policies = {"retry_base_seconds": 0.1, "delivery_max_attempts": attempts_max}
        for name, value in policies.items():
            session.run(
                session.store.projects.set_policy(
                    self.project_id, name, value, now_us(), actor="test"
                )
            )

    async def webhooks(self, url: str, count: int) -> None:
        """Make webhooks for the events of the shop."""
        for _ in range(count):
            webhook = NewWebhook(
                id=str(uuid.uuid4()),
                project_id=self.project_id,
                url=url,
                events=("shop.*",),
                description="",
                enabled=True,
                secret=new_secret(),
            )
            await self.queue.subscribers.create(webhook, actor="test")

    @asynccontextmanager
    async def working(self, count: int = 1) -> AsyncIterator[None]:
        """Keep this many workers running."""
        kept = [asyncio.create_task(self.workers.keep()) for _ in range(count)]
        try:
            yield
        finally:
            await self.workers.stop()
            await asyncio.gather(*kept)

    async def happen(self, *names: str, seconds: float = 60.0) -> None:
        """Accept events of several people."""
        events = [
            new_event(
                project_id=self.project_id,
                event=name,
                external_id=f"customer-{number}",
                payload=f'{{"seconds": {seconds}}}',
            )
            for number, name in enumerate(names)
        ]
        assert await self.session.accepted(*events) == [None] * len(events)

    async def until(self, found: Callable[[], bool], what: str) -> None:
        await asyncio.to_thread(wait_until, found, what, SETTLED_SECONDS_MAX)

    def is_processed(self) -> bool:
        """Whether no event is waiting."""
        return bool(self.place.run_sql(_UNPROCESSED) == [(0,)])

    async def settled(self) -> None:
        """Wait until everything is done."""

        def done() -> bool:
            # Events first: deliveries created between the two checks must be seen.
            if not self.is_processed():
                return False
            states = {state for _, _, state, _ in self.place.run_sql(_DELIVERIES)}
            return states <= {DELIVERED, DEAD_LETTERED}

        await self.until(done, "everything has come to its end")

    def calls(self, name: str) -> list[tuple[str, int]]:
        """Delivery and process of each call of a handler."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        calls = (line.rsplit(" ", 2) for line in lines)
        return [(delivery, int(pid)) for handler, delivery, pid in calls if handler == name]

    def dead(self) -> list[tuple[str, str, str]]:
        """Subscriber, event and cause of each dead letter."""
        # For an event, not a delivery, the first is NULL.
        rows = self.place.run_sql(_DEAD)
        return sorted((str(target), event, cause) for target, event, cause in rows)

    def check(self, names: list[str]) -> None:
        """Compare with the expected outcome of each event and subscriber, whatever crashed."""
        found = Counter(
            (target, event, state) for target, event, state, _ in self.place.run_sql(_DELIVERIES)
        )
        poison = Counter((handler, name) for name in names for handler in KILLERS.get(name, ()))
        dead = {key[:2]: count for key, count in found.items() if key[2] == DEAD_LETTERED}
        assert dead == poison
        assert Counter(row[:2] for row in self.dead()) == poison
        assert {cause for _, _, cause in self.dead()} <= {"poison"}
        for name, count in Counter(names).items():
            for handler in ("healthy", "slow"):
                assert found[handler, name, DELIVERED] == count


def holding(gate: asyncio.Event) -> Behaviour:
    """Respond when the gate is open."""

    async def behave(exchange: Exchange) -> None:
        await gate.wait()
        await answers(204, b"")(exchange)

    return behave


def test_handler_that_crashes_its_process_affects_no_other_delivery(
    session: StoreSession, folder: Path
) -> None:
    """Meanwhile three slow webhooks with two events each, and slow handlers, are in progress."""
    scene = Deployment(session, folder)

    async def play() -> None:
        gate = asyncio.Event()
        async with receiver(holding(gate)) as endpoint, scene.working():
            await scene.webhooks(endpoint.url, 3)
            await scene.happen("shop.order", "shop.order")
            await scene.until(lambda: len(endpoint.requests) == 6, "all webhooks are called")
            await scene.until(lambda: len(scene.calls("slow")) == 2, "the handlers are called")
            await scene.happen("shop.exit")
            await scene.until(lambda: len(scene.dead()) == 2, "it is poison")
            # The first of either crashes the worker; then it has a process of its own.
            assert 1 <= scene.workers.deaths <= 2
            gate.set()
            (folder / "go").touch()
            await scene.settled()

    session.run(play())
    scene.check(["shop.order", "shop.order", "shop.exit"])
    assert scene.dead() == [("exits", "shop.exit", "poison"), ("killed", "shop.exit", "poison")]
    for name in ("exits", "killed"):
        # Deliveries not called yet when the worker crashed are suspects as well.
        assert len(scene.calls(name)) in (2, 3)


@pytest.mark.parametrize("attempts_max", [14, 1])
def test_workers_killed_from_outside_dead_letter_nothing(
    session: StoreSession, folder: Path, attempts_max: int
) -> None:
    """Four in a row, each with all deliveries claimed, however few attempts they have."""
    scene = Deployment(session, folder, attempts_max=attempts_max)
    rng = random.Random(7)

    async def play() -> None:
        gate = asyncio.Event()
        async with receiver(holding(gate)) as endpoint, scene.working():
            await scene.webhooks(endpoint.url, 3)
            await scene.happen("shop.other", "shop.other")
            for number in range(1, 5):
                called = len(endpoint.requests)
                await scene.until(
                    lambda called=called: len(endpoint.requests) >= called + 6,  # type: ignore[misc]
                    "all webhooks are called",
                )
                await scene.until(
                    lambda number=number: len(scene.calls("slow")) >= 2 * number,  # type: ignore[misc]
                    "the handlers are called",
                )
                await scene.workers.kill(rng)
            gate.set()
            (folder / "go").touch()
            await scene.settled()

    session.run(play())
    assert scene.dead() == []
    scene.check(["shop.other", "shop.other"])


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))]
)
def test_mix_of_slow_crashing_and_healthy_deliveries_with_kills(
    session: StoreSession, folder: Path, seed: int
) -> None:
    """On PostgreSQL by two workers; some are killed inside a commit of processing."""
    scene = Deployment(session, folder)
    rng = random.Random(seed)
    embedded = scene.queue.embedded
    names: list[str] = []

    async def play() -> None:
        async with receiver(sluggish(rng)) as endpoint, scene.working(1 if embedded else 2):
            await scene.webhooks(endpoint.url, 2)
            for _ in range(3):
                some = rng.choices(["shop.order", "shop.other", *KILLERS], k=6)
                names.extend(some)
                await scene.happen(*some, seconds=rng.random() / 4)
                called = len(scene.calls("healthy"))
                await scene.until(
                    lambda called=called: len(scene.calls("healthy")) > called,  # type: ignore[misc]
                    "something is delivered",
                )
                if rng.random() < 0.5:
                    nth = rng.randrange(3, 12)
                    scene.workers.environment = {"HEADRACE_FAIL_POINT": f"inside_commit:kill:{nth}"}
                await scene.workers.kill(rng)
            await scene.settled()

    session.run(play())
    scene.check(names)


def sluggish(rng: random.Random) -> Behaviour:
    """Respond after a while."""

    async def behave(exchange: Exchange) -> None:
        if await exchange.pause(rng.random() / 4):
            await answers(204, b"")(exchange)

    return behave

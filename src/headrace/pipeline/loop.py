"""What all background loops have in common: repeat, wait, and survive errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from headrace.observability.events import LOOP_FAILED, STORE_UNAVAILABLE
from headrace.store.contract.errors import StoreError

_log = structlog.get_logger()

#: One round of work. Returns the seconds until the next, 0 for at once, None for `pause_s`.
Step = Callable[[], Awaitable[float | None]]


class BackgroundLoop(Protocol):
    """Runs in the background."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopOptions:
    """How a loop repeats its step."""

    #: Its name in the log.
    name: str
    #: Between two steps, where a step does not say otherwise.
    pause_s: float
    #: While steps leave the pause to the loop, it doubles up to this; a wake-up starts over. None:
    #: it does not grow.
    idle_max_s: float | None = None
    #: Pause after an error; None for `pause_s`.
    error_s: float | None = None
    #: Whether the first step, too, comes after a pause.
    pause_first: bool = False
    #: Errors that are logged and waited out, with the log event of each; the first class that fits.
    #: Any other error ends the loop.
    failures: Mapping[type[Exception], str] = field(
        default_factory=lambda: {StoreError: STORE_UNAVAILABLE}
    )
    #: Whether any other error is waited out, too, and logged with its trace.
    survives_faults: bool = False


class IdlePause:
    """A pause that doubles while there is nothing to do, so that an idle process costs little."""

    def __init__(self, first_s: float, longest_s: float | None) -> None:
        self._first_s = first_s
        self._longest_s = max(first_s, longest_s or 0.0)
        self._next_s = first_s

    def next_s(self) -> float:
        """Seconds of this pause; the next one is longer."""
        seconds = self._next_s
        self._next_s = min(2 * seconds, self._longest_s)
        return seconds

    def reset(self) -> None:
        """Begin with the shortest again."""
        self._next_s = self._first_s


class Loop:
    """Repeats a step until it is cancelled or stopped.

    Args:
        wake: ends the pause between two steps; created here by default.
    """

    def __init__(
        self, step: Step, options: LoopOptions, *, wake: asyncio.Event | None = None
    ) -> None:
        self._step = step
        self._options = options
        self.idle = IdlePause(options.pause_s, options.idle_max_s)
        self._wake = wake or asyncio.Event()
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def stopping(self) -> bool:
        """Whether no further step will begin."""
        return self._stop.is_set()

    def wake(self) -> None:
        """End the pause, or the next one. Cheap; on the event loop."""
        self._wake.set()

    async def run(self) -> None:
        """Repeat until cancelled or stopped.

        Raises:
            Exception: one that the options do not name.
        """
        self._ended.clear()
        try:
            if self._options.pause_first:
                await _wait(self._wake, self._options.pause_s)
            while not self.stopping:
                # Before the step, which may miss what a later wake-up announces.
                self._wake.clear()
                await self._run_step()
        finally:
            self._ended.set()

    async def _run_step(self) -> None:
        options = self._options
        try:
            seconds = await self._step()
        except Exception as error:  # noqa: BLE001 - raised again unless the options name it
            self._log_failure(error)
            # Only a stop ends this pause early: a wake-up does not repair the store.
            await _wait(self._stop, options.pause_s if options.error_s is None else options.error_s)
        else:
            if seconds is None:
                seconds = self.idle.next_s()
            else:
                self.idle.reset()
            if await _wait(self._wake, seconds):
                self.idle.reset()

    def _log_failure(self, error: Exception) -> None:
        options = self._options
        for kind, event in options.failures.items():
            if isinstance(error, kind):
                what = str(error) or type(error).__name__
                _log.warning(event, loop=options.name, error=what)
                return
        if not options.survives_faults:
            raise error
        _log.exception(LOOP_FAILED, loop=options.name)

    async def stop(self) -> None:
        """Let the running step finish, and begin no other."""
        self._stop.set()
        self._wake.set()
        await self._ended.wait()


async def _wait(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event or a timeout; whether it was the event. Always yields to other tasks."""
    if seconds <= 0:
        await asyncio.sleep(0)
        return False
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

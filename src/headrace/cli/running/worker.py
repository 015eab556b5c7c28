"""`headrace worker`: process and deliver accepted events."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Annotated

import typer

from headrace.cli.running.stopping import limit_the_stop
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.settings import WORKER, with_settings
from headrace.config import Settings


@with_settings(*WORKER)
def worker(
    settings: Settings,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
) -> None:
    """Run an additional worker. `headrace serve` already runs one.

    Example: headrace worker --store sqlite:///headrace.db
    """
    import uvloop

    from headrace.observability.logs import configure_logs

    try:
        configure_logs(settings.log_level, settings.log_format)
    except ValueError as error:
        raise usage(str(error)) from None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, supervised=supervised))


async def _run(settings: Settings, *, supervised: bool) -> None:
    from headrace.delivery.handlers.loading import HandlersNotLoadedError
    from headrace.service_manager import ServiceManager
    from headrace.stores import open_configured
    from headrace.worker_process import STOP_SECONDS_MAX, WorkerProcess

    manager = ServiceManager.take(os.environ)
    store = await open_configured(settings, serve=False, create=False)
    process = WorkerProcess(settings, store)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # Now, since the start itself may still be waiting for the database.
        limit_the_stop(STOP_SECONDS_MAX)
        process.ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        # Ctrl-C signals both processes; a supervised worker continues until its server stops it or
        # is gone.
        if supervised and number == signal.SIGINT:
            signal.signal(number, signal.SIG_IGN)
        else:
            loop.add_signal_handler(number, stop)
    # Also while it is held: it must end with its server, and say why it does not work.
    watching = (
        asyncio.create_task(process.watch_parent(os.dup(sys.stdin.fileno())))
        if supervised
        else None
    )
    try:
        if await process.wait_released():
            await process.start()
    except (HandlersNotLoadedError, ValueError) as error:
        await process.stop()
        raise usage(str(error)) from None
    manager.ready("Working")
    alive = asyncio.create_task(manager.report_alive())
    await process.ended.wait()
    manager.stopping()
    limit_the_stop(STOP_SECONDS_MAX)
    if watching is not None:
        watching.cancel()
    await process.stop()
    alive.cancel()
    if process.failed:
        raise CommandFailed("The worker stopped because of an internal error; see the log.")

"""`headrace serve` and `headrace api`: the server."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.running.stopping import limit_the_stop
from headrace.cli.shared.failure import CommandFailed, usage
from headrace.cli.shared.output import AsJson, print_json
from headrace.cli.shared.settings import SERVE, SERVER, with_settings
from headrace.config import Settings

if TYPE_CHECKING:
    from headrace.app import Headrace
    from headrace.bootstrap import FirstStart

AcceptDataLoss = Annotated[
    bool,
    typer.Option(
        "--accept-data-loss",
        help="Start although the log of a killed server is missing or damaged.",
    ),
]
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Added to a signal's number for the exit status, as shells do.
_SIGNALLED = 128


@with_settings(*SERVE)
def serve(
    settings: Settings, as_json: AsJson = False, accept_data_loss: AcceptDataLoss = False
) -> None:
    """Run the API, the worker and the backoffice.

    The first start on an empty store creates the project "default" and an API key. It prints the
    key, a curl line and a link to sign in to the backoffice, once.

    Example: headrace serve --port 8080 --store sqlite:///headrace.db
    """
    start = _Start(as_json=as_json, with_worker=True, accept_data_loss=accept_data_loss)
    _serve(settings, start)


@with_settings(*SERVER)
def api(
    settings: Settings, as_json: AsJson = False, accept_data_loss: AcceptDataLoss = False
) -> None:
    """Run the API and the backoffice, without a worker.

    Example: headrace api --port 8080 --store sqlite:///headrace.db
    """
    start = _Start(as_json=as_json, with_worker=False, accept_data_loss=accept_data_loss)
    _serve(settings, start)


@dataclass(frozen=True)
class _Start:
    as_json: bool
    with_worker: bool
    accept_data_loss: bool


def _serve(settings: Settings, start: _Start) -> None:
    import uvloop

    from headrace.observability.logs import configure_logs

    try:
        configure_logs(settings.log_level, settings.log_format)
    except ValueError as error:
        raise usage(str(error)) from None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, start))


async def _run(settings: Settings, start: _Start) -> None:
    from headrace.app import STOP_SECONDS_MAX, Headrace
    from headrace.service_manager import ServiceManager
    from headrace.stores import open_configured, store_url

    manager = ServiceManager.take(os.environ)
    # A shared database without a schema is more likely the wrong one than a new one.
    create = start.with_worker or not store_url(settings.store).is_shared
    store = await open_configured(
        settings, serve=True, create=create, accept_data_loss=start.accept_data_loss
    )
    ended = asyncio.Event()
    _stop_on_signals(ended, STOP_SECONDS_MAX)
    try:
        server = await Headrace.assemble(
            settings, store, with_worker=start.with_worker, ended=ended
        )
        await server.start()
    except OSError as error:
        await store.close()
        raise usage(f"Cannot listen on {settings.host}: {error.strerror or error}") from None
    except BaseException:
        await store.close()
        raise
    await _announce(server, as_json=start.as_json)
    manager.ready(f"Listening on {settings.host}, port {server.port}")
    alive = asyncio.create_task(manager.report_alive())
    await ended.wait()
    manager.stopping()
    limit_the_stop(STOP_SECONDS_MAX)
    await server.stop()
    alive.cancel()
    if server.worker_unusable:
        raise usage("The worker cannot start; its message is above.")
    if server.failure is not None:
        raise CommandFailed(
            f"The store failed and the server stopped: {server.failure}. "
            "Check the disk, then start again."
        )


async def _announce(server: Headrace, *, as_json: bool) -> None:
    from headrace.bootstrap import first_start
    from headrace.cli.running.welcome import curl_line, url_of, welcome
    from headrace.delivery.mail.relay_url import RelayKind
    from headrace.pipeline.messages.mail_services import relay_of
    from headrace.stores import key_file, store_url

    # Only now: a start that fails on a taken port must not use up the key, which is shown once.
    first = await first_start(server.store, server.store.clock_us())
    if first is not None:
        await server.access.refresh()
    url = url_of(server.settings.host, server.port)
    key = None if first is None else first.key.text
    link = _sign_in_link(server.settings, url, first)
    if as_json:
        curl = None if key is None else curl_line(url, key)
        store = store_url(server.settings.store).shown
        print_json({"url": url, "store": store, "key": key, "curl": curl, "sign_in": link})
    else:
        captures = relay_of(server.settings).kind is RelayKind.CAPTURE
        file = key_file(server.settings.store)
        typer.echo(welcome(url, key, link, captures=captures, key_file=file))


def _sign_in_link(settings: Settings, url: str, first: FirstStart | None) -> str | None:
    from headrace.domain.access.sign_in import link_address

    if first is None or first.link_token is None or settings.backoffice == "off":
        return None
    return link_address(settings.public_url or url, first.link_token)


def _stop_on_signals(ended: asyncio.Event, seconds_max: float) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # Now, since the start itself may still be waiting for the database.
        limit_the_stop(seconds_max)
        ended.set()
        for number in _SIGNALS:
            # Not through the loop, which may be hanging.
            loop.remove_signal_handler(number)
            signal.signal(number, lambda caught, _: os._exit(_SIGNALLED + caught))

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)

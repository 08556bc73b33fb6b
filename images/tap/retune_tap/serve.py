"""`python -m retune_tap serve`: two ports, until SIGTERM; then nothing new is accepted and what is in flight ends."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from retune_tap.arms import Adapters
from retune_tap.cluster import Cluster
from retune_tap.proxy import Proxy
from retune_tap.settings import Settings, SettingsError
from retune_tap.tap import Tap

_LOG = logging.getLogger(__name__)
_HTTP = logging.getLogger(f"{__name__}.http")
_TICK = 0.25
_LOOK = 5.0
_FILE = 2.0


def _discreet(record: logging.LogRecord) -> bool:
    """Say what went wrong and where, not the exception's text: of a malformed request it holds the user's own line."""
    if record.exc_info and record.exc_info[0]:
        kind, _, trace = record.exc_info
        frames = traceback.extract_tb(trace)
        at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        record.msg, record.args = f"a request could not be handled: {kind.__name__}{at}", ()
        record.exc_info = record.exc_text = None
    return True


_HTTP.addFilter(_discreet)


@dataclass
class Ports:
    """Both ports, open; `users` and `cluster` are their numbers."""

    users_runner: web.AppRunner
    cluster_runner: web.AppRunner
    users: int
    cluster: int


async def listen(tap: Tap) -> Ports:
    """Open both ports (0 in the settings: any free one)."""
    settings = tap.settings
    # A user who goes must be noticed, so that the server stops to generate for nobody.
    users = web.AppRunner(
        Proxy(tap).app(),
        access_log=None,
        logger=_HTTP,
        handler_cancellation=True,
        shutdown_timeout=settings.drain_time,
    )
    cluster = web.AppRunner(Cluster(tap).app(), access_log=None, logger=_HTTP, shutdown_timeout=1.0)
    numbers = []
    for runner, port in ((users, settings.user_port), (cluster, settings.cluster_port)):
        await runner.setup()
        await web.TCPSite(runner, settings.user_host, port, backlog=1024).start()
        numbers.append(runner.addresses[0][1])
    return Ports(users, cluster, *numbers)


async def drain(tap: Tap, ports: Ports) -> None:
    """Stop accepting, let what is in flight come to its end, then close the cluster's port as well."""
    tap.draining = True
    await ports.users_runner.cleanup()
    await ports.cluster_runner.cleanup()


@asynccontextmanager
async def keeping(tap: Tap) -> AsyncIterator[None]:
    """The tap's own work beside requests: the tick, the mounted file, the server's adapters."""

    async def ticks() -> None:
        since_file = 0.0
        while True:
            tap.tick()
            since_file += _TICK
            if since_file >= _FILE:
                since_file = 0.0
                tap.read_file()
            await asyncio.sleep(_TICK)

    tasks = [asyncio.create_task(ticks(), name="ticks"), asyncio.create_task(tap.loading.watch(_LOOK), name="loading")]
    for task in tasks:
        task.add_done_callback(_fatal)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _fatal(task: asyncio.Task[None]) -> None:
    """A tap that can't keep time would count wrongly for ever; the kubelet starts another."""
    if not task.cancelled() and task.exception():
        _LOG.critical("%s ended", task.get_name(), exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


async def run(settings: Settings, adapters: Adapters) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tap = Tap(settings, adapters, clock=time.monotonic, wall=time.time, chance=random.Random())  # noqa: S311 - not secret
    tap.start()
    try:
        ports = await listen(tap)
        async with keeping(tap):
            await stop.wait()
            await drain(tap, ports)
    finally:
        await tap.close()


def main() -> int:
    """Serve with what the environment says; 0 after a drain, 64 if a variable is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.of(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 64
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    from retune_stores.credentials import take
    from retune_tap.adapters import Loader

    loader = Loader.from_environment(os.environ, take(os.environ))
    try:
        await run(settings, loader)
    finally:
        await loader.close()
